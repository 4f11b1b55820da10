// From a change to the records that it writes and drops. The whole change is planned before the first record goes to
// LMDB, so a change that cannot be (a finish of what is finished) writes nothing.
//
// Changes of one transaction do not see each other in the tree: what they do to a message is kept here until the
// transaction has committed, so that entries of one message may finish side by side.

import { assert, assertNever } from "../core/assert.ts";
import { isQueueId, type QueueId } from "../core/ids.ts";
import { isFinal, type QueueEntry } from "../core/message.ts";
import type { Instant } from "../core/time.ts";
import type { Arena } from "./arena.ts";
import { DamagedRecordError } from "./damaged-record.ts";
import { type Environment, firstKey, keysIn, readRecord, type Tree } from "./environment.ts";
import {
  idempotencyExpiryEnd,
  idempotencyExpiryKey,
  idempotencyKey,
  idempotencyKeyOfExpiry,
  idempotencyRecordsEnd,
  isPlaceOf,
  mailKey,
  mailKeyAfter,
  mailKind,
  outboxKey,
  placeKeyOf,
  successor,
  textOfIdempotencyKey,
} from "./keys.ts";
import { readEntry, readMessageHead, readPendingCount, readQuarantine } from "./mail-reader.ts";
import {
  chunkBytes,
  chunkCount,
  decodeJson,
  encodeEmpty,
  encodeJson,
  encodeMessage,
  encodeNumber,
  encodeOctets,
  recordHeadBytes,
  recordKind,
  seal,
} from "./record-codec.ts";
import type { IdempotencyRecord, SpoolOperation } from "./spool.ts";

/** What `spool import` needs besides: a key whose message has already gone. */
export type PlannedOperation =
  | SpoolOperation
  | { readonly kind: "put-idempotency"; readonly record: IdempotencyRecord };

/** One record to put, or to drop when `record` is undefined. */
export interface Write {
  readonly tree: Tree;
  readonly key: Buffer;
  readonly record: Buffer | undefined;
}

/** Records that one trim or one purge drops at most; the rest follows with later transactions. */
const trimMax = 512;
const purgeMax = 128;
/** Least time between two looks for expired idempotency keys. */
const purgeIntervalMs = 1_000;
/**
 * An outbox record is cut at a line end so that it fits one page of 4 KiB (its head, LMDB's, and this). Records of more
 * pages need free ones in a row. A queue that drains leaves few of those: LMDB then takes all that it knows to be free into
 * memory to look for them, and from then on orders the whole of it anew with each commit, in time that grows with its
 * square.
 */
const outboxPayloadBytesMax = 4096 - 24 - recordHeadBytes;
const lineFeed = 10;
const scanStepKeys = 1_000;
/** Messages whose state is remembered beyond their transaction. */
const recentMax = 5_000;

/** A message as the transaction that is being collected will leave it. Values are replaced, never changed. */
interface MessageState {
  readonly entryCount: number;
  readonly contentBytes: number;
  readonly pending: number;
  readonly condition: "sound" | "quarantined" | "damaged" | "dropped";
  /** Keys of the places of entries that this transaction moved; undefined: in no queue any more. */
  readonly places: ReadonlyMap<number, Buffer | undefined>;
}

const unmoved: ReadonlyMap<number, Buffer | undefined> = new Map();

export class ChangePlanner {
  readonly #environment: Environment;
  readonly #arena: Arena;
  /** Of the changes that are already in the transaction. */
  readonly #messages = new Map<QueueId, MessageState>();
  /** Messages that were accepted or moved lately, as the tree has them: their end need not read them again. */
  readonly #recent = new Map<QueueId, MessageState>();
  /** Of the change that is being planned. */
  readonly #staged = new Map<QueueId, MessageState>();
  /** Idempotency keys that the transaction writes: a purge must not take their new records for the old ones. */
  readonly #idempotencyKeys = new Set<string>();
  #writes: Write[] = [];
  #lines: string[] = [];
  #trimmedThrough: number;
  #trimLeft = false;
  #nextPurgeAt = 0;

  constructor(environment: Environment, arena: Arena, trimmedThrough: number) {
    this.#environment = environment;
    this.#arena = arena;
    this.#trimmedThrough = trimmedThrough;
    this.#trimLeft = trimmedThrough > 0;
  }

