// The spool's door: the port through which the queue keeps mail, and what it promises.
//
// A change is applied whole or not at all, and `commit` resolves only when it is on the disk. All changes that wait at
// one moment share one transaction (group commit). There is one opener of a spool at a time.

import type { QueueId } from "../core/ids.ts";
import type { Message, QueueEntry, QueueName, QueuePosition } from "../core/message.ts";
import type { Instant, Millis } from "../core/time.ts";

// The port's one error, its implementation on LMDB, and what the tools do to a spool that nobody has open.
export { type ContentReader, openContentReader } from "./content-reader.ts";
export { DamagedRecordError } from "./damaged-record.ts";
export { type ExportResult, exportSpool } from "./export.ts";
export { type ImportResult, importSpool } from "./import.ts";
export { checkSpool, type SpoolCheckResult } from "./integrity.ts";
export { LmdbSpool, type LmdbSpoolOptions, openLmdbSpool } from "./lmdb-spool.ts";
export { SpoolInUseError } from "./spool-lock.ts";

export type SpoolOperation =
  /** A new message with all its entries. `content` is the whole content, cut anywhere; the spool cuts it again. */
  | {
      readonly kind: "accept";
      readonly message: Message;
      readonly entries: readonly QueueEntry[];
      readonly content: readonly Buffer[];
      readonly idempotency: IdempotencyRecord | undefined;
    }
  /** Replaces an entry that still has pending recipients; it was queued at `from`. */
  | { readonly kind: "reschedule"; readonly entry: QueueEntry; readonly from: Instant }
  /**
   * Replaces an entry all of whose recipients are final; it was queued at `from`. With a message's last pending entry
   * the message, its entries and its contents are dropped.
   */
  | { readonly kind: "finish"; readonly entry: QueueEntry; readonly from: Instant }
  /** Takes a damaged message out of its queues; its records stay for `spool check` and are never sent. */
  | { readonly kind: "quarantine"; readonly queueId: QueueId; readonly reason: string; readonly at: Instant }
  /** Lines for the delivery log, each ended by LF, durable with the rest of the change. */
  | { readonly kind: "events"; readonly lines: string }
  /** Forgets the outbox up to and with this sequence number: its lines are in the log. */
  | { readonly kind: "trim-outbox"; readonly throughSequence: number }
  | { readonly kind: "put-hold"; readonly hold: HoldRecord }
  | { readonly kind: "drop-hold"; readonly id: string };

export type SpoolChange = readonly SpoolOperation[];

export interface IdempotencyRecord {
  /** Scoped by the user: `user key`. At most 512 octets. */
  readonly key: string;
  /** SHA-256 of envelope and content, hexadecimal. */
  readonly digest: string;
  readonly queueId: QueueId;
  readonly expiresAt: Instant;
}

/** What an operator action is about. At least one field is set; all set fields must match. */
export interface Selection {
  readonly domain?: string | undefined;
  readonly stream?: string | undefined;
  readonly job?: string | undefined;
  readonly tenant?: string | undefined;
  readonly queueId?: string | undefined;
}

export interface HoldRecord {
  readonly id: string;
  readonly selection: Selection;
  readonly reason: string;
  readonly by: string;
  readonly at: Instant;
}

export interface OutboxBatch {
  readonly sequence: number;
  readonly lines: Buffer;
}

export type SpoolHealth =
  | { readonly kind: "ok" }
  | { readonly kind: "low-space"; readonly freeBytes: number }
  | { readonly kind: "slow"; readonly commitMs: Millis }
  | { readonly kind: "failed"; readonly error: Error };

export interface SpoolUsage {
  readonly fileBytes: number;
  /** Octets in pages that hold records; the rest of the file is free for reuse. */
  readonly liveBytes: number;
  readonly freeBytesOnDisk: number;
  readonly commits: number;
  readonly commitMsLast: Millis;
}

/**
 * Reading is synchronous and sees all commits that have resolved. Readers take no snapshot that outlives the call,
 * so nothing may be held across network input or output.
 */
export interface Spool {
  /**
   * Resolves when the change is on the disk. Rejects when it could not be made durable; the spool then takes no
   * further change, and `health()` says `failed`: stop the process, and start it again only after a read check (the next
   * opening does one by itself). A change that cannot be, such as the finish of an entry that does not stand in its
   * queue, is a bug of the caller: it is refused alone with an assertion, and `health()` stays as it is.
   */
  commit(change: SpoolChange): Promise<void>;
  /** Octets and operations that wait to be committed; the queue's back-pressure looks at it. */
  readonly waitingBytes: number;
  /** All throw DamagedRecordError. */
  readMessage(queueId: QueueId): Message | undefined;
  readEntry(queueId: QueueId, entryNo: number): QueueEntry | undefined;
  readEntries(queueId: QueueId): QueueEntry[];
  /** The content in order, each chunk checked as it is read. Empty when there is no such message. */
  readContent(queueId: QueueId): Iterable<Buffer>;
  /** The queues that hold at least one entry, in order, without reading the entries. */
  queues(): Iterable<QueueName>;
  /** At most `limit` places of a queue in order, after `after` where given. Held entries stand last. */
  scanQueue(queue: QueueName, after: QueuePosition | undefined, limit: number): QueuePosition[];
  /** Number of entries in the queue. Reads the whole of it: call it seldom, on long queues in steps of `scanQueue`. */
  countQueue(queue: QueueName): number;
  holds(): HoldRecord[];
  readIdempotency(key: string): IdempotencyRecord | undefined;
  /** Batches of the outbox in order, after `afterSequence`. */
  readOutbox(afterSequence: number, limit: number): OutboxBatch[];
  health(): SpoolHealth;
  usage(): SpoolUsage;
  /** Waits for the commits under way, then closes. */
  close(): Promise<void>;
}
