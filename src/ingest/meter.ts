// What ingest counts, for the metrics. Accepted messages are counted by the queue, where they become durable.

export interface IngestMeter {
  sessionOpened(): void;
  sessionClosed(): void;
  /** A command, a message or a connection was refused with this reply code. */
  refused(code: number): void;
  authFailed(): void;
}

export const silentMeter: IngestMeter = {
  sessionOpened() {},
  sessionClosed() {},
  refused() {},
  authFailed() {},
};