  /** Outbox records up to here are forgotten, be they dropped already or not. */
  get trimmedThrough(): number {
    return this.#trimmedThrough;
  }

  /** The change's writes; throws, and remembers nothing of it, when the change cannot be. Lines come with `closing`. */
  plan(change: readonly PlannedOperation[]): readonly Write[] {
    this.#staged.clear();
    this.#writes = [];
    let trim: number | undefined;
    for (const operation of change) {
      if (operation.kind === "trim-outbox") trim = Math.max(trim ?? 0, operation.throughSequence);
      this.#operation(operation);
    }
    for (const [queueId, { condition, pending }] of this.#staged) {
      assert(condition !== "sound" || pending > 0, `${queueId}: no entry is pending`);
    }
    for (const operation of change) {
      if (operation.kind === "events" && operation.lines !== "") this.#lines.push(operation.lines);
    }
    for (const [queueId, state] of this.#staged) this.#messages.set(queueId, state);
    if (trim !== undefined && trim > this.#trimmedThrough) {
      this.#trimmedThrough = trim;
      this.#trimLeft = true;
    }
    return this.#writes;
  }

  /** Whether lines wait that only `closing` will write. */
  get hasLines(): boolean {
    return this.#lines.length > 0;
  }

  /** The last writes of a transaction: its outbox records, numbered from `sequence`, and a bit of sweeping. */
  closing(sequence: number, now: Instant): { readonly writes: readonly Write[]; readonly nextSequence: number } {
    this.#writes = [];
    let next = sequence;
    for (const octets of pagesOf(Buffer.from(this.#lines.join("")))) {
      const key = outboxKey(next++);
      this.#put(this.#environment.outbox, key, encodeOctets(this.#arena, recordKind.outbox, key, octets));
    }
    this.#lines = [];
    if (this.#trimLeft) this.#sweepOutbox();
    if (now >= this.#nextPurgeAt) this.#purgeIdempotency(now);
    return { writes: this.#writes, nextSequence: next };
  }

  /** The transaction is on the disk: the trees tell all. */
  committed(): void {
    for (const [queueId, state] of this.#messages) {
      // Without the keys of its places: each would keep a slab of Node's buffer pool for as long as it waits.
      if (state.condition === "sound") this.#recent.set(queueId, { ...state, places: unmoved });
      else this.#recent.delete(queueId);
    }
    for (const queueId of this.#recent.keys()) {
      if (this.#recent.size <= recentMax) break;
      this.#recent.delete(queueId);
    }
    this.#messages.clear();
    this.#idempotencyKeys.clear();
  }

  #operation(operation: PlannedOperation): void {
    switch (operation.kind) {
      case "accept":
        this.#accept(operation);
        return;
      case "reschedule":
        this.#reschedule(operation.entry, operation.from);
        return;
      case "finish":
        this.#finish(operation.entry, operation.from);
        return;
      case "quarantine":
        this.#quarantine(operation.queueId, operation.reason, operation.at);
        return;
      case "events":
        return;
      case "trim-outbox": {
        const key = trimmedKey();
        const through = Math.max(operation.throughSequence, this.#trimmedThrough);
        this.#put(this.#environment.meta, key, encodeNumber(this.#arena, recordKind.meta, key, through));
        return;
      }
      case "put-hold": {
        const key = Buffer.from(operation.hold.id);
        this.#put(this.#environment.holds, key, encodeJson(this.#arena, recordKind.hold, key, operation.hold));
        return;
      }
      case "drop-hold":
        this.#drop(this.#environment.holds, Buffer.from(operation.id));
        return;
      case "put-idempotency":
        this.#putIdempotency(operation.record);
        return;
      default:
        assertNever(operation);
    }
  }

  #accept(operation: Extract<SpoolOperation, { kind: "accept" }>): void {
    const { message, entries, content } = operation;
    const { queueId, contentBytes } = message;
    assert(isQueueId(queueId), `not a queue id: ${queueId}`);
    assert(contentBytes <= 0xffff_ffff, `content above 4 GiB: ${queueId}`);
    assert(entries.length > 0 && entries.length === message.entryCount, `${queueId}: entries and entryCount differ`);
    const { mail, queue } = this.#environment;
    const key = mailKey(queueId, mailKind.message, 0);
    const known = this.#staged.get(queueId) ?? this.#messages.get(queueId);
    const isThere = known === undefined ? mail.getBinaryFast(key) !== undefined : known.condition !== "dropped";
    assert(!isThere, `message ${queueId} is there already`);
    const head = { entryCount: entries.length, contentBytes };
    const places = new Map<number, Buffer | undefined>();
    this.#put(mail, key, encodeMessage(this.#arena, key, head, message));
    let pending = 0;
    for (let entryNo = 0; entryNo < entries.length; entryNo++) {
      const entry = entries[entryNo] as QueueEntry;
      assert(entry.queueId === queueId && entry.entryNo === entryNo, `${queueId}: entry ${entryNo} out of order`);
      this.#putEntry(entry);
      if (isFinished(entry)) {
        places.set(entryNo, undefined);
        continue;
      }
      pending++;
      const place = placeOf(entry, entry.dueAt);
      places.set(entryNo, place);
      this.#put(queue, place, encodeEmpty(this.#arena, recordKind.place, place));
    }
    if (entries.length > 1) this.#putPending(queueId, pending);
    this.#putContent(queueId, contentBytes, content);
    if (operation.idempotency !== undefined) this.#putIdempotency(operation.idempotency);
    this.#staged.set(queueId, { entryCount: entries.length, contentBytes, pending, condition: "sound", places });
  }

  #putContent(queueId: QueueId, contentBytes: number, content: readonly Buffer[]): void {
    const chunks = chunkCount(contentBytes);
    let part = 0;
    let partAt = 0;
    for (let chunkNo = 0; chunkNo < chunks; chunkNo++) {
      const bytes = chunkBytes(contentBytes, chunkNo);
      const record = this.#arena.take(recordHeadBytes + bytes);
      for (let at = recordHeadBytes; at < record.length; ) {
        const source = content[part];
        assert(source !== undefined, `${queueId}: content is shorter than contentBytes`);
        const copied = source.copy(record, at, partAt);
        at += copied;
        partAt += copied;
        if (partAt === source.length) {
          part++;
          partAt = 0;
        }
      }
      const key = mailKey(queueId, mailKind.chunk, chunkNo);
      this.#put(this.#environment.mail, key, seal(record, recordKind.chunk, key));
    }
    while (content[part]?.length === partAt) {
      part++;
      partAt = 0;
    }
    assert(part >= content.length, `${queueId}: content is longer than contentBytes`);
  }

  #reschedule(entry: QueueEntry, from: Instant): void {
    assert(!isFinished(entry), `entry ${entry.entryNo} of ${entry.queueId} has no pending recipient`);
    const state = this.#stateOf(entry.queueId);
    this.#putEntry(entry);
    const old = placeOf(entry, from);
    if (!this.#stands(state, entry, old) || entry.dueAt === from) return;
    const { queue } = this.#environment;
    const place = placeOf(entry, entry.dueAt);
    this.#drop(queue, old);
    this.#put(queue, place, encodeEmpty(this.#arena, recordKind.place, place));
    this.#stage(entry, state, place);
  }

  #finish(entry: QueueEntry, from: Instant): void {
    assert(isFinished(entry), `entry ${entry.entryNo} of ${entry.queueId} still has a pending recipient`);
    const { queueId } = entry;
    const state = this.#stateOf(queueId);
    const place = placeOf(entry, from);
    const stands = this.#stands(state, entry, place);
    if (stands) this.#drop(this.#environment.queue, place);
    if (!stands || state.condition !== "sound") {
      // In quarantine or damaged: the records stay, and the entry says what became of it.
      this.#putEntry(entry);
      this.#stage(entry, state, undefined);
      return;
    }
    const pending = state.pending - 1;
    if (pending === 0) {
      this.#dropMessage(queueId, state);
      this.#staged.set(queueId, { ...state, pending, condition: "dropped" });
      return;
    }
    this.#putEntry(entry);
    this.#putPending(queueId, pending);
    this.#stage(entry, { ...state, pending }, undefined);
  }

  #stage(entry: QueueEntry, state: MessageState, place: Buffer | undefined): void {
    this.#staged.set(entry.queueId, { ...state, places: new Map(state.places).set(entry.entryNo, place) });
  }

  #dropMessage(queueId: QueueId, state: MessageState): void {
    const { mail } = this.#environment;
    this.#drop(mail, mailKey(queueId, mailKind.message, 0));
    for (let entryNo = 0; entryNo < state.entryCount; entryNo++) {
      this.#drop(mail, mailKey(queueId, mailKind.entry, entryNo));
    }
    const chunks = chunkCount(state.contentBytes);
    for (let chunkNo = 0; chunkNo < chunks; chunkNo++) this.#drop(mail, mailKey(queueId, mailKind.chunk, chunkNo));
    if (state.entryCount > 1) this.#drop(mail, mailKey(queueId, mailKind.pending, 0));
  }

  #quarantine(queueId: QueueId, reason: string, at: Instant): void {
    const known = this.#staged.get(queueId) ?? this.#messages.get(queueId);
    if (known?.condition === "dropped") return;
    const { mail, queue } = this.#environment;
    for (const place of this.#placesOf(queueId, known)) this.#drop(queue, place);
    // Places without any record have nothing that a note could be about.
    const first = mailKey(queueId, mailKind.message, 0);
    if (known === undefined && keysIn(mail, first, mailKeyAfter(queueId), 1).length === 0) return;
    const key = mailKey(queueId, mailKind.quarantine, 0);
    this.#put(mail, key, encodeJson(this.#arena, recordKind.quarantine, key, { reason, at }));
    const { entryCount, contentBytes, pending } = known ?? { entryCount: 0, contentBytes: 0, pending: 0 };
    this.#staged.set(queueId, { entryCount, contentBytes, pending, condition: "quarantined", places: unmoved });
  }

  /**
   * Keys of all places of the message. Its entries name them; when an entry cannot be read, all queues are looked
   * through, which takes two or three seconds for each million of entries: damage is rare, and a place left behind would be
   * stumbled over for ever.
   */
  #placesOf(queueId: QueueId, known: MessageState | undefined): Buffer[] {
    const moved = known?.places ?? unmoved;
    const places = [...moved.values()].filter((place) => place !== undefined);
    // Accepted in this same transaction: the tree does not know it yet.
    if (known !== undefined && moved.size === known.entryCount) return places;
    const { mail, queue } = this.#environment;
    try {
      const head = readMessageHead(mail, queueId);
      if (head === undefined) throw new DamagedRecordError(queueId, "message is missing");
      for (let entryNo = 0; entryNo < head.entryCount; entryNo++) {
        if (moved.has(entryNo)) continue;
        const entry = readEntry(mail, queueId, entryNo);
        if (entry === undefined) throw new DamagedRecordError(queueId, "entry is missing");
        const place = placeOf(entry, entry.dueAt);
        if (queue.getBinaryFast(place) !== undefined) places.push(place);
        else if (!isFinished(entry)) throw new DamagedRecordError(queueId, "place is missing");
      }
      return places;
    } catch (error) {
      if (!(error instanceof DamagedRecordError)) throw error;
      return [...places, ...this.#placesByScan(queueId)];
    }
  }

  #placesByScan(queueId: QueueId): Buffer[] {
    const places: Buffer[] = [];
    for (let start = firstKey(); ; ) {
      const keys = keysIn(this.#environment.queue, start, undefined, scanStepKeys);
      for (const key of keys) if (isPlaceOf(key, queueId)) places.push(key);
      const last = keys.at(-1);
      if (last === undefined || keys.length < scanStepKeys) return places;
      start = successor(last);
    }
  }

  #stateOf(queueId: QueueId): MessageState {
    const known = this.#staged.get(queueId) ?? this.#messages.get(queueId) ?? this.#recent.get(queueId);
    if (known !== undefined) {
      assert(known.condition !== "dropped", `message ${queueId} is finished already`);
      return known;
    }
    const { mail } = this.#environment;
    try {
      const head = readMessageHead(mail, queueId);
      assert(head !== undefined, `message ${queueId} is not there`);
      const pending = head.entryCount === 1 ? 1 : readPendingCount(mail, queueId);
      if (pending === undefined) throw new DamagedRecordError(queueId, `pending count of ${queueId} is missing`);
      return { ...head, pending, condition: "sound", places: unmoved };
    } catch (error) {
      if (!(error instanceof DamagedRecordError)) throw error;
      // A delivery that ends must be noted though its message has gone bad meanwhile. Nothing is dropped then.
      return { entryCount: 0, contentBytes: 0, pending: 0, condition: "damaged", places: unmoved };
    }
  }

  /**
   * Whether the entry stands at this place. False for an entry that a quarantine took out while its attempt was under
   * way; any other absence is a bug of the caller, and to go on would drop mail that still waits.
   */
  #stands(state: MessageState, entry: QueueEntry, place: Buffer): boolean {
    const { queueId, entryNo } = entry;
    if (state.condition === "quarantined") return false;
    const stands = state.places.has(entryNo)
      ? state.places.get(entryNo)?.equals(place) === true
      : this.#environment.queue.getBinaryFast(place) !== undefined;
    if (stands) return true;
    const excused = state.condition === "damaged" || readQuarantine(this.#environment.mail, queueId) !== undefined;
    assert(excused, `entry ${entryNo} of ${queueId} does not stand where it is said to`);
    return false;
  }

  #putEntry(entry: QueueEntry): void {
    const key = mailKey(entry.queueId, mailKind.entry, entry.entryNo);
    this.#put(this.#environment.mail, key, encodeJson(this.#arena, recordKind.entry, key, entry));
  }

