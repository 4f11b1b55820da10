// A mail server in a room of its own (room.sh): its package's files at their places, its users, and nothing else changed.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, hasProgram } from "../processes.ts";

const script = fileURLToPath(new URL("../room.sh", import.meta.url));

export interface Room {
  readonly package: string;
  readonly users: readonly string[];
}

/** `setup` is shell text that ends by an `exec` of the server, which stays in the foreground. */
export function inRoom({ package: name, users }: Room, packages: string, setup: string): Command {
  return {
    command: "unshare",
    args: [
      ...["--mount", "--pid", "--fork", "--kill-child"],
      ...["sh", script, join(packages, name), users.join(" "), "sh", "-euc", setup],
    ],
  };
}

/** Unpacked in `packages`, or installed on the machine. */
export function isRoomInstalled(name: string, program: string, packages: string): boolean {
  const folder = join(packages, name);
  return hasProgram(program, existsSync(folder) ? folder : undefined);
}
