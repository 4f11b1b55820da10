// What processes cost, from /proc: Linux only.

import { readdirSync, readFileSync } from "node:fs";

/** Clock ticks a second: 100 on all Linux systems that Node supports. */
const ticksPerSecond = 100;
const pageBytes = 4096;

export interface Cpu {
  readonly userSeconds: number;
  readonly systemSeconds: number;
}

interface Stat {
  readonly parent: number;
  readonly own: Cpu;
  /** That of children that ended and were waited for, and of theirs. */
  readonly ofEndedChildren: Cpu;
}

/** undefined once the process is gone. */
function statOf(pid: number): Stat | undefined {
  try {
    // The second field may hold blanks, and stands in brackets.
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(") ") + 2).split(" ");
    const seconds = (i: number): number => Number(fields[i]) / ticksPerSecond;
    return {
      parent: Number(fields[1]),
      own: { userSeconds: seconds(11), systemSeconds: seconds(12) },
      ofEndedChildren: { userSeconds: seconds(13), systemSeconds: seconds(14) },
    };
  } catch {
    return undefined;
  }
}

const noCpu: Cpu = { userSeconds: 0, systemSeconds: 0 };

/** CPU time of a process so far, its threads included. Zero once it is gone. */
export function cpuOf(pid: number): Cpu {
  return statOf(pid)?.own ?? noCpu;
}

/** CPU time of a process and of everything below it, ended or not. */
export function cpuOfTree(pid: number): Cpu {
  let sum = noCpu;
  for (const one of treeOf(pid)) {
    const stat = statOf(one);
    if (stat !== undefined) sum = plus(plus(sum, stat.own), stat.ofEndedChildren);
  }
  return sum;
}

export function plus(one: Cpu, other: Cpu): Cpu {
  return {
    userSeconds: one.userSeconds + other.userSeconds,
    systemSeconds: one.systemSeconds + other.systemSeconds,
  };
}

export function minus(one: Cpu, other: Cpu): Cpu {
  return {
    userSeconds: one.userSeconds - other.userSeconds,
    systemSeconds: one.systemSeconds - other.systemSeconds,
  };
}

/** A process and all that descend from it. */
export function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    const parent = Number.isInteger(pid) ? statOf(pid)?.parent : undefined;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const tree = [root];
  for (let i = 0; i < tree.length; i++) tree.push(...(children.get(tree[i] as number) ?? []));
  return tree;
}

export function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * pageBytes;
  } catch {
    return 0;
  }
}

export interface Resident {
  /** Private memory: what the process itself needs. */
  readonly anonymousMiB: number;
  /** Pages of mapped files (the spool), which the system takes back when it needs them. */
  readonly fileMiB: number;
}

/** Zero once the process is gone. */
export function residentParts(pid: number): Resident {
  let status = "";
  try {
    status = readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {}
  const mib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) / 1024;
  return { anonymousMiB: mib("RssAnon"), fileMiB: mib("RssFile") };
}

export function residentPartsOfTree(pid: number): Resident {
  let sum: Resident = { anonymousMiB: 0, fileMiB: 0 };
  for (const one of treeOf(pid)) {
    const { anonymousMiB, fileMiB } = residentParts(one);
    sum = { anonymousMiB: sum.anonymousMiB + anonymousMiB, fileMiB: sum.fileMiB + fileMiB };
  }
  return sum;
}
