// Group commit: all changes that wait share the next transaction, and only one transaction is under way at a time.
//
//   idle --first change--> open --end of the event turn--> under way --fdatasync--> idle (or open again at once)
//
// lmdb puts all writes of one event turn into one transaction, closed by its event "beforecommit". So a change that
// comes while the transaction is open joins it at once, and changes that come while one is under way wait for the next.
// The write, the fdatasync and the wait for them happen on a thread of libuv.

import type { Clock, Millis } from "../core/time.ts";
import type { Log } from "../telemetry/log.ts";
import type { Arena } from "./arena.ts";
import type { ChangePlanner, PlannedOperation, Write } from "./change-plan.ts";
import type { Environment } from "./environment.ts";
import { outboxKey } from "./keys.ts";

/** One transaction takes no further change above these; a single change may be larger. */
const transactionBytesMax = 16 * 1024 * 1024;
const transactionOperationsMax = 2_000;
/** Records dropped, chunks counted: freeing many pages at once is what lmdb has shown faults with. */
const transactionDropsMax = 512;
/** A transaction that has not ended by then never will: lmdb reports some failures to begin one only on the console. */
const commitStallMaxMs: Millis = 60_000;
/** What an operation costs beside its content, roughly. */
const operationBytes = 1_024;

export interface GroupCommitOptions {
  readonly environment: Environment;
  readonly planner: ChangePlanner;
  readonly arena: Arena;
  readonly clock: Clock;
  readonly log: Log;
  /** The number of the first outbox record. */
  readonly nextSequence: number;
  /** After each transaction: its time, its operations, and roughly its octets. */
  readonly onCommit: (ms: Millis, operations: number, bytes: number) => void;
  /** Called once, at the first failure. */
  readonly onFailure: (error: Error) => void;
}

