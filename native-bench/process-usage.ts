// What a process costs, from /proc: Linux only.

import { readFileSync } from "node:fs";

/** Clock ticks a second: 100 on all Linux systems that Node supports. */
const ticksPerSecond = 100;
const pageBytes = 4096;

export interface Cpu {
  readonly userSeconds: number;
  readonly systemSeconds: number;
}

/** CPU time of a process so far, its threads included. */
export function cpuOf(pid: number): Cpu {
  // The second field may hold blanks, and stands in brackets.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return { userSeconds: Number(fields[11]) / ticksPerSecond, systemSeconds: Number(fields[12]) / ticksPerSecond };
}

export function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * pageBytes;
}

export interface Resident {
  /** Private memory: what the process itself needs. */
  readonly anonymousMiB: number;
  /** Pages of mapped files (the spool), which the system takes back when it needs them. */
  readonly fileMiB: number;
}

export function residentParts(pid: number): Resident {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) / 1024;
  return { anonymousMiB: mib("RssAnon"), fileMiB: mib("RssFile") };
}
