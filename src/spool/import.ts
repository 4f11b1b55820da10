// `spool import`: takes an export into an empty or an existing spool. Messages that are there already are left alone,
// so an import that was cut off can be run again.

import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isQueueId, type QueueId } from "../core/ids.ts";
import type { Clock } from "../core/time.ts";
import type { Log } from "../telemetry/log.ts";
import type { PlannedOperation } from "./change-plan.ts";
import {
  type ExportedMessage,
  type ExportResult,
  exportFormat,
  holdsFile,
  idempotencyFile,
  manifestFile,
  outboxFile,
} from "./export.ts";
import { type LmdbSpool, openLmdbSpool } from "./lmdb-spool.ts";
import type { HoldRecord, IdempotencyRecord } from "./spool.ts";

export interface ImportOptions {
  readonly mapSizeBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after each message. */
  readonly onProgress?: ((messages: number) => void) | undefined;
}

export interface ImportResult {
  readonly imported: number;
  /** Messages that were in the spool already. */
  readonly skipped: number;
  readonly quarantined: number;
  readonly holds: number;
  readonly idempotencyRecords: number;
  readonly outboxLines: number;
}

/** Changes handed to the spool at once: they share transactions. */
const changesAtOnceMax = 32;
/** Octets of contents in these. */
const bytesAtOnceMax = 32 * 1024 * 1024;
/** Octets of event lines in one change. */
const linesBytesMax = 64 * 1024;

/**
 * Imports the export in `directory` into the shard's spool in `path`, making it when it is missing. All of it is on the
 * disk, and has been read back, when this resolves. Rejects when the export is not complete or not of our form, when
 * the spool is in use, and when what was imported does not match the manifest.
 */
export async function importSpool(directory: string, path: string, options: ImportOptions): Promise<ImportResult> {
  const manifest = await readManifest(directory);
  const spool = await openLmdbSpool({
    path,
    mapSizeBytes: options.mapSizeBytes,
    freeSpaceMinBytes: 0,
    commitLatencyMaxMs: Number.POSITIVE_INFINITY,
    clock: options.clock,
    log: options.log,
  });
  try {
    return await new Import(directory, spool, options).run(manifest);
  } finally {
    await spool.close();
  }
}

async function readManifest(directory: string): Promise<ExportResult> {
  const text = await readFile(join(directory, manifestFile), "utf8").catch((cause: unknown) => {
    throw new Error(`${directory} is no complete export: it has no ${manifestFile}`, { cause });
  });
  const manifest = JSON.parse(text) as ExportResult;
  if (manifest.format !== exportFormat) {
    throw new Error(`${directory} has export format ${manifest.format}, this version reads ${exportFormat}`);
  }
  return manifest;
}

class Import {
  readonly #directory: string;
  readonly #spool: LmdbSpool;
  readonly #options: ImportOptions;
  #underWay: Promise<void>[] = [];
  #bytes = 0;
  #imported = 0;
  #skipped = 0;
  #quarantined = 0;

  constructor(directory: string, spool: LmdbSpool, options: ImportOptions) {
    this.#directory = directory;
    this.#spool = spool;
    this.#options = options;
  }