interface Waiting {
  readonly change: readonly PlannedOperation[];
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class GroupCommit {
  readonly #options: GroupCommitOptions;
  #phase: "idle" | "open" | "under-way" | "failed" | "closed" = "idle";
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  /** Of the transaction that is open or under way. */
  #members: Waiting[] = [];
  #bytes = 0;
  #operations = 0;
  #drops = 0;
  #written: Promise<unknown> | undefined;
  #startedAtMs: Millis = 0;

  #nextSequence: number;
  #error: Error | undefined;
  #commits = 0;
  #commitMsLast: Millis = 0;
  #endedAtMs: Millis = 0;
  #onIdle: (() => void)[] = [];

  constructor(options: GroupCommitOptions) {
    this.#options = options;
    this.#nextSequence = options.nextSequence;
    options.environment.root.on("beforecommit", () => this.#closeTransaction());
  }

  /** Octets of all changes that have not been answered yet. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get commits(): number {
    return this.#commits;
  }

  get commitMsLast(): Millis {
    return this.#commitMsLast;
  }

  /** When the last transaction ended, on the monotonic clock. */
  get endedAtMs(): Millis {
    return this.#endedAtMs;
  }

  get error(): Error | undefined {
    return this.#error;
  }

  /** Age of the transaction under way; 0 when there is none. */
  underWayMs(nowMs: Millis): Millis {
    return this.#phase === "open" || this.#phase === "under-way" ? nowMs - this.#startedAtMs : 0;
  }

  /** Declares a transaction lost that has been under way for too long. To be called now and then. */
  checkStall(nowMs: Millis): void {
    const age = this.underWayMs(nowMs);
    if (age > commitStallMaxMs) this.#fail(new Error(`commit has not ended after ${Math.round(age)} ms`));
  }

  /** Takes no further change, for a reason that was found outside of a transaction. */
  fail(error: Error): void {
    this.#fail(error);
  }

  commit(change: readonly PlannedOperation[]): Promise<void> {
    if (this.#phase === "failed") return Promise.reject(this.#error as Error);
    if (this.#phase === "closed") return Promise.reject(new Error("the spool is closed"));
    if (change.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const item = { change, bytes: sizeOf(change), resolve, reject };
      this.#waitingBytes += item.bytes;
      if (this.#phase === "open" && this.#waiting.length === 0 && this.#hasRoomFor(item)) {
        this.#take(item);
      } else {
        this.#waiting.push(item);
        if (this.#phase === "idle") this.#openTransaction();
      }
    });
  }

  /** Resolves when nothing waits and nothing is under way. Changes after it are refused. */
  async close(): Promise<void> {
    while (this.#phase === "open" || this.#phase === "under-way") {
      await new Promise<void>((resolve) => this.#onIdle.push(resolve));
    }
    if (this.#phase !== "failed") this.#phase = "closed";
  }

  #openTransaction(): void {
    this.#phase = "open";
    this.#startedAtMs = this.#options.clock.monotonicMs();
    let taken = 0;
    for (const item of this.#waiting) {
      if (!this.#hasRoomFor(item)) break;
      taken++;
      this.#take(item);
      if (this.#error !== undefined) return;
    }
    this.#waiting.splice(0, taken);
    // All changes were refused: lmdb has nothing to commit and will not call back.
    if (this.#written === undefined) this.#end();
  }

  #hasRoomFor(item: Waiting): boolean {
    return (
      this.#members.length === 0 ||
      (this.#bytes + item.bytes <= transactionBytesMax &&
        this.#operations + item.change.length <= transactionOperationsMax &&
        this.#drops < transactionDropsMax)
    );
  }

  /** Hands the change's writes to lmdb, or refuses it whole. */
  #take(item: Waiting): void {
    const { planner } = this.#options;
    let writes: readonly Write[];
    try {
      writes = planner.plan(item.change);
    } catch (error) {
      this.#waitingBytes -= item.bytes;
      item.reject(error as Error);
      return;
    }
    this.#members.push(item);
    this.#bytes += item.bytes;
    this.#operations += item.change.length;
    try {
      for (const write of writes) this.#write(write);
      // Lines alone: something must be written now for lmdb to open its transaction. `closing` writes over it.
      if (this.#written === undefined && planner.hasLines) {
        const key = outboxKey(this.#nextSequence);
        this.#write({ tree: this.#options.environment.outbox, key, record: key });
      }
      if (this.#written === undefined)
        this.#write({ tree: this.#options.environment.meta, key: noKey, record: undefined });
    } catch (error) {
      this.#fail(new Error("lmdb refused a write", { cause: error }));
    }
  }

  #write(write: Write): void {
    if (write.record === undefined) this.#drops++;
    const promise = write.record === undefined ? write.tree.remove(write.key) : write.tree.put(write.key, write.record);
    if (promise === this.#written) return;
    // lmdb gives the writes of a transaction one promise, or a few; all of them end alike.
    this.#written?.catch(ignore);
    this.#written = promise;
  }

  /** At the end of the event turn, just before lmdb closes the transaction. */
  #closeTransaction(): void {
    if (this.#phase !== "open") return;
    try {
      const { planner, clock } = this.#options;
      const { writes, nextSequence } = planner.closing(this.#nextSequence, clock.now());
      for (const write of writes) this.#write(write);
      this.#nextSequence = nextSequence;
      this.#phase = "under-way";
      this.#written?.then(
        () => this.#committed(),
        (error: unknown) => this.#commitFailed(error),
      );
    } catch (error) {
      this.#fail(new Error("the transaction could not be closed", { cause: error }));
    }
  }

  #committed(): void {
    // A stall was declared meanwhile: its members were told that they failed.
    if (this.#phase !== "under-way") return;
    const { clock, onCommit, planner, arena } = this.#options;
    this.#endedAtMs = clock.monotonicMs();
    this.#commitMsLast = this.#endedAtMs - this.#startedAtMs;
    this.#commits++;
    planner.committed();
    arena.reset();
    onCommit(this.#commitMsLast, this.#operations, this.#bytes);
    const members = this.#members;
    this.#end();
    for (const item of members) {
      this.#waitingBytes -= item.bytes;
      item.resolve();
    }
  }

  /** Goes on with what waits. Changes that the resolved promises bring forth still join the new transaction. */
  #end(): void {
    this.#phase = "idle";
    this.#members = [];
    this.#bytes = 0;
    this.#operations = 0;
    this.#drops = 0;
    this.#written = undefined;
    if (this.#waiting.length > 0) this.#openTransaction();
    else for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  #commitFailed(error: unknown): void {
    // The cause comes as a promise of its own; unhandled, it would end the process before mail is told.
    const cause = (error as { commitError?: Promise<unknown> }).commitError;
    cause?.catch?.((reason: unknown) => this.#options.log.fatal({ err: reason }, "why the commit failed"));
    this.#fail(new Error("the spool could not commit; no further change is taken", { cause: error }));
  }

  /**
   * There is no second try: after a failed fdatasync the kernel holds the pages for clean, so that a repeat would
   * succeed without writing them.
   */
  #fail(error: Error): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#phase = "failed";
    this.#written?.catch(ignore);
    const lost = [...this.#members, ...this.#waiting];
    this.#members = [];
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#options.onFailure(error);
    for (const item of lost) item.reject(error);
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }
}

/** Removing this key, which is never there, makes an empty transaction for a change that writes nothing. */
const noKey: Buffer = Buffer.from("none");

function ignore(): void {}

function sizeOf(change: readonly PlannedOperation[]): number {
  let bytes = 0;
  for (const operation of change) {
    bytes += operationBytes;
    if (operation.kind === "accept")
      bytes += operation.message.contentBytes + operationBytes * operation.entries.length;
    else if (operation.kind === "events") bytes += operation.lines.length;
  }
  return bytes;
}
