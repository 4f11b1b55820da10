// A spool in memory for the simulation: the same promises as the one on LMDB, with time and chance from ports, and
// faults on order (a crash, a commit that fails, a record that goes bad, a disk that is slow or full).

import { isDeepStrictEqual } from "node:util";
import { assert, assertNever } from "../../src/core/assert.ts";
import type { QueueId } from "../../src/core/ids.ts";
import { isFinal, type Message, type QueueEntry, type QueueName, type QueuePosition } from "../../src/core/message.ts";
import type { Random } from "../../src/core/random.ts";
import type { Clock, Instant, Millis, Timer } from "../../src/core/time.ts";
import {
  DamagedRecordError,
  type HoldRecord,
  type IdempotencyRecord,
  type OutboxBatch,
  type Spool,
  type SpoolChange,
  type SpoolHealth,
  type SpoolOperation,
  type SpoolUsage,
} from "../../src/spool/spool.ts";

export interface MemorySpoolOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** A commit takes between these; 0.3 to 3 ms by default. */
  readonly commitMinMs?: Millis;
  readonly commitMaxMs?: Millis;
  /** Above this a commit makes the spool `slow`. */
  readonly commitLatencyMaxMs?: Millis;
}

/** Which record of a message goes bad. */
export type Damage = "message" | "content" | { readonly entryNo: number };

/** Octets in which a content is read, about as on LMDB. */
const chunkBytesMax = 64 * 1024;
const operationsPerCommitMax = 2_000;
const bytesPerCommitMax = 16 * 1024 * 1024;
const operationBytes = 1_024;

/** What survives a crash. */
class Disk {
  readonly messages = new Map<QueueId, Stored>();
  /** By `stream NUL domain`, each in order. */
  readonly queues = new Map<string, QueuePosition[]>();
  readonly idempotency = new Map<string, IdempotencyRecord>();
  readonly holds = new Map<string, HoldRecord>();
  outbox: OutboxBatch[] = [];
  lastSequence = 0;
}

/** Replaced as a whole, never changed. */
interface Stored {
  readonly message: Message;
  readonly entries: readonly QueueEntry[];
  readonly content: Buffer;
  /** Where its pending entries stand. */
  readonly dueAt: ReadonlyMap<number, Instant>;
  readonly pending: number;
  readonly quarantine: { readonly reason: string; readonly at: Instant } | undefined;
  readonly damage: readonly Damage[];
}

