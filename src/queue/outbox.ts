// The outbox: moves committed events from the spool to the delivery log, in order, each at least once.

import type { EventSink } from "../core/event.ts";
import type { Clock, Millis } from "../core/time.ts";
import type { OutboxBatch, Spool } from "../spool/spool.ts";
import type { Log } from "../telemetry/log.ts";

/** Batches are collected for this long, so that the log is flushed and the outbox trimmed seldom. */
const collectMs: Millis = 50;
/** After a failure to write the log. Mail goes on meanwhile; the spool keeps the events. */
const retryMs: Millis = 2_000;
/** Batches read from the spool at once; one is a page at most, but for a single longer line. */
const batchesMax = 1_024;
/** Octets handed to the log at once, but for a single larger batch. */
const appendBytesMax = 4 * 1024 * 1024;

export class Outbox {
  readonly #clock: Clock;
  readonly #spool: Spool;
  readonly #sink: EventSink;
  readonly #log: Log;
  readonly #fatal: (error: Error) => void;
  #written = 0;
  #running = false;
  #again = false;
  #closed = false;
  #failed = false;
  #done: Promise<void> = Promise.resolve();

  constructor(clock: Clock, spool: Spool, sink: EventSink, log: Log, fatal: (error: Error) => void) {
    this.#clock = clock;
    this.#spool = spool;
    this.#sink = sink;
    this.#log = log;
    this.#fatal = fatal;
  }

  /** There are committed events. Cheap to call for each commit. */
  signal(): void {
    this.#again = true;
    if (this.#running || this.#closed) return;
    this.#running = true;
    this.#done = this.#run();
  }

  /** Writes what is committed, once more, and stops. What cannot be written stays in the spool. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#done;
    this.#again = true;
    await this.#flush();
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#closed) {
      await this.#sleep(this.#failed ? retryMs : collectMs);
      await this.#flush();
    }
    this.#running = false;
  }

  async #flush(): Promise<void> {
    this.#again = false;
    for (;;) {
      const found = this.#spool.readOutbox(this.#written, batchesMax);
      const batches = headOf(found);
      const last = batches.at(-1);
      if (last === undefined) return;
      try {
        // In one piece: of several the log might refuse one and take the next, and they would change places.
        await this.#sink.append(batches.length === 1 ? last.lines : Buffer.concat(batches.map(({ lines }) => lines)));
      } catch (error) {
        if (!this.#failed)
          this.#log.error({ err: error }, "the delivery log cannot be written; its events stay in the spool");
        this.#failed = true;
        this.#again = true;
        return;
      }
      if (this.#failed) this.#log.info("the delivery log can be written again");
      this.#failed = false;
      this.#written = last.sequence;
      try {
        await this.#spool.commit([{ kind: "trim-outbox", throughSequence: last.sequence }]);
      } catch (error) {
        // The events are repeated by the next process. Nobody else may be waiting for the disk, so it is said here.
        this.#fatal(error as Error);
        return;
      }
      if (found.length < batchesMax && batches.length === found.length) return;
    }
  }

  #sleep(ms: Millis): Promise<void> {
    return new Promise((resolve) => this.#clock.after(ms, resolve));
  }
}

/** The first batches up to `appendBytesMax`, and at least one. */
function headOf(batches: readonly OutboxBatch[]): readonly OutboxBatch[] {
  let bytes = 0;
  const end = batches.findIndex(({ lines }, index) => {
    bytes += lines.length;
    return index > 0 && bytes > appendBytesMax;
  });
  return end === -1 ? batches : batches.slice(0, end);
}
