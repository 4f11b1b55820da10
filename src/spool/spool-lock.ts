// One opener at a time. Node has no flock, and a file with a process number is stale after a kill -9 and lies after a
// restart of the machine. SQLite, which is part of Node, holds its locks in the kernel: they end with the process,
// whatever ended it, and they also tell two openers within one process apart. Nothing is ever stored in that database.

import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

const lockFile = "owner.lock";
/** Who holds the lock, for the message to whoever comes second. */
const ownerFile = "owner.pid";

export class SpoolInUseError extends Error {
  constructor(path: string, owner: string) {
    super(`spool ${path} is in use by process ${owner}; stop it first`);
    this.name = "SpoolInUseError";
  }
}

export interface SpoolLock {
  release(): void;
}

/** Throws SpoolInUseError when another opener, in this process or in another, has the spool in `path`. */
export function lockSpool(path: string): SpoolLock {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(path, lockFile));
    database.exec("PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE");
  } catch (cause) {
    database?.close();
    if ((cause as { errcode?: number }).errcode === sqliteBusy) throw new SpoolInUseError(path, readOwner(path));
    throw new Error(`spool ${path} cannot be locked: ${(cause as Error).message}`, { cause });
  }
  writeFileSync(join(path, ownerFile), `${ownProcess()}\n`);
  return {
    release() {
      if (database.isOpen) database.close();
    },
  };
}

const sqliteBusy = 5;

function readOwner(path: string): string {
  try {
    return readFileSync(join(path, ownerFile), "utf8").trim() || "unknown";
  } catch {
    return "unknown";
  }
}

/** The number of this process as the system tells it. */
function ownProcess(): string {
  try {
    return readlinkSync("/proc/self");
  } catch {
    return "unknown";
  }
}
