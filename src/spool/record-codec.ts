// The form of every record in the spool: version, kind, length, CRC-32, payload. LMDB has no checksums of its own, so a
// flipped bit would come back as data. The CRC starts from the CRC of the key: a record that turns up under another key
// is as wrong as one with a flipped bit.
//
//   0      1      2        4          8        12
//   | ver  | kind | 0 0    | length   | CRC-32 | payload ...        numbers are big-endian

import { crc32 } from "node:zlib";
import type { Arena } from "./arena.ts";

const recordVersion = 1;
export const recordHeadBytes = 12;

export const recordKind = {
  message: 1,
  entry: 2,
  chunk: 3,
  pending: 4,
  quarantine: 5,
  place: 6,
  outbox: 7,
  hold: 8,
  idempotency: 9,
  meta: 10,
} as const;
export type RecordKind = (typeof recordKind)[keyof typeof recordKind];

/**
 * Octets of content in one chunk: with our head and LMDB's page head of 24 octets a full chunk fills 16 pages of 4 KiB
 * exactly.
 */
const chunkPayloadBytesMax = 16 * 4096 - 24 - recordHeadBytes;

/** What stands in front of a message's JSON, so that dropping a message need not parse it. */
export interface MessageHead {
  readonly entryCount: number;
  readonly contentBytes: number;
}
const messageHeadBytes = 8;

export function chunkCount(contentBytes: number): number {
  return Math.ceil(contentBytes / chunkPayloadBytesMax);
}

/** Octets of chunk `chunkNo` of a content of `contentBytes`. */
export function chunkBytes(contentBytes: number, chunkNo: number): number {
  return Math.min(chunkPayloadBytesMax, contentBytes - chunkNo * chunkPayloadBytesMax);
}

/** A record with `value` as JSON. */
export function encodeJson(arena: Arena, kind: RecordKind, key: Buffer, value: unknown): Buffer {
  return encodeText(arena, kind, key, JSON.stringify(value), 0);
}

/** A message's record: its head, then its JSON. */
export function encodeMessage(arena: Arena, key: Buffer, head: MessageHead, message: unknown): Buffer {
  return encodeText(arena, recordKind.message, key, JSON.stringify(message), messageHeadBytes, head);
}

function encodeText(
  arena: Arena,
  kind: RecordKind,
  key: Buffer,
  text: string,
  gapBytes: number,
  head?: MessageHead,
): Buffer {
  const start = recordHeadBytes + gapBytes;
  const room = arena.take(start + text.length * 3);
  const textBytes = room.write(text, start);
  const record = arena.giveBack(room, room.length - start - textBytes);
  if (head !== undefined) {
    record.writeUInt32BE(head.entryCount, recordHeadBytes);
    record.writeUInt32BE(head.contentBytes, recordHeadBytes + 4);
  }
  return seal(record, kind, key);
}

/** A record with `octets` as they are. */
export function encodeOctets(arena: Arena, kind: RecordKind, key: Buffer, octets: Buffer): Buffer {
  const record = arena.take(recordHeadBytes + octets.length);
  octets.copy(record, recordHeadBytes);
  return seal(record, kind, key);
}

/** A record with one number. */
export function encodeNumber(arena: Arena, kind: RecordKind, key: Buffer, value: number): Buffer {
  const record = arena.take(recordHeadBytes + 8);
  record.writeDoubleBE(value, recordHeadBytes);
  return seal(record, kind, key);
}

/** A record without payload: its CRC is that of its key. */
export function encodeEmpty(arena: Arena, kind: RecordKind, key: Buffer): Buffer {
  return seal(arena.take(recordHeadBytes), kind, key);
}

/** Fills the head of a record whose payload is in place. */
export function seal(record: Buffer, kind: RecordKind, key: Buffer): Buffer {
  record[0] = recordVersion;
  record[1] = kind;
  record[2] = 0;
  record[3] = 0;
  record.writeUInt32BE(record.length - recordHeadBytes, 4);
  record.writeUInt32BE(crc32(record.subarray(recordHeadBytes), crc32(key)), 8);
  return record;
}

/** What is wrong with the record, in words; undefined when it is sound. */
export function faultOf(record: Buffer, kind: RecordKind, key: Buffer): string | undefined {
  if (record.length < recordHeadBytes) return `record of ${record.length} octets is cut off`;
  if (record[0] !== recordVersion) return `record version ${record[0]} is unknown`;
  if (record[1] !== kind) return `record kind is ${record[1]}, not ${kind}`;
  const length = record.readUInt32BE(4);
  if (length !== record.length - recordHeadBytes) {
    return `record says ${length} octets and has ${record.length - recordHeadBytes}`;
  }
  if (record.readUInt32BE(8) !== crc32(record.subarray(recordHeadBytes), crc32(key))) return "CRC-32 does not match";
  return undefined;
}

export function decodeJson(record: Buffer): unknown {
  return JSON.parse(record.toString("utf8", recordHeadBytes, record.length));
}

export function decodeMessageHead(record: Buffer): MessageHead {
  return {
    entryCount: record.readUInt32BE(recordHeadBytes),
    contentBytes: record.readUInt32BE(recordHeadBytes + 4),
  };
}

export function decodeMessageJson(record: Buffer): unknown {
  return JSON.parse(record.toString("utf8", recordHeadBytes + messageHeadBytes, record.length));
}

export function decodeNumber(record: Buffer): number {
  return record.readDoubleBE(recordHeadBytes);
}

/** The payload as a view: valid only as long as the record is. */
export function payloadOf(record: Buffer): Buffer {
  return record.subarray(recordHeadBytes);
}
