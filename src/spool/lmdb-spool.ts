// The spool on LMDB: one environment for a shard, holding messages, contents, queues, events and holds together.

import type { QueueId } from "../core/ids.ts";
import type { Message, QueueEntry, QueueName, QueuePosition } from "../core/message.ts";
import type { Clock, Millis } from "../core/time.ts";
import type { Log } from "../telemetry/log.ts";
import { Arena } from "./arena.ts";
import { ChangePlanner, type PlannedOperation } from "./change-plan.ts";
import { DamagedRecordError } from "./damaged-record.ts";
import { DiskWatch } from "./disk-watch.ts";
import {
  dataFileBytes,
  type Environment,
  firstKey,
  liveBytes,
  makeSpoolFolder,
  openEnvironment,
  readRecord,
  recordsIn,
} from "./environment.ts";
import { GroupCommit } from "./group-commit.ts";
import { idempotencyKey, idempotencyKeyBytesMax, outboxKey, parseOutboxKey } from "./keys.ts";
import { readContent, readEntries, readEntry, readMessage } from "./mail-reader.ts";
import { countQueue, queues, scanQueue } from "./queue-reader.ts";
import { decodeJson, faultOf, payloadOf, recordKind } from "./record-codec.ts";
import { establishSchema, markFailed, readNextSequence, readTrimmedThrough, settleFailedCommit } from "./recovery.ts";
import type {
  HoldRecord,
  IdempotencyRecord,
  OutboxBatch,
  Spool,
  SpoolChange,
  SpoolHealth,
  SpoolUsage,
} from "./spool.ts";
import { lockSpool, type SpoolLock } from "./spool-lock.ts";

export interface LmdbSpoolOptions {
  /** The shard's own folder; made when it is missing. */
  readonly path: string;
  /** Address space for the database; its file grows up to this. */
  readonly mapSizeBytes: number;
  /** Below this `health()` says `low-space`. */
  readonly freeSpaceMinBytes: number;
  /** Above this `health()` says `slow`. */
  readonly commitLatencyMaxMs: Millis;
  readonly clock: Clock;
  readonly log: Log;
  /** After each transaction: its time from the first change to the disk, and its operations. */
  readonly onCommit?: ((ms: Millis, operations: number) => void) | undefined;
}

/** A slow commit is held against the disk for so long: without new mail there may be no faster one to show. */
const slowMemoryMs: Millis = 5_000;
const holdsMax = 10_000;
/**
 * A full map fails a commit like a full disk, so new mail stops while this part of it is free: enough for the pages
 * that deliveries and drops copy, and for runs of pages that are free but too short for a chunk.
 */
const mapReserveShare = 1 / 8;
/** The map's free room is looked up again after so much of the map has been written, and with each look at the disk. */
const mapLookShare = 1 / 128;

/**
 * Opens a shard's spool, making it when there is none. Rejects with SpoolInUseError when it is open elsewhere, and with
 * an Error that says what to do when it is cut off, of a newer form, or damaged by a failed commit.
 */
export async function openLmdbSpool(options: LmdbSpoolOptions): Promise<LmdbSpool> {
  makeSpoolFolder(options.path);
  const lock = lockSpool(options.path);
  let disk: DiskWatch | undefined;
  let environment: Environment | undefined;
  try {
    let watched: LmdbSpool | undefined;
    disk = new DiskWatch({ ...options, onCheck: () => watched?.look() });
    await disk.start();
    environment = openEnvironment(options.path, options.mapSizeBytes);
    await establishSchema(environment);
    settleFailedCommit(environment, options.log);
    watched = new LmdbSpool(options, environment, lock, disk);
    return watched;
  } catch (error) {
    await disk?.close();
    await environment?.root.close();
    lock.release();
    throw error;
  }
}

export class LmdbSpool implements Spool {
  readonly #options: LmdbSpoolOptions;
  readonly #environment: Environment;
  readonly #lock: SpoolLock;
  readonly #disk: DiskWatch;
  readonly #planner: ChangePlanner;
  readonly #group: GroupCommit;
  #mapFreeBytes: number;
  #bytesSinceLook = 0;
  #closing: Promise<void> | undefined;