  async run(manifest: ExportResult): Promise<ImportResult> {
    for await (const file of messageFiles(this.#directory)) await this.#message(file);
    await this.#settle();
    const holds = await this.#holds();
    const idempotencyRecords = await this.#idempotency();
    const outboxLines = await this.#outbox();
    await this.#verify(manifest);
    return {
      imported: this.#imported,
      skipped: this.#skipped,
      quarantined: this.#quarantined,
      holds,
      idempotencyRecords,
      outboxLines,
    };
  }

  async #message(file: string): Promise<void> {
    const { message, entries, quarantine } = await readExported(file);
    if (this.#spool.readMessage(message.queueId) !== undefined) {
      this.#skipped++;
      return;
    }
    const content = [await readFile(`${file}.eml`)];
    if (content[0]?.length !== message.contentBytes) throw new Error(`${file}.eml does not have its length`);
    const change: PlannedOperation[] = [{ kind: "accept", message, entries, content, idempotency: undefined }];
    if (quarantine !== undefined) change.push({ kind: "quarantine", queueId: message.queueId, ...quarantine });
    await this.#commit(change, message.contentBytes);
    this.#imported++;
    if (quarantine !== undefined) this.#quarantined++;
    this.#options.onProgress?.(this.#imported + this.#skipped);
  }

  async #holds(): Promise<number> {
    const holds = JSON.parse(await readFile(join(this.#directory, holdsFile), "utf8")) as HoldRecord[];
    for (const hold of holds) await this.#commit([{ kind: "put-hold", hold }], 0);
    await this.#settle();
    return holds.length;
  }

  async #idempotency(): Promise<number> {
    let count = 0;
    for await (const line of linesOf(join(this.#directory, idempotencyFile))) {
      await this.#commit([{ kind: "put-idempotency", record: JSON.parse(line) as IdempotencyRecord }], 0);
      count++;
    }
    await this.#settle();
    return count;
  }

  async #outbox(): Promise<number> {
    let count = 0;
    let lines = "";
    for await (const line of linesOf(join(this.#directory, outboxFile))) {
      lines += `${line}\n`;
      count++;
      if (lines.length < linesBytesMax) continue;
      await this.#spool.commit([{ kind: "events", lines }]);
      lines = "";
    }
    if (lines !== "") await this.#spool.commit([{ kind: "events", lines }]);
    return count;
  }

  /** Hands a change over; waits when enough are under way. */
  async #commit(change: readonly PlannedOperation[], bytes: number): Promise<void> {
    this.#underWay.push(this.#spool.commitImported(change));
    this.#bytes += bytes;
    if (this.#underWay.length >= changesAtOnceMax || this.#bytes >= bytesAtOnceMax) await this.#settle();
  }

  async #settle(): Promise<void> {
    const underWay = this.#underWay;
    this.#underWay = [];
    this.#bytes = 0;
    await Promise.all(underWay);
  }

  /** Reads every message of the export back out of the spool. */
  async #verify(manifest: ExportResult): Promise<void> {
    let messages = 0;
    let contentBytes = 0;
    for await (const file of messageFiles(this.#directory)) {
      const { message } = await readExported(file);
      const entries = this.#spool.readEntries(message.queueId);
      if (entries.length !== message.entryCount) throw new Error(`message ${message.queueId} lacks entries`);
      let bytes = 0;
      for (const chunk of this.#spool.readContent(message.queueId)) bytes += chunk.length;
      if (bytes !== (await stat(`${file}.eml`)).size) throw new Error(`message ${message.queueId} lacks octets`);
      messages++;
      contentBytes += bytes;
    }
    if (messages !== manifest.messages || contentBytes !== manifest.contentBytes) {
      throw new Error(
        `the export names ${manifest.messages} messages of ${manifest.contentBytes} octets, ` +
          `but ${messages} of ${contentBytes} were found in its files`,
      );
    }
  }
}

/** Paths of the messages' files without extension, in order of their queue ids. */
async function* messageFiles(directory: string): AsyncGenerator<string> {
  const root = join(directory, "messages");
  for (const folder of await namesIn(root)) {
    for (const name of await namesIn(join(root, folder))) {
      if (name.endsWith(".json")) yield join(root, folder, name.slice(0, -".json".length));
    }
  }
}

async function namesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names.sort();
}

async function readExported(file: string): Promise<ExportedMessage> {
  const exported = JSON.parse(await readFile(`${file}.json`, "utf8")) as ExportedMessage;
  const queueId: QueueId | undefined = exported.message?.queueId;
  if (typeof queueId !== "string" || !isQueueId(queueId) || !Array.isArray(exported.entries)) {
    throw new Error(`${file}.json is not a message`);
  }
  return exported;
}

async function* linesOf(path: string): AsyncGenerator<string> {
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line !== "") yield line;
  }
}
