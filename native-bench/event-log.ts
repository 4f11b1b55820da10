// Reads Postern's delivery log while it grows: JSON Lines files in a folder, rotated now and then.

import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";

/** The fields that the harnesses look at. */
export interface LoggedEvent {
  readonly id: string;
  readonly kind: string;
  readonly at: string;
  readonly queueId?: string;
  readonly stream?: string;
  readonly forwardPath?: string;
  readonly site?: string;
  readonly source?: string;
  readonly reply?: { readonly code: number; readonly enhanced?: string; readonly text: string };
  readonly bounceClass?: string;
  readonly attempts?: number;
}

const readBytes = 1_048_576;

/** Follows the files of a folder. A file keeps its place when it is renamed by rotation. */
export class EventLogReader {
  readonly #folder: string;
  /** Octets read of each file, by inode, and the line that was not yet complete. */
  readonly #places = new Map<number, { read: number; rest: Buffer }>();
  readonly #seen = new Set<string>();
  /** Lines with an id that was there before: the log promises at least once. */
  repeats = 0;
  /** Lines that are no JSON: there must be none. */
  damaged = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** What was appended since the last call, repeats left out. */
  poll(): LoggedEvent[] {
    const events: LoggedEvent[] = [];
    for (const line of this.#newLines()) {
      const event = parse(line);
      if (event === undefined) this.damaged++;
      else if (this.#seen.has(event.id)) this.repeats++;
      else {
        this.#seen.add(event.id);
        events.push(event);
      }
    }
    return events;
  }

  *#newLines(): Generator<string> {
    for (const file of logFiles(this.#folder)) {
      const { ino, size } = statSync(file);
      const place = this.#places.get(ino) ?? { read: 0, rest: Buffer.alloc(0) };
      this.#places.set(ino, place);
      if (size > place.read) yield* readOn(file, place);
    }
  }
}

function logFiles(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && entry.name.includes(".jsonl"))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch {
    return [];
  }
}

/** The lines from the place on, block by block: a log may be longer than any string. */
function* readOn(file: string, place: { read: number; rest: Buffer }): Generator<string> {
  const descriptor = openSync(file, "r");
  const block = Buffer.allocUnsafe(readBytes);
  try {
    for (;;) {
      const count = readSync(descriptor, block, 0, readBytes, place.read);
      if (count === 0) return;
      place.read += count;
      const bytes = Buffer.concat([place.rest, block.subarray(0, count)]);
      const end = bytes.lastIndexOf(10) + 1;
      place.rest = Buffer.from(bytes.subarray(end));
      if (end > 0) yield* bytes.toString("utf8", 0, end - 1).split("\n");
    }
  } finally {
    closeSync(descriptor);
  }
}

function parse(line: string): LoggedEvent | undefined {
  try {
    return JSON.parse(line) as LoggedEvent;
  } catch {
    return undefined;
  }
}
