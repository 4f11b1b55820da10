// Whether the process runs short of memory or of file handles, so that no new mail is to be taken for a while.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import { constrainedMemory, memoryUsage } from "node:process";

/** Share of the machine's (or the container's) memory above which no mail is taken. */
const memoryShareMax = 0.8;
/** Share of the files that the process may have open above which no mail is taken; the rest is for delivery. */
const filesShareMax = 0.6;
const lookMs = 500;

/** Looks at the process's memory and open files now and then, since asking costs system calls. */
export class OverloadWatch {
  overload: string | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor() {
    const constrained = constrainedMemory();
    const total = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
    const memoryMax = total * memoryShareMax;
    const filesMax = openFilesLimit() * filesShareMax;
    this.#timer = setInterval(() => {
      this.overload = memoryShort(memoryMax) ?? filesShort(filesMax);
    }, lookMs).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function memoryShort(maxBytes: number): string | undefined {
  try {
    const used = memoryUsage.rss();
    return used > maxBytes ? `memory is short: ${Math.round(used / 1024 / 1024)} MiB in use` : undefined;
  } catch (error) {
    // It reads a file, and there may be no descriptor left for that.
    return `the process's memory is not known: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Without descriptors no mail goes out and no log can be opened: incoming sessions must not take the last ones. */
function filesShort(max: number): string | undefined {
  if (max === Number.POSITIVE_INFINITY) return undefined;
  try {
    // Linux 6.2 and later tell the number of open files as the folder's size.
    const files = statSync("/proc/self/fd").size || readdirSync("/proc/self/fd").length;
    return files > max ? `too many open files: ${files}` : undefined;
  } catch (error) {
    return `too many open files: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** How many files the process may have open; infinity where the system does not tell. */
function openFilesLimit(): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
