// Reading messages, entries and contents from the tree `mail`, each record checked. Shared by the spool, the signing
// threads and the tools.

import type { QueueId } from "../core/ids.ts";
import { isQueueId } from "../core/ids.ts";
import type { Message, QueueEntry } from "../core/message.ts";
import type { Instant } from "../core/time.ts";
import { DamagedRecordError } from "./damaged-record.ts";
import { readRecord, type Tree } from "./environment.ts";
import { mailKey, mailKind } from "./keys.ts";
import {
  chunkBytes,
  chunkCount,
  decodeJson,
  decodeMessageHead,
  decodeMessageJson,
  decodeNumber,
  type MessageHead,
  payloadOf,
  recordHeadBytes,
  recordKind,
} from "./record-codec.ts";

export interface QuarantineNote {
  readonly reason: string;
  readonly at: Instant;
}

export function readMessage(mail: Tree, queueId: QueueId): Message | undefined {
  const record = readMessageRecord(mail, queueId);
  if (record === undefined) return undefined;
  const message = decodeMessageJson(record) as Message;
  if (message.queueId !== queueId) throw new DamagedRecordError(queueId, `message ${queueId}: names another queue id`);
  return message;
}

/** Number of entries and octets of a message without the work of parsing it. */
export function readMessageHead(mail: Tree, queueId: QueueId): MessageHead | undefined {
  const record = readMessageRecord(mail, queueId);
  return record === undefined ? undefined : decodeMessageHead(record);
}

function readMessageRecord(mail: Tree, queueId: QueueId): Buffer | undefined {
  if (!isQueueId(queueId)) return undefined;
  const read = readRecord(mail, recordKind.message, mailKey(queueId, mailKind.message, 0));
  if (read.kind === "damaged") throw new DamagedRecordError(queueId, `message ${queueId}: ${read.fault}`);
  return read.kind === "found" ? read.record : undefined;
}

export function readEntry(mail: Tree, queueId: QueueId, entryNo: number): QueueEntry | undefined {
  if (!isQueueId(queueId)) return undefined;
  const read = readRecord(mail, recordKind.entry, mailKey(queueId, mailKind.entry, entryNo));
  if (read.kind === "missing") return undefined;
  const name = `entry ${entryNo} of ${queueId}`;
  if (read.kind === "damaged") throw new DamagedRecordError(queueId, `${name}: ${read.fault}`);
  const entry = decodeJson(read.record) as QueueEntry;
  if (entry.queueId !== queueId || entry.entryNo !== entryNo) {
    throw new DamagedRecordError(queueId, `${name}: names another entry`);
  }
  return entry;
}

/** All entries of the message, final ones too. Throws when one of them is missing. */
export function readEntries(mail: Tree, queueId: QueueId): QueueEntry[] {
  const head = readMessageHead(mail, queueId);
  const entries: QueueEntry[] = [];
  for (let entryNo = 0; entryNo < (head?.entryCount ?? 0); entryNo++) {
    const entry = readEntry(mail, queueId, entryNo);
    if (entry === undefined) throw new DamagedRecordError(queueId, `entry ${entryNo} of ${queueId} is missing`);
    entries.push(entry);
  }
  return entries;
}

/** The content chunk by chunk, each a copy. Between two chunks no transaction is held. */
export function* readContent(mail: Tree, queueId: QueueId): Generator<Buffer> {
  const head = readMessageHead(mail, queueId);
  if (head === undefined) return;
  const chunks = chunkCount(head.contentBytes);
  for (let chunkNo = 0; chunkNo < chunks; chunkNo++) yield readChunk(mail, queueId, head.contentBytes, chunkNo);
}

/** A copy of one chunk of a content of `contentBytes`. Throws DamagedRecordError also when it is missing. */
export function readChunk(mail: Tree, queueId: QueueId, contentBytes: number, chunkNo: number): Buffer {
  const read = readRecord(mail, recordKind.chunk, mailKey(queueId, mailKind.chunk, chunkNo));
  const name = `chunk ${chunkNo} of ${queueId}`;
  if (read.kind === "missing") throw new DamagedRecordError(queueId, `${name} is missing`);
  if (read.kind === "damaged") throw new DamagedRecordError(queueId, `${name}: ${read.fault}`);
  const payload = payloadOf(read.record);
  if (payload.length !== chunkBytes(contentBytes, chunkNo)) {
    const octets = read.record.length - recordHeadBytes;
    throw new DamagedRecordError(queueId, `${name}: ${octets} octets, not ${chunkBytes(contentBytes, chunkNo)}`);
  }
  return Buffer.copyBytesFrom(payload);
}

/** Entries that still wait; kept only for messages with more than one entry. */
export function readPendingCount(mail: Tree, queueId: QueueId): number | undefined {
  const read = readRecord(mail, recordKind.pending, mailKey(queueId, mailKind.pending, 0));
  if (read.kind === "damaged") throw new DamagedRecordError(queueId, `pending count of ${queueId}: ${read.fault}`);
  return read.kind === "found" ? decodeNumber(read.record) : undefined;
}

/** A note that cannot be read still says that the message is in quarantine. */
export function readQuarantine(mail: Tree, queueId: QueueId): QuarantineNote | undefined {
  if (!isQueueId(queueId)) return undefined;
  const read = readRecord(mail, recordKind.quarantine, mailKey(queueId, mailKind.quarantine, 0));
  if (read.kind === "damaged") return { reason: `unreadable note: ${read.fault}`, at: 0 };
  return read.kind === "found" ? (decodeJson(read.record) as QuarantineNote) : undefined;
}
