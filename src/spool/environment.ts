// One shard's LMDB environment with its trees, opened the one way that keeps mail safe. Everything that reads or writes
// a spool comes through here.

import { closeSync, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Database, open, type RootDatabase } from "lmdb";
import { faultOf, type RecordKind } from "./record-codec.ts";

/** The trees hold octets under octets; what they mean is in `keys.ts` and `record-codec.ts`. */
export type Tree = Database<Buffer, Buffer>;

export interface Environment {
  readonly path: string;
  readonly root: RootDatabase<Buffer, Buffer>;
  /** Messages with their entries and contents. */
  readonly mail: Tree;
  /** Places of entries in their queues. */
  readonly queue: Tree;
  readonly idempotency: Tree;
  readonly outbox: Tree;
  readonly holds: Tree;
  readonly meta: Tree;
}

const treeNames = ["mail", "queue", "idempotency", "outbox", "holds", "meta"] as const;
export type TreeName = (typeof treeNames)[number];

const dataFile = "data.mdb";
const treeOptions = { encoding: "binary", keyEncoding: "binary" } as const;
/** Connections of threads and tools that read at one moment. */
const readersMax = 126;

/** Makes the folder if it is missing; it and its name are on the disk when this returns. */
export function makeSpoolFolder(path: string): void {
  let made: string | undefined;
  try {
    made = mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new Error(`spool folder ${path} cannot be made: ${(cause as Error).message}`, { cause });
  }
  if (made === undefined) return;
  // A file is found after a power cut only when every folder on its path has been synced, from the first new one down.
  for (let folder = path; ; folder = dirname(folder)) {
    syncFolder(folder);
    if (folder === dirname(made) || folder === dirname(folder)) return;
  }
}

