// Postern as a child process: started from a config file, watched until it is ready, stopped or killed by its pid.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { epochMs, pause } from "./clock.ts";

export const repositoryRoot = fileURLToPath(new URL("..", import.meta.url));

export interface PosternStart {
  readonly configFile: string;
  /** `host:port` of the admin listener, where readiness is asked for. */
  readonly admin: string;
  /** Standard output and error are appended to it. */
  readonly logFile: string;
  /** A command that runs the rest as its arguments in its own place (same pid), such as strace -D. */
  readonly wrapper?: readonly string[] | undefined;
}

export interface PosternEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** When its end was noticed, in milliseconds since the epoch. */
  readonly at: number;
}

const readyPollMs = 25;
const logTailLines = 15;

export class PosternProcess {
  readonly #child: ChildProcess;
  readonly #start: PosternStart;
  #end: PosternEnd | undefined;
  /** Resolves when the process is gone. Never rejects. */
  readonly ended: Promise<PosternEnd>;

  constructor(start: PosternStart) {
    this.#start = start;
    mkdirSync(dirname(start.logFile), { recursive: true });
    const log = openSync(start.logFile, "a");
    const [command, ...rest] = [
      ...(start.wrapper ?? []),
      process.execPath,
      "src/cli/cli.ts",
      "serve",
      "--config",
      start.configFile,
    ];
    this.#child = spawn(command as string, rest, { cwd: repositoryRoot, stdio: ["ignore", log, log] });
    closeSync(log);
    this.ended = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        this.#end = { code, signal, at: epochMs() };
        resolve(this.#end);
      };
      this.#child.once("exit", end);
      this.#child.once("error", () => end(null, null));
    });
  }

  /** 0 when it could not be started. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#end === undefined;
  }

  /** Resolves true once `/readyz` says so; false when the process ended before. Rejects after `timeoutMs`. */
  async ready(timeoutMs: number): Promise<boolean> {
    const until = epochMs() + timeoutMs;
    while (this.#end === undefined) {
      if (await isReady(this.#start.admin)) return true;
      if (epochMs() > until) throw new Error(`Postern was not ready within ${timeoutMs} ms\n${this.logTail()}`);
      await pause(readyPollMs);
    }
    return false;
  }

  kill(signal: NodeJS.Signals): void {
    if (this.#end === undefined) this.#child.kill(signal);
  }

  /** SIGTERM, so that it drains; SIGKILL when it has not ended after `timeoutMs`. Returns whether it ended by itself. */
  async stop(timeoutMs: number): Promise<boolean> {
    this.kill("SIGTERM");
    const timer = setTimeout(() => this.kill("SIGKILL"), timeoutMs);
    const { signal } = await this.ended;
    clearTimeout(timer);
    return signal !== "SIGKILL";
  }

  /** The last lines that it wrote, for error messages. */
  logTail(): string {
    return readFileSync(this.#start.logFile, "utf8").trimEnd().split("\n").slice(-logTailLines).join("\n");
  }
}

async function isReady(admin: string): Promise<boolean> {
  try {
    const response = await fetch(`http://${admin}/readyz`, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
