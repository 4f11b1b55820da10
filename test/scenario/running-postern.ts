// Postern as a process of its own, from a config text: for stories that go in at its listener and come out elsewhere.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readStart } from "./start-lines.ts";

const cliFile = fileURLToPath(new URL("../../src/cli/cli.ts", import.meta.url));
const startTimeoutMs = 20_000;
const stopTimeoutMs = 10_000;

export interface RunningPostern {
  /** Holds the spool, the events and whatever the story needs; gone after `stop`. */
  readonly folder: string;
  readonly smtpPort: number;
  /** `http://host:port`. */
  readonly admin: string;
  readonly pid: number;
  /** What it wrote to standard error so far. */
  log(): string;
  stop(): Promise<void>;
}

/** `configOf` is given the run's folder; listeners may have port 0. */
export async function startPostern(
  configOf: (folder: string) => string,
  env: Readonly<Record<string, string>> = {},
): Promise<RunningPostern> {
  const folder = mkdtempSync(join(tmpdir(), "postern-scenario-"));
  const config = join(folder, "postern.yaml");
  writeFileSync(config, configOf(folder));
  const child = spawn(process.execPath, [cliFile, "serve", "--config", config], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, ...env },
  });
  const onExit = (): void => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", onExit);
  const ended = once(child, "exit");
  const { smtpPort, admin, log } = await readStart(child, startTimeoutMs);
  if (admin === "") {
    rmSync(folder, { recursive: true, force: true });
    throw new Error(`Postern did not start: ${log()}`);
  }
  return {
    folder,
    smtpPort,
    admin: `http://${admin}`,
    pid: child.pid ?? 0,
    log,
    stop: async () => {
      await end(child, ended);
      process.off("exit", onExit);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function end(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  const limit = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
  await ended;
  clearTimeout(limit);
}