  /** Only `openLmdbSpool` makes one. */
  constructor(options: LmdbSpoolOptions, environment: Environment, lock: SpoolLock, disk: DiskWatch) {
    this.#options = options;
    this.#environment = environment;
    this.#lock = lock;
    this.#disk = disk;
    const arena = new Arena();
    const { clock, log, onCommit } = options;
    this.#mapFreeBytes = options.mapSizeBytes - liveBytes(environment);
    this.#planner = new ChangePlanner(environment, arena, readTrimmedThrough(environment));
    this.#group = new GroupCommit({
      environment,
      planner: this.#planner,
      arena,
      clock,
      log,
      onCommit: (ms, operations, bytes) => {
        this.#bytesSinceLook += bytes;
        if (this.#bytesSinceLook > options.mapSizeBytes * mapLookShare) this.#lookAtMap();
        onCommit?.(ms, operations);
      },
      nextSequence: readNextSequence(environment),
      onFailure: (error) => {
        log.fatal({ err: error, spool: options.path }, "spool failed");
        markFailed(options.path, error, log);
      },
    });
  }

  commit(change: SpoolChange): Promise<void> {
    return this.#group.commit(change);
  }

  /** `commit` with what only `spool import` needs. */
  commitImported(change: readonly PlannedOperation[]): Promise<void> {
    return this.#group.commit(change);
  }

  get waitingBytes(): number {
    return this.#group.waitingBytes;
  }

  readMessage(queueId: QueueId): Message | undefined {
    return this.#read(() => readMessage(this.#environment.mail, queueId));
  }

  readEntry(queueId: QueueId, entryNo: number): QueueEntry | undefined {
    return this.#read(() => readEntry(this.#environment.mail, queueId, entryNo));
  }

  readEntries(queueId: QueueId): QueueEntry[] {
    return this.#read(() => readEntries(this.#environment.mail, queueId));
  }

  *readContent(queueId: QueueId): Iterable<Buffer> {
    const chunks = readContent(this.#environment.mail, queueId);
    for (let next = this.#read(() => chunks.next()); next.done !== true; next = this.#read(() => chunks.next())) {
      yield next.value;
    }
  }

  *queues(): Iterable<QueueName> {
    const found = queues(this.#environment.queue);
    for (let next = this.#read(() => found.next()); next.done !== true; next = this.#read(() => found.next())) {
      yield next.value;
    }
  }

  scanQueue(queue: QueueName, after: QueuePosition | undefined, limit: number): QueuePosition[] {
    return this.#read(() => scanQueue(this.#environment.queue, queue, after, limit));
  }

  countQueue(queue: QueueName): number {
    return this.#read(() => countQueue(this.#environment.queue, queue));
  }

  /**
   * What LMDB itself cannot read is no record gone bad but a broken file, and each restart would stumble over it in the
   * midst of its work. So the spool fails for good, and the next opening reads all of it before it takes up anything.
   */
  #read<Value>(read: () => Value): Value {
    try {
      return read();
    } catch (cause) {
      if (cause instanceof Error && cause.message.startsWith("MDB_")) {
        this.#group.fail(new Error(`the spool's file is broken: ${cause.message}`, { cause }));
      }
      throw cause;
    }
  }

  holds(): HoldRecord[] {
    return recordsIn(this.#environment.holds, firstKey(), undefined, holdsMax).map(({ key, record }) => {
      const fault = faultOf(record, recordKind.hold, key);
      // Without this hold, mail would go out that an operator stopped.
      if (fault !== undefined) throw new DamagedRecordError("", `hold ${key.toString()}: ${fault}`);
      return decodeJson(record) as HoldRecord;
    });
  }

  /** A record that has expired is as good as none. One that cannot be read is logged, and does not stop mail. */
  readIdempotency(key: string): IdempotencyRecord | undefined {
    if (Buffer.byteLength(key) > idempotencyKeyBytesMax) return undefined;
    const read = readRecord(this.#environment.idempotency, recordKind.idempotency, idempotencyKey(key));
    if (read.kind === "damaged") this.#options.log.error({ key, fault: read.fault }, "idempotency record is damaged");
    if (read.kind !== "found") return undefined;
    const record = decodeJson(read.record) as IdempotencyRecord;
    return record.expiresAt > this.#options.clock.now() ? record : undefined;
  }

  /** A batch that cannot be read comes without lines, so that those behind it are not held up; `spool check` tells. */
  readOutbox(afterSequence: number, limit: number): OutboxBatch[] {
    const after = Math.max(afterSequence, this.#planner.trimmedThrough);
    return recordsIn(this.#environment.outbox, outboxKey(after + 1), undefined, limit).map(({ key, record }) => {
      const sequence = parseOutboxKey(key);
      const fault = faultOf(record, recordKind.outbox, key);
      if (fault === undefined) return { sequence, lines: payloadOf(record) };
      this.#options.log.error({ sequence, fault }, "outbox record is damaged: its events are lost");
      return { sequence, lines: Buffer.alloc(0) };
    });
  }

  health(): SpoolHealth {
    const nowMs = this.#options.clock.monotonicMs();
    // A disk that hangs may hang the disk watch too.
    this.#group.checkStall(nowMs);
    const { error } = this.#group;
    if (error !== undefined) return { kind: "failed", error };
    if (this.#disk.isLow) return { kind: "low-space", freeBytes: this.#disk.freeBytes };
    const { mapSizeBytes, commitLatencyMaxMs } = this.#options;
    if (this.#mapFreeBytes < mapSizeBytes * mapReserveShare) {
      return { kind: "low-space", freeBytes: this.#mapFreeBytes };
    }
    const commitMs = this.#slowestMs(nowMs);
    return commitMs > commitLatencyMaxMs ? { kind: "slow", commitMs } : { kind: "ok" };
  }

  /** Time of the last commit while it is fresh, or of the one under way if that is longer already. */
  #slowestMs(nowMs: Millis): Millis {
    const last = nowMs - this.#group.endedAtMs < slowMemoryMs ? this.#group.commitMsLast : 0;
    return Math.max(last, this.#group.underWayMs(nowMs));
  }

  usage(): SpoolUsage {
    return {
      fileBytes: dataFileBytes(this.#options.path),
      liveBytes: liveBytes(this.#environment),
      freeBytesOnDisk: this.#disk.freeBytes,
      commits: this.#group.commits,
      commitMsLast: this.#group.commitMsLast,
    };
  }

  /** Looks whether the transaction under way has stalled, and how full the map is. The disk watch calls it. */
  look(): void {
    if (this.#closing !== undefined) return;
    this.#group.checkStall(this.#options.clock.monotonicMs());
    this.#lookAtMap();
  }

  #lookAtMap(): void {
    this.#bytesSinceLook = 0;
    this.#mapFreeBytes = this.#options.mapSizeBytes - liveBytes(this.#environment);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#group.close();
    await this.#disk.close();
    await this.#environment.root.close();
    this.#lock.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
