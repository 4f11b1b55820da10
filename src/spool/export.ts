// `spool export`: a way out that does not depend on LMDB. A folder of plain files that `spool import`, or anybody with
// a text editor, can read:
//
//   manifest.json                        counts, written last: a folder without it is not complete
//   messages/<5 characters>/<id>.eml     the content as it was accepted
//   messages/<5 characters>/<id>.json    message and entries
//   holds.json  idempotency.jsonl  outbox.log

import { type FileHandle, mkdir, open, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { QueueId } from "../core/ids.ts";
import type { Message, QueueEntry } from "../core/message.ts";
import { DamagedRecordError } from "./damaged-record.ts";
import { type Environment, firstKey, keysIn, recordsIn, syncFolder, type Tree } from "./environment.ts";
import { withEnvironment } from "./integrity.ts";
import {
  idempotencyRecordsEnd,
  idempotencyRecordsStart,
  mailKeyAfter,
  parseMailKey,
  parseOutboxKey,
  successor,
} from "./keys.ts";
import { type QuarantineNote, readContent, readEntries, readMessage, readQuarantine } from "./mail-reader.ts";
import { decodeJson, faultOf, payloadOf, type RecordKind, recordKind } from "./record-codec.ts";
import { readTrimmedThrough } from "./recovery.ts";

export const exportFormat = 1;
export const manifestFile = "manifest.json";
export const holdsFile = "holds.json";
export const idempotencyFile = "idempotency.jsonl";
export const outboxFile = "outbox.log";

export interface ExportOptions {
  /** Called after each message. */
  readonly onProgress?: ((messages: number) => void) | undefined;
}

export interface ExportResult {
  readonly format: number;
  /** Messages whole, those in quarantine included. */
  readonly messages: number;
  readonly contentBytes: number;
  readonly quarantined: number;
  readonly holds: number;
  readonly idempotencyRecords: number;
  readonly outboxBatches: number;
  /** Records that could not be read, by what they belong to. They are not in the export. */
  readonly damaged: readonly { readonly queueId: QueueId | undefined; readonly detail: string }[];
}

/** What the JSON file of a message holds. */
export interface ExportedMessage {
  readonly message: Message;
  readonly entries: readonly QueueEntry[];
  readonly quarantine: QuarantineNote | undefined;
}

const stepKeys = 1_000;

/** Folder and name, without extension, of a message's files within the export. */
function exportedPath(queueId: QueueId): string {
  return join("messages", queueId.slice(0, 5), queueId);
}

/**
 * Writes the spool in `path` out to the folder `directory`, which must be empty or missing. All of it is on the disk
 * when this resolves. Rejects when the spool is in use or cannot be opened; damaged records are listed, not fatal.
 */
export async function exportSpool(path: string, directory: string, options: ExportOptions = {}): Promise<ExportResult> {
  await mkdir(directory, { recursive: true });
  if ((await readdir(directory)).length > 0) throw new Error(`${directory} is not empty`);
  return withEnvironment(path, (environment) => exportEnvironment(environment, directory, options));
}

async function exportEnvironment(
  environment: Environment,
  directory: string,
  options: ExportOptions,
): Promise<ExportResult> {
  const damaged: { queueId: QueueId | undefined; detail: string }[] = [];
  const folders = new Set<string>();
  let messages = 0;
  let contentBytes = 0;
  let quarantined = 0;
  for (const queueId of messageIds(environment.mail)) {
    try {
      const exported = await exportMessage(environment.mail, queueId, directory, folders);
      messages++;
      contentBytes += exported.message.contentBytes;
      if (exported.quarantine !== undefined) quarantined++;
    } catch (error) {
      if (!(error instanceof DamagedRecordError)) throw error;
      damaged.push({ queueId, detail: error.message });
    }
    options.onProgress?.(messages);
  }
  const note = (detail: string) => damaged.push({ queueId: undefined, detail });
  const holds = [...soundJson(environment.holds, recordKind.hold, firstKey(), undefined, note)];
  await writeDurably(join(directory, holdsFile), `${JSON.stringify(holds, null, 2)}\n`);
  const idempotencyRecords = await exportIdempotency(environment, directory, note);
  const outboxBatches = await exportOutbox(environment, directory, note);
  const result: ExportResult = {
    format: exportFormat,
    messages,
    contentBytes,
    quarantined,
    holds: holds.length,
    idempotencyRecords,
    outboxBatches,
    damaged,
  };
  for (const folder of [...folders, join(directory, "messages"), directory]) syncExisting(folder);
  await writeDurably(join(directory, manifestFile), `${JSON.stringify(result, null, 2)}\n`);
  syncFolder(directory);
  return result;
}

async function exportMessage(
  mail: Tree,
  queueId: QueueId,
  directory: string,
  folders: Set<string>,
): Promise<ExportedMessage> {
  const message = readMessage(mail, queueId);
  if (message === undefined) throw new DamagedRecordError(queueId, `message ${queueId} is missing`);
  const entries = readEntries(mail, queueId);
  const quarantine = readQuarantine(mail, queueId);
  // Every chunk is checked before the first file is made: half a message is never left behind.
  const content = [...readContent(mail, queueId)];
  const file = join(directory, exportedPath(queueId));
  if (!folders.has(dirname(file))) {
    await mkdir(dirname(file), { recursive: true });
    folders.add(dirname(file));
  }
  await writeDurably(`${file}.eml`, content);
  const exported: ExportedMessage = { message, entries, quarantine };
  await writeDurably(`${file}.json`, `${JSON.stringify(exported, null, 2)}\n`);
  return exported;
}

async function exportIdempotency(
  environment: Environment,
  directory: string,
  note: (detail: string) => void,
): Promise<number> {
  const [start, end] = [idempotencyRecordsStart(), idempotencyRecordsEnd()];
  let count = 0;
  await withNewFile(join(directory, idempotencyFile), async (file) => {
    for (const value of soundJson(environment.idempotency, recordKind.idempotency, start, end, note)) {
      await file.write(`${JSON.stringify(value)}\n`);
      count++;
    }
  });
  return count;
}

/** Events that had not reached the delivery log. */
async function exportOutbox(
  environment: Environment,
  directory: string,
  note: (detail: string) => void,
): Promise<number> {
  const trimmedThrough = readTrimmedThrough(environment);
  let count = 0;
  await withNewFile(join(directory, outboxFile), async (file) => {
    for (const { key, record } of allRecords(environment.outbox, firstKey(), undefined)) {
      if (parseOutboxKey(key) <= trimmedThrough) continue;
      const fault = faultOf(record, recordKind.outbox, key);
      if (fault !== undefined) {
        note(`outbox record ${parseOutboxKey(key)}: ${fault}`);
        continue;
      }
      await file.write(payloadOf(record));
      count++;
    }
  });
  return count;
}

/** Ids of all messages, found through whatever record is left of each. */
function* messageIds(mail: Tree): Generator<QueueId> {
  for (let start = firstKey(); ; ) {
    const key = keysIn(mail, start, undefined, 1)[0];
    if (key === undefined) return;
    const parsed = parseMailKey(key);
    if (parsed === undefined) {
      start = successor(key);
      continue;
    }
    yield parsed.queueId;
    start = mailKeyAfter(parsed.queueId);
  }
}

function* soundJson(
  tree: Tree,
  kind: RecordKind,
  start: Buffer,
  end: Buffer | undefined,
  note: (detail: string) => void,
): Generator<unknown> {
  for (const { key, record } of allRecords(tree, start, end)) {
    const fault = faultOf(record, kind, key);
    if (fault === undefined) yield decodeJson(record);
    else note(`record ${key.toString()}: ${fault}`);
  }
}

function* allRecords(
  tree: Tree,
  start: Buffer,
  end: Buffer | undefined,
): Generator<{ readonly key: Buffer; readonly record: Buffer }> {
  for (let from = start; ; ) {
    const step = recordsIn(tree, from, end, stepKeys);
    yield* step;
    const last = step.at(-1);
    if (last === undefined || step.length < stepKeys) return;
    from = successor(last.key);
  }
}

async function withNewFile(path: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await use(file);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function writeDurably(path: string, data: string | readonly Buffer[]): Promise<void> {
  const octets = typeof data === "string" ? data : Buffer.concat(data);
  await writeFile(path, octets, { flag: "wx", flush: true, mode: 0o600 });
}

function syncExisting(path: string): void {
  try {
    syncFolder(path);
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
  }
}