  #putPending(queueId: QueueId, pending: number): void {
    const key = mailKey(queueId, mailKind.pending, 0);
    this.#put(this.#environment.mail, key, encodeNumber(this.#arena, recordKind.pending, key, pending));
  }

  #putIdempotency(record: IdempotencyRecord): void {
    const { idempotency } = this.#environment;
    const key = idempotencyKey(record.key);
    this.#idempotencyKeys.add(record.key);
    this.#put(idempotency, key, encodeJson(this.#arena, recordKind.idempotency, key, record));
    const expiryKey = idempotencyExpiryKey(record.expiresAt, record.key);
    this.#put(idempotency, expiryKey, encodeEmpty(this.#arena, recordKind.idempotency, expiryKey));
  }

  #sweepOutbox(): void {
    const keys = keysIn(this.#environment.outbox, firstKey(), outboxKey(this.#trimmedThrough + 1), trimMax);
    for (const key of keys) this.#drop(this.#environment.outbox, key);
    this.#trimLeft = keys.length === trimMax;
  }

  #purgeIdempotency(now: Instant): void {
    const { idempotency } = this.#environment;
    const expired = keysIn(idempotency, idempotencyRecordsEnd(), idempotencyExpiryEnd(now), purgeMax);
    for (const expiryKey of expired) {
      this.#drop(idempotency, expiryKey);
      const key = idempotencyKeyOfExpiry(expiryKey);
      if (this.#idempotencyKeys.has(textOfIdempotencyKey(key))) continue;
      const read = readRecord(idempotency, recordKind.idempotency, key);
      // The key may have been used again since: then its new record stays, and its new expiry key with it.
      if (read.kind === "found" && (decodeJson(read.record) as IdempotencyRecord).expiresAt > now) continue;
      this.#drop(idempotency, key);
    }
    if (expired.length < purgeMax) this.#nextPurgeAt = now + purgeIntervalMs;
  }

  #put(tree: Tree, key: Buffer, record: Buffer): void {
    this.#writes.push({ tree, key, record });
  }

  #drop(tree: Tree, key: Buffer): void {
    this.#writes.push({ tree, key, record: undefined });
  }
}

/** Key in the tree `meta` of the sequence number through which the outbox is forgotten. */
export function trimmedKey(): Buffer {
  return Buffer.from("outbox-trimmed");
}

function placeOf(entry: QueueEntry, dueAt: Instant): Buffer {
  return placeKeyOf(entry.stream, entry.domain, dueAt, entry.queueId, entry.entryNo);
}

export function isFinished(entry: QueueEntry): boolean {
  return entry.recipients.every((recipient) => isFinal(recipient.state));
}

/** The lines of a transaction, in parts of whole lines that fit an outbox record each. A longer line is a part by itself. */
function* pagesOf(lines: Buffer): Generator<Buffer> {
  for (let start = 0; start < lines.length; ) {
    let end = start + outboxPayloadBytesMax;
    if (end >= lines.length) end = lines.length;
    else {
      const lastEnd = lines.lastIndexOf(lineFeed, end - 1);
      const lineEnd = lastEnd >= start ? lastEnd : lines.indexOf(lineFeed, end);
      end = lineEnd === -1 ? lines.length : lineEnd + 1;
    }
    yield lines.subarray(start, end);
    start = end;
  }
}