export function syncFolder(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Size of the database file in octets; 0 when there is none. */
export function dataFileBytes(path: string): number {
  return statSync(join(path, dataFile), { throwIfNoEntry: false })?.size ?? 0;
}

/** Opens for writing. Throws when the file cannot be opened or is cut off. */
export function openEnvironment(path: string, mapSizeBytes: number): Environment {
  const isNew = dataFileBytes(path) === 0;
  if (!isNew) requireWholeFile(path);
  const root = open<Buffer, Buffer>({
    path,
    noSubdir: false,
    mapSize: mapSizeBytes,
    maxReaders: readersMax,
    // In the library's default mode a row becomes visible before it is on the disk, and stays visible when the sync
    // fails. Without overlap a promise resolves after fdatasync, and a failed commit leaves nothing behind.
    // noSync, noMetaSync, useWritemap and mapAsync lose or corrupt mail and are never set.
    overlappingSync: false,
    ...treeOptions,
  });
  const environment = openTrees(path, root);
  if (isNew) syncFolder(path);
  return environment;
}

/**
 * Opens for reading a spool that is idle, or one that another thread of this process has open. Throws when there is no
 * spool at `path`.
 */
export function openEnvironmentForReading(path: string): Environment {
  if (dataFileBytes(path) === 0) throw new Error(`there is no spool at ${path}`);
  const root = open<Buffer, Buffer>({ path, noSubdir: false, readOnly: true, maxReaders: readersMax, ...treeOptions });
  return openTrees(path, root);
}

function openTrees(path: string, root: RootDatabase<Buffer, Buffer>): Environment {
  const trees = {} as Record<TreeName, Tree>;
  for (const name of treeNames) {
    const tree = root.openDB<Buffer, Buffer>(name, treeOptions);
    if (tree === undefined) throw new Error(`${path} is not a spool: it has no tree "${name}"`);
    trees[name] = tree;
  }
  return { path, root, ...trees };
}

const commonPageBytes = 4096;
const pageHeadBytes = 24;
const metaMagic = 0xbeefc0de;
const metaBytes = 136;
/** The newest meta page may count pages that its transaction took and freed again without writing them. */
const unwrittenPagesMax = 64;

/**
 * LMDB maps its file: reading a page behind the file's end kills the process with SIGBUS. So the file must reach to the
 * last page that the newest meta page names. (A meta page holds, behind the page's head: magic, version, address, map
 * size, two tree records of 48 octets of which the first begins with the page size, last page, transaction.)
 *
 * Only for the one who holds the spool's lock: it may make the file longer. Throws when much is missing.
 */
export function requireWholeFile(path: string): void {
  const name = join(path, dataFile);
  const file = openSync(name, "r+");
  try {
    const first = readMeta(file, 0);
    // Pages are as large as the system's were when the file was made.
    const pageBytes = first?.pageBytes ?? commonPageBytes;
    const second = readMeta(file, pageBytes);
    if (first === undefined && second === undefined) throw new Error(`${name} is cut off or no LMDB file`);
    const isSecond = second !== undefined && second.transaction > (first?.transaction ?? -1n);
    const lastPage = (isSecond ? second : first)?.lastPage ?? 0;
    const size = fstatSync(file).size;
    const needed = (lastPage + 1) * pageBytes;
    if (size >= needed) return;
    if (needed - size > unwrittenPagesMax * pageBytes) {
      throw new Error(`${name} is cut off: it has ${size} octets of ${needed}`);
    }
    ftruncateSync(file, needed);
  } finally {
    closeSync(file);
  }
}

interface MetaPage {
  readonly pageBytes: number;
  readonly lastPage: number;
  readonly transaction: bigint;
}

/** The meta page at this place of the file; undefined when there is none. */
function readMeta(file: number, at: number): MetaPage | undefined {
  const page = Buffer.alloc(pageHeadBytes + metaBytes);
  if (readSync(file, page, 0, page.length, at) < page.length) return undefined;
  const meta = page.subarray(pageHeadBytes);
  if (meta.readUInt32LE(0) !== metaMagic) return undefined;
  return {
    pageBytes: meta.readUInt32LE(24),
    lastPage: Number(meta.readBigUInt64LE(120)),
    transaction: meta.readBigUInt64LE(128),
  };
}

/** What a look at one record found. Those who read add to whom it belongs. */
export type RecordRead =
  | { readonly kind: "found"; readonly record: Buffer }
  | { readonly kind: "missing" }
  | { readonly kind: "damaged"; readonly fault: string };

const missing: RecordRead = { kind: "missing" };

/** Reads and checks a record. The record is a view that the next read overwrites: decode it or copy it at once. */
export function readRecord(tree: Tree, kind: RecordKind, key: Buffer): RecordRead {
  const octets = tree.getBinaryFast(key);
  if (octets === undefined) return missing;
  const record = asView(octets);
  const fault = faultOf(record, kind, key);
  return fault === undefined ? { kind: "found", record } : { kind: "damaged", fault };
}

/** lmdb hands out one big reused buffer whose property `length` tells the value's size. */
function asView(octets: Buffer): Buffer {
  return octets instanceof Buffer
    ? octets.subarray(0, octets.length)
    : Buffer.from((octets as Uint8Array).buffer, (octets as Uint8Array).byteOffset, (octets as Uint8Array).byteLength);
}

/** A copy of a value that a range gave, as a Buffer. */
export function asBuffer(octets: Uint8Array): Buffer {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength);
}

/**
 * Keys in [start, end), at most `limit`. Ranges run to their end at once and ask for no snapshot: one forgotten reader
 * makes the file grow with each commit.
 */
export function keysIn(tree: Tree, start: Buffer, end: Buffer | undefined, limit: number): Buffer[] {
  const out: Buffer[] = [];
  for (const key of tree.getKeys(rangeOf(start, end, limit))) out.push(asBuffer(key));
  return out;
}

/** Keys and copies of their values in [start, end), at most `limit`. */
export function recordsIn(
  tree: Tree,
  start: Buffer,
  end: Buffer | undefined,
  limit: number,
): { readonly key: Buffer; readonly record: Buffer }[] {
  const out: { key: Buffer; record: Buffer }[] = [];
  for (const { key, value } of tree.getRange(rangeOf(start, end, limit))) {
    out.push({ key: asBuffer(key), record: asBuffer(value) });
  }
  return out;
}

/** The key before all others. */
export const firstKey = (): Buffer => Buffer.from([0]);

function rangeOf(start: Buffer, end: Buffer | undefined, limit: number) {
  return end === undefined
    ? { start, limit, snapshot: false as const }
    : { start, end, limit, snapshot: false as const };
}

/** Octets in pages that hold something, over all trees. */
export function liveBytes(environment: Environment): number {
  let bytes = 0;
  for (const name of treeNames) {
    const stats = environment[name].getStats() as TreeStats;
    bytes += (stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages) * stats.pageSize;
  }
  return bytes;
}

interface TreeStats {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}
