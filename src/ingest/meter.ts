// What ingest counts. The composition root feeds its metrics from it.

export interface IngestMeter {
  sessionOpened(): void;
  sessionClosed(): void;
  messageAccepted(stream: string, contentBytes: number, recipients: number): void;
  /** A command, a message or a connection was refused with this reply code. */
  refused(code: number): void;
  authFailed(): void;
}

export const silentMeter: IngestMeter = {
  sessionOpened() {},
  sessionClosed() {},
  messageAccepted() {},
  refused() {},
  authFailed() {},
};
