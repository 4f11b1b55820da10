// Where a server that was just started listens, as its log on standard error says.

import type { ChildProcessByStdio } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

export interface Started {
  readonly smtpPort: number;
  /** `host:port`; "" when the server ended, or was ended after `timeoutMs`, before it was ready. */
  readonly admin: string;
  /** What it wrote to standard error so far. */
  log(): string;
}

export async function readStart(child: ChildProcessByStdio<null, null, Readable>, timeoutMs: number): Promise<Started> {
  const limit = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  let log = "";
  let smtp = "";
  let admin = "";
  const lines = createInterface({ input: child.stderr });
  await new Promise<void>((resolve) => {
    lines.on("line", (line) => {
      log += `${line}\n`;
      const entry = line.startsWith("{") ? JSON.parse(line) : {};
      smtp = entry.listening?.[0] ?? smtp;
      admin = entry.admin ?? admin;
      if (admin !== "") resolve();
    });
    lines.on("close", resolve);
  });
  clearTimeout(limit);
  return { smtpPort: Number(smtp.slice(smtp.lastIndexOf(":") + 1)), admin, log: () => log };
}
