// Keys of the spool's trees: fixed-width binary, so that the order of octets is the order of the queue. (Array keys in
// lmdb's own encoding cost the same; these can also be fed to a CRC and taken apart without the library.)

import { assert } from "../core/assert.ts";
import { isQueueId, type QueueId } from "../core/ids.ts";
import type { QueueName, QueuePosition } from "../core/message.ts";
import type { Instant } from "../core/time.ts";

/** What stands behind a queue id in the tree `mail`, in this order: a message's records are neighbours. */
export const mailKind = { message: 0, entry: 1, chunk: 2, pending: 3, quarantine: 4 } as const;
export type MailKind = (typeof mailKind)[keyof typeof mailKind];

const queueIdBytes = 16;
const dueAtBytes = 6;
const numberBytes = 4;
const mailKeyBytes = queueIdBytes + 1 + numberBytes;
const placeTailBytes = dueAtBytes + queueIdBytes + numberBytes;
/** Octets of a stream's name and a domain's together; lmdb takes keys of up to 1,978 octets. */
const nameBytesMax = 1_024;
/** An idempotency key with its user. */
export const idempotencyKeyBytesMax = 512;

export interface MailKey {
  readonly queueId: QueueId;
  readonly kind: number;
  readonly number: number;
}

/**
 * Key of one record of a message. `number` is the entry's or the chunk's, 0 for the others. Whether a queue id from
 * outside is one is asked before it comes here.
 */
export function mailKey(queueId: QueueId, kind: MailKind, number: number): Buffer {
  assert(queueId.length === queueIdBytes, `not a queue id: ${queueId}`);
  const key = Buffer.allocUnsafe(mailKeyBytes);
  key.write(queueId, 0, queueIdBytes, "latin1");
  key[queueIdBytes] = kind;
  key.writeUInt32BE(number, queueIdBytes + 1);
  return key;
}

/** undefined when the octets are no such key. */
export function parseMailKey(key: Buffer): MailKey | undefined {
  if (key.length !== mailKeyBytes) return undefined;
  const queueId = key.toString("latin1", 0, queueIdBytes);
  if (!isQueueId(queueId)) return undefined;
  return { queueId, kind: key[queueIdBytes] as number, number: key.readUInt32BE(queueIdBytes + 1) };
}

/** The first key that is behind all records of the message. */
export function mailKeyAfter(queueId: QueueId): Buffer {
  const key = Buffer.allocUnsafe(queueIdBytes + 1);
  key.write(queueId, 0, queueIdBytes, "latin1");
  key[queueIdBytes] = 0xff;
  return key;
}

/** What all keys of one queue begin with. Names hold no NUL, so one queue's keys never mix with another's. */
export function queuePrefix(queue: QueueName): Buffer {
  assert(!queue.stream.includes("\0") && !queue.domain.includes("\0"), "NUL in a queue's name");
  const prefix = Buffer.from(`${queue.stream}\0${queue.domain}\0`);
  assert(prefix.length <= nameBytesMax, `name of a queue above ${nameBytesMax} octets`);
  return prefix;
}

/** The first key behind all keys of the queue. */
export function queuePrefixAfter(queue: QueueName): Buffer {
  const prefix = queuePrefix(queue);
  prefix[prefix.length - 1] = 1;
  return prefix;
}

/** Key of an entry's place in its queue: stream, domain, due time, queue id, entry number. */
export function placeKey(queue: QueueName, position: QueuePosition): Buffer {
  return placeKeyOf(queue.stream, queue.domain, position.dueAt, position.queueId, position.entryNo);
}

export function placeKeyOf(stream: string, domain: string, dueAt: Instant, queueId: QueueId, entryNo: number): Buffer {
  assert(Number.isSafeInteger(dueAt) && dueAt >= 0 && dueAt <= 0xffff_ffff_ffff, `due time out of range: ${dueAt}`);
  assert(queueId.length === queueIdBytes, `not a queue id: ${queueId}`);
  const names = `${stream}\0${domain}\0`;
  const isClean = names.indexOf("\0") === stream.length && names.indexOf("\0", stream.length + 1) === names.length - 1;
  assert(isClean, "NUL in a queue's name");
  const key = Buffer.allocUnsafe(names.length * 3 + placeTailBytes);
  let at = key.write(names, 0);
  assert(at <= nameBytesMax, `name of a queue above ${nameBytesMax} octets`);
  key.writeUIntBE(dueAt, at, dueAtBytes);
  at += dueAtBytes;
  at += key.write(queueId, at, queueIdBytes, "latin1");
  key.writeUInt32BE(entryNo, at);
  return key.subarray(0, at + numberBytes);
}

