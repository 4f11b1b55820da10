// What opening a spool must settle first: its form, and whether its last process ended with a failed commit.
//
// After a failed commit the kernel may show pages that the disk does not have. The process stops; the next one finds
// the mark and reads every record before it takes up work. Nothing else is read at start: a queue may be deeper than
// memory.

import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../telemetry/log.ts";
import { trimmedKey } from "./change-plan.ts";
import { asBuffer, type Environment, readRecord, syncFolder } from "./environment.ts";
import { checkEnvironment, type SpoolCheckResult } from "./integrity.ts";
import { parseOutboxKey } from "./keys.ts";
import { decodeJson, decodeNumber, recordHeadBytes, recordKind, seal } from "./record-codec.ts";

/** The form of trees, keys and records. A spool of a newer form is refused, one of an older form would be migrated. */
export const schemaVersion = 1;

const failedMark = "commit-failed";
const schemaKey = (): Buffer => Buffer.from("schema");

/** Leaves word for the next process. Best effort: on a full disk it may not succeed, and the log has the error too. */
export function markFailed(path: string, error: Error, log: Log): void {
  try {
    writeFileSync(join(path, failedMark), `${error.message}\n`, { flush: true });
  } catch (cause) {
    log.error({ err: cause }, "could not leave a mark of the failed commit");
  }
}

/** Reads the whole spool when its last process stopped at a failed commit. Throws when something is wrong with it. */
export function settleFailedCommit(environment: Environment, log: Log): void {
  const mark = join(environment.path, failedMark);
  if (!existsSync(mark)) return;
  log.warn({ spool: environment.path }, "the last process stopped at a failed commit: reading the whole spool");
  const result = readWhole(environment, mark);
  if (result.problemCount > 0) {
    const first = result.problems[0];
    throw new Error(
      `spool ${environment.path} has ${result.problemCount} problems after a failed commit, the first: ` +
        `${first?.kind} ${first?.detail}; see "postern spool check", then remove ${mark} to open it all the same`,
    );
  }
  rmSync(mark, { force: true });
  syncFolder(environment.path);
}

function readWhole(environment: Environment, mark: string): SpoolCheckResult {
  try {
    return checkEnvironment(environment, {});
  } catch (cause) {
    throw new Error(
      `spool ${environment.path} cannot be read to its end (${(cause as Error).message}): export what is whole with ` +
        `"postern spool export", or remove ${mark} to open it all the same`,
      { cause },
    );
  }
}

/** The schema version, undefined for a spool that was never written. Throws when it cannot be read. */
export function readSchema(environment: Environment): number | undefined {
  const read = readRecord(environment.meta, recordKind.meta, schemaKey());
  if (read.kind === "missing") return undefined;
  if (read.kind === "damaged") throw new Error(`spool ${environment.path}: schema version is damaged: ${read.fault}`);
  return (decodeJson(read.record) as { version: number }).version;
}

/** Throws when the spool was written by a newer version than this. */
export function requireKnownSchema(environment: Environment): void {
  const version = readSchema(environment);
  if (version === undefined || version <= schemaVersion) return;
  throw new Error(
    `spool ${environment.path} has schema ${version}, this version knows up to ${schemaVersion}: ` +
      "run the newer version, or export it there and import it here",
  );
}

/** Writes the schema version into a new spool. */
export async function establishSchema(environment: Environment): Promise<void> {
  requireKnownSchema(environment);
  if (readSchema(environment) === undefined) await writeSchema(environment, schemaVersion);
}

export async function writeSchema(environment: Environment, version: number): Promise<void> {
  const payload = Buffer.from(JSON.stringify({ version }));
  const record = Buffer.concat([Buffer.alloc(recordHeadBytes), payload]);
  await environment.meta.put(schemaKey(), seal(record, recordKind.meta, schemaKey()));
}

/** Through which number the outbox is forgotten; 0 at first. */
export function readTrimmedThrough(environment: Environment): number {
  const read = readRecord(environment.meta, recordKind.meta, trimmedKey());
  return read.kind === "found" ? decodeNumber(read.record) : 0;
}

/** The number that follows the last outbox record ever written. */
export function readNextSequence(environment: Environment): number {
  let last = readTrimmedThrough(environment);
  for (const key of environment.outbox.getKeys({ reverse: true, limit: 1, snapshot: false })) {
    last = Math.max(last, parseOutboxKey(asBuffer(key)));
  }
  return last + 1;
}
