// Runs the command as a user does: in a process of its own, with its exit status and both outputs.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const cliFile = fileURLToPath(new URL("../../src/cli/cli.ts", import.meta.url));

export interface CliRun {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

export interface CliOptions {
  /** Written to standard input, which is then closed; undefined closes it at once, "open" leaves it silent. */
  readonly input?: string | "open" | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
}

const runTimeoutMs = 20_000;

export function runCli(args: readonly string[], { input, env, cwd }: CliOptions = {}): Promise<CliRun> {
  const child = spawn(process.execPath, [cliFile, ...args], {
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    timeout: runTimeoutMs,
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    err += text;
  });
  child.stdin.on("error", () => undefined);
  if (input !== "open") child.stdin.end(input ?? "");
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, out, err }));
  });
}