interface Waiting {
  readonly change: SpoolChange;
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class MemorySpool implements Spool {
  readonly #options: MemorySpoolOptions;
  readonly #disk: Disk;
  #waiting: Waiting[] = [];
  #underWay: Waiting[] = [];
  #timer: Timer | undefined;
  #startedAtMs: Millis = 0;
  #commits = 0;
  #commitMsLast: Millis = 0;
  #endedAtMs: Millis = Number.NEGATIVE_INFINITY;
  #ended: "closed" | "crashed" | undefined;
  #error: Error | undefined;
  #failNext: Error | undefined;
  #freeBytes: number | undefined;
  #fixedCommitMs: Millis | undefined;
  #onIdle: (() => void)[] = [];

  constructor(options: MemorySpoolOptions, disk: Disk = new Disk()) {
    this.#options = options;
    this.#disk = disk;
  }

  // Faults.

  /**
   * The process dies: what was under way is on the disk whole or not at all, what waited is lost, and no promise of
   * this spool settles any more. The spool that the next process opens is returned.
   */
  crash(): MemorySpool {
    this.#timer?.cancel();
    if (this.#underWay.length > 0 && this.#error === undefined && this.#options.random.next() < 0.5) this.#apply();
    return this.#next("crashed");
  }

  /** The next commit fails, and with it the spool. */
  failNextCommit(error: Error = new Error("injected commit failure")): void {
    this.#failNext = error;
  }

  /** From now on a commit takes exactly so long; undefined gives the choice back to chance. */
  setCommitMs(ms: Millis | undefined): void {
    this.#fixedCommitMs = ms;
  }

  /** Space is below the floor; undefined ends it. */
  setLowSpace(freeBytes: number | undefined): void {
    this.#freeBytes = freeBytes;
  }

  /** Makes a record of a committed message unreadable. */
  damage(queueId: QueueId, damage: Damage): void {
    const stored = this.#disk.messages.get(queueId);
    assert(stored !== undefined, `no message ${queueId} to damage`);
    this.#disk.messages.set(queueId, { ...stored, damage: [...stored.damage, damage] });
  }

  /** Messages on the disk, for the oracle of a simulation. */
  get messageIds(): QueueId[] {
    return [...this.#disk.messages.keys()].sort();
  }

  /** Closes, and opens again on the same disk. */
  async reopen(): Promise<MemorySpool> {
    await this.close();
    return this.#next("closed");
  }

  #next(ended: "closed" | "crashed"): MemorySpool {
    this.#ended = ended;
    return new MemorySpool(this.#options, this.#disk);
  }

  // The port.

  commit(change: SpoolChange): Promise<void> {
    if (this.#ended === "crashed") return new Promise(() => {});
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended === "closed") return Promise.reject(new Error("the spool is closed"));
    if (change.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ change: change.map(frozen), bytes: sizeOf(change), resolve, reject });
      if (this.#underWay.length === 0) this.#begin();
    });
  }

  get waitingBytes(): number {
    let bytes = 0;
    for (const item of this.#waiting) bytes += item.bytes;
    for (const item of this.#underWay) bytes += item.bytes;
    return bytes;
  }

  readMessage(queueId: QueueId): Message | undefined {
    const stored = this.#disk.messages.get(queueId);
    if (stored?.damage.includes("message")) throw damaged(queueId, "message");
    return copyOf(stored?.message);
  }

  readEntry(queueId: QueueId, entryNo: number): QueueEntry | undefined {
    const stored = this.#disk.messages.get(queueId);
    const isDamaged = stored?.damage.some((damage) => isDeepStrictEqual(damage, { entryNo }));
    if (isDamaged) throw damaged(queueId, `entry ${entryNo}`);
    return copyOf(stored?.entries[entryNo]);
  }

  readEntries(queueId: QueueId): QueueEntry[] {
    const count = this.readMessage(queueId)?.entryCount ?? 0;
    return Array.from({ length: count }, (_, entryNo) => this.readEntry(queueId, entryNo) as QueueEntry);
  }

  *readContent(queueId: QueueId): Generator<Buffer> {
    const bytes = this.readMessage(queueId)?.contentBytes ?? 0;
    for (let at = 0; at < bytes; at += chunkBytesMax) {
      const stored = this.#disk.messages.get(queueId);
      if (stored === undefined) throw damaged(queueId, "chunk");
      if (stored.damage.includes("content")) throw damaged(queueId, "chunk");
      yield Buffer.copyBytesFrom(stored.content, at, Math.min(chunkBytesMax, bytes - at));
    }
  }

  *queues(): Generator<QueueName> {
    for (const name of [...this.#disk.queues.keys()].sort()) {
      if (this.#disk.queues.get(name)?.length) yield queueOf(name);
    }
  }

  scanQueue(queue: QueueName, after: QueuePosition | undefined, limit: number): QueuePosition[] {
    const places = this.#disk.queues.get(nameOf(queue)) ?? [];
    const start = after === undefined ? 0 : placeIndex(places, after, true);
    return places.slice(start, start + limit);
  }

  countQueue(queue: QueueName): number {
    return this.#disk.queues.get(nameOf(queue))?.length ?? 0;
  }

  holds(): HoldRecord[] {
    return [...this.#disk.holds.values()].sort((a, b) => (a.id < b.id ? -1 : 1)).map(copyOf);
  }

  readIdempotency(key: string): IdempotencyRecord | undefined {
    const record = this.#disk.idempotency.get(key);
    return record !== undefined && record.expiresAt > this.#options.clock.now() ? copyOf(record) : undefined;
  }

  readOutbox(afterSequence: number, limit: number): OutboxBatch[] {
    return this.#disk.outbox.filter((batch) => batch.sequence > afterSequence).slice(0, limit);
  }

  health(): SpoolHealth {
    if (this.#error !== undefined) return { kind: "failed", error: this.#error };
    if (this.#freeBytes !== undefined) return { kind: "low-space", freeBytes: this.#freeBytes };
    const now = this.#options.clock.monotonicMs();
    const last = now - this.#endedAtMs < 5_000 ? this.#commitMsLast : 0;
    const commitMs = Math.max(last, this.#underWay.length > 0 ? now - this.#startedAtMs : 0);
    const isSlow = commitMs > (this.#options.commitLatencyMaxMs ?? Number.POSITIVE_INFINITY);
    return isSlow ? { kind: "slow", commitMs } : { kind: "ok" };
  }

  usage(): SpoolUsage {
    let liveBytes = 0;
    for (const stored of this.#disk.messages.values()) liveBytes += stored.content.length + operationBytes;
    const freeBytesOnDisk = this.#freeBytes ?? 1e12;
    return {
      fileBytes: liveBytes,
      liveBytes,
      freeBytesOnDisk,
      commits: this.#commits,
      commitMsLast: this.#commitMsLast,
    };
  }

  async close(): Promise<void> {
    while (this.#underWay.length > 0 && this.#ended === undefined) {
      await new Promise<void>((resolve) => this.#onIdle.push(resolve));
    }
    this.#ended ??= "closed";
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // One commit at a time; what comes meanwhile shares the next.

  #begin(): void {
    let operations = 0;
    let bytes = 0;
    let taken = 0;
    for (const item of this.#waiting) {
      operations += item.change.length;
      bytes += item.bytes;
      if (taken > 0 && (operations > operationsPerCommitMax || bytes > bytesPerCommitMax)) break;
      taken++;
    }
    this.#underWay = this.#waiting.splice(0, taken);
    const { clock, random, commitMinMs = 0.3, commitMaxMs = 3 } = this.#options;
    this.#startedAtMs = clock.monotonicMs();
    const delayMs = this.#fixedCommitMs ?? commitMinMs + random.next() * (commitMaxMs - commitMinMs);
    this.#timer = clock.after(delayMs, () => this.#end());
  }

  #end(): void {
    if (this.#failNext !== undefined) {
      this.#fail(this.#failNext);
      return;
    }
    const { clock } = this.#options;
    this.#endedAtMs = clock.monotonicMs();
    this.#commitMsLast = this.#endedAtMs - this.#startedAtMs;
    this.#commits++;
    const refused = this.#apply();
    const members = this.#underWay;
    this.#underWay = [];
    for (const item of members) {
      const error = refused.get(item);
      if (error === undefined) item.resolve();
      else item.reject(error);
    }
    if (this.#waiting.length > 0) this.#begin();
    else for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  #fail(error: Error): void {
    this.#error = error;
    const lost = [...this.#underWay, ...this.#waiting];
    this.#underWay = [];
    this.#waiting = [];
    for (const item of lost) item.reject(error);
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** Applies what is under way, each change whole. A change that cannot be is refused alone. */
  #apply(): Map<Waiting, Error> {
    const refused = new Map<Waiting, Error>();
    let lines = "";
    for (const item of this.#underWay) {
      try {
        lines += applyChange(this.#disk, item.change);
      } catch (error) {
        refused.set(item, error as Error);
      }
    }
    if (lines !== "") this.#disk.outbox.push({ sequence: ++this.#disk.lastSequence, lines: Buffer.from(lines) });
    return refused;
  }
}

/** Returns the change's lines. Throws before it has touched the disk. */
function applyChange(disk: Disk, change: SpoolChange): string {
  const staged = new Map<QueueId, Stored | undefined>();
  const after: (() => void)[] = [];
  let lines = "";
  const get = (queueId: QueueId) => (staged.has(queueId) ? staged.get(queueId) : disk.messages.get(queueId));
  for (const operation of change) {
    switch (operation.kind) {
      case "accept": {
        const { idempotency } = operation;
        assert(get(operation.message.queueId) === undefined, `message ${operation.message.queueId} is there already`);
        staged.set(operation.message.queueId, storedOf(operation));
        if (idempotency !== undefined) after.push(() => disk.idempotency.set(idempotency.key, idempotency));
        break;
      }
      case "reschedule": {
        const { entry, from } = operation;
        assert(!isFinished(entry), `entry ${entry.entryNo} of ${entry.queueId} has no pending recipient`);
        staged.set(entry.queueId, withEntry(get(entry.queueId), entry, from, entry.dueAt));
        break;
      }
      case "finish": {
        const { entry, from } = operation;
        assert(isFinished(entry), `entry ${entry.entryNo} of ${entry.queueId} still has a pending recipient`);
        const stored = withEntry(get(entry.queueId), entry, from, undefined);
        const isDone = stored.pending === 0 && stored.quarantine === undefined && !stored.damage.includes("message");
        staged.set(entry.queueId, isDone ? undefined : stored);
        break;
      }
      case "quarantine": {
        const stored = get(operation.queueId);
        const quarantine = { reason: operation.reason, at: operation.at };
        if (stored !== undefined) staged.set(operation.queueId, { ...stored, dueAt: new Map(), quarantine });
        break;
      }
      case "events":
        lines += operation.lines;
        break;
      case "trim-outbox":
        after.push(() => {
          disk.outbox = disk.outbox.filter((batch) => batch.sequence > operation.throughSequence);
        });
        break;
      case "put-hold":
        after.push(() => disk.holds.set(operation.hold.id, operation.hold));
        break;
      case "drop-hold":
        after.push(() => disk.holds.delete(operation.id));
        break;
      default:
        assertNever(operation);
    }
  }
  for (const [queueId, stored] of staged) {
    movePlaces(disk, disk.messages.get(queueId), stored);
    if (stored === undefined) disk.messages.delete(queueId);
    else disk.messages.set(queueId, stored);
  }
  for (const act of after) act();
  return lines;
}

function storedOf({ message, entries, content }: Extract<SpoolOperation, { kind: "accept" }>): Stored {
  const octets = Buffer.concat(content);
  assert(entries.length > 0 && entries.length === message.entryCount, `${message.queueId}: entries, entryCount`);
  assert(octets.length === message.contentBytes, `${message.queueId}: content and contentBytes differ`);
  const dueAt = new Map<number, Instant>();
  for (const [index, entry] of entries.entries()) {
    assert(entry.queueId === message.queueId && entry.entryNo === index, `${message.queueId}: entry ${index}`);
    if (!isFinished(entry)) dueAt.set(index, entry.dueAt);
  }
  assert(dueAt.size > 0, `${message.queueId}: no entry is pending`);
  return { message, entries, content: octets, dueAt, pending: dueAt.size, quarantine: undefined, damage: [] };
}

/** The message with the entry replaced and moved; `to` undefined takes it out of its queue. */
function withEntry(stored: Stored | undefined, entry: QueueEntry, from: Instant, to: Instant | undefined): Stored {
  const { queueId, entryNo } = entry;
  assert(stored !== undefined, `message ${queueId} is not there`);
  const entries = stored.entries.with(entryNo, entry);
  if (stored.quarantine !== undefined) return { ...stored, entries };
  assert(stored.dueAt.get(entryNo) === from, `entry ${entryNo} of ${queueId} does not stand at ${from}`);
  const dueAt = new Map(stored.dueAt);
  if (to === undefined) dueAt.delete(entryNo);
  else dueAt.set(entryNo, to);
  return { ...stored, entries, dueAt, pending: dueAt.size };
}

function movePlaces(disk: Disk, before: Stored | undefined, now: Stored | undefined): void {
  for (const [entryNo, dueAt] of before?.dueAt ?? []) {
    const entry = before?.entries[entryNo] as QueueEntry;
    const places = placesOf(disk, entry);
    const position = { dueAt, queueId: entry.queueId, entryNo };
    places.splice(placeIndex(places, position, false), 1);
  }
  for (const [entryNo, dueAt] of now?.dueAt ?? []) {
    const entry = now?.entries[entryNo] as QueueEntry;
    const places = placesOf(disk, entry);
    const position = { dueAt, queueId: entry.queueId, entryNo };
    places.splice(placeIndex(places, position, false), 0, position);
  }
}

function placesOf(disk: Disk, queue: QueueName): QueuePosition[] {
  const name = nameOf(queue);
  const places = disk.queues.get(name) ?? [];
  disk.queues.set(name, places);
  return places;
}

/** Index of the first place that is not before `position`; with `behind` the first that is behind it. */
function placeIndex(places: readonly QueuePosition[], position: QueuePosition, behind: boolean): number {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const order = comparePositions(places[middle] as QueuePosition, position);
    if (order < 0 || (behind && order === 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function comparePositions(a: QueuePosition, b: QueuePosition): number {
  if (a.dueAt !== b.dueAt) return a.dueAt - b.dueAt;
  if (a.queueId !== b.queueId) return a.queueId < b.queueId ? -1 : 1;
  return a.entryNo - b.entryNo;
}

const nameOf = (queue: QueueName): string => `${queue.stream}\0${queue.domain}`;

function queueOf(name: string): QueueName {
  const [stream = "", domain = ""] = name.split("\0");
  return { stream, domain };
}

function isFinished(entry: QueueEntry): boolean {
  return entry.recipients.every((recipient) => isFinal(recipient.state));
}

function damaged(queueId: QueueId, what: string): DamagedRecordError {
  return new DamagedRecordError(queueId, `${what} of ${queueId}: injected damage`);
}

/** As a disk gives it back: a copy, without the fields that are undefined. */
function copyOf<Value>(value: Value): Value {
  return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as Value);
}

/** What a change holds when it is handed over; later changes to the caller's objects do not matter. */
function frozen(operation: SpoolOperation): SpoolOperation {
  if (operation.kind !== "accept") return copyOf(operation);
  const { message, entries, idempotency } = operation;
  const content = [Buffer.concat(operation.content)];
  return {
    kind: "accept",
    message: copyOf(message),
    entries: copyOf(entries),
    content,
    idempotency: copyOf(idempotency),
  };
}

function sizeOf(change: SpoolChange): number {
  let bytes = 0;
  for (const operation of change) {
    bytes += operationBytes;
    if (operation.kind === "accept") bytes += operation.message.contentBytes;
    if (operation.kind === "events") bytes += operation.lines.length;
  }
  return bytes;
}