export interface PlaceKey {
  readonly queue: QueueName;
  readonly position: QueuePosition;
}

/** undefined when the octets are no such key. */
export function parsePlaceKey(key: Buffer): PlaceKey | undefined {
  const namesEnd = key.length - placeTailBytes;
  if (namesEnd < 2 || key[namesEnd - 1] !== 0) return undefined;
  const streamEnd = key.indexOf(0);
  if (streamEnd >= namesEnd - 1) return undefined;
  const position = parsePlaceTail(key);
  if (!isQueueId(position.queueId)) return undefined;
  return {
    queue: { stream: key.toString("utf8", 0, streamEnd), domain: key.toString("utf8", streamEnd + 1, namesEnd - 1) },
    position,
  };
}

/** The position from a key that is known to be a place's. */
export function parsePlaceTail(key: Buffer): QueuePosition {
  const at = key.length - placeTailBytes;
  return {
    dueAt: key.readUIntBE(at, dueAtBytes),
    queueId: key.toString("latin1", at + dueAtBytes, at + dueAtBytes + queueIdBytes),
    entryNo: key.readUInt32BE(key.length - numberBytes),
  };
}

/** Whether a key in the tree `queue` is a place of this message. */
export function isPlaceOf(key: Buffer, queueId: QueueId): boolean {
  return key.toString("latin1", key.length - numberBytes - queueIdBytes, key.length - numberBytes) === queueId;
}

/** The key that comes directly behind `key`. */
export function successor(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.from([0])]);
}

/** Outbox records stand in order of their sequence number. */
export function outboxKey(sequence: number): Buffer {
  const key = Buffer.allocUnsafe(8);
  key.writeBigUInt64BE(BigInt(sequence));
  return key;
}

export function parseOutboxKey(key: Buffer): number {
  return Number(key.readBigUInt64BE(0));
}

const idempotencyRecordMark = 1;
const idempotencyExpiryMark = 2;

/** Key of an idempotency record. */
export function idempotencyKey(key: string): Buffer {
  const text = Buffer.from(key);
  assert(text.length <= idempotencyKeyBytesMax, `idempotency key above ${idempotencyKeyBytesMax} octets`);
  return Buffer.concat([Buffer.from([idempotencyRecordMark]), text]);
}

/** Key by which expired idempotency records are found. */
export function idempotencyExpiryKey(expiresAt: Instant, key: string): Buffer {
  const out = Buffer.concat([Buffer.alloc(1 + dueAtBytes), Buffer.from(key)]);
  out[0] = idempotencyExpiryMark;
  out.writeUIntBE(expiresAt, 1, dueAtBytes);
  return out;
}

/** Key of the record that an expiry key stands for. */
export function idempotencyKeyOfExpiry(expiryKey: Buffer): Buffer {
  return Buffer.concat([Buffer.from([idempotencyRecordMark]), expiryKey.subarray(1 + dueAtBytes)]);
}

/** The key as the port has it. */
export function textOfIdempotencyKey(recordKey: Buffer): string {
  return recordKey.toString("utf8", 1);
}

/** All idempotency records lie in [first, end); all their expiry keys in [end, ...). */
export const idempotencyRecordsStart = (): Buffer => Buffer.from([idempotencyRecordMark]);
export const idempotencyRecordsEnd = (): Buffer => Buffer.from([idempotencyExpiryMark]);

/** The end of the expiry keys that lie before `now`. */
export function idempotencyExpiryEnd(now: Instant): Buffer {
  const out = Buffer.alloc(1 + dueAtBytes);
  out[0] = idempotencyExpiryMark;
  out.writeUIntBE(now, 1, dueAtBytes);
  return out;
}
