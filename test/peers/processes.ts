// Starts peers, bounds them in time, and ends each by its own pid.

import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, closeSync, constants, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { epochMs, pause } from "../../native-bench/clock.ts";

const outputBytesMax = 16 * 1024 * 1024;
const logTailLines = 20;
const stopMs = 5_000;
const pollMs = 50;

export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Finished {
  /** null: ended by a signal, or never started. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end, with `input` on its standard input; SIGKILL after `timeoutMs`. Never rejects. */
export function run(what: Command, input: Uint8Array | string, timeoutMs: number): Promise<Finished> {
  return new Promise((resolve) => {
    const child = spawn(what.command, what.args, { cwd: what.cwd, env: environment(what), stdio: "pipe" });
    const parts = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    const collect = (list: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= outputBytesMax) list.push(chunk);
    };
    child.stdout.on("data", collect(parts.stdout));
    child.stderr.on("data", collect(parts.stderr));
    child.stdin.on("error", () => undefined); // it may end without reading its input
    child.stdin.end(input);
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    const finish = (code: number | null, note = ""): void => {
      clearTimeout(timer);
      const text = (list: readonly Buffer[]) => Buffer.concat(list).toString("utf8");
      resolve({ code, stdout: text(parts.stdout), stderr: text(parts.stderr) + note });
    };
    child.once("error", (error) => finish(null, error.message));
    child.once("close", (code) => finish(code));
  });
}

/** A peer that runs until it is stopped; what it prints goes to `logFile`. */
export class Daemon {
  readonly #child: ChildProcess;
  readonly #logFile: string;
  #running = true;
  readonly #ended: Promise<void>;

  constructor(what: Command, logFile: string) {
    this.#logFile = logFile;
    const log = openSync(logFile, "a");
    // The kernel ends it with us, should we be killed.
    this.#child = spawn("setpriv", ["--pdeathsig", "KILL", what.command, ...what.args], {
      cwd: what.cwd,
      env: environment(what),
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.#ended = new Promise((resolve) => {
      const end = (): void => {
        this.#running = false;
        resolve();
      };
      this.#child.once("exit", end);
      this.#child.once("error", end);
    });
  }

  /** Resolves when `isUp` says so; rejects when the peer ends before, or after `timeoutMs`. */
  async ready(isUp: () => Promise<boolean>, timeoutMs: number): Promise<void> {
    const until = epochMs() + timeoutMs;
    while (this.#running && epochMs() < until) {
      if (await isUp()) return;
      await pause(pollMs);
    }
    const why = this.#running ? `not ready after ${timeoutMs} ms` : "it ended";
    await this.stop("SIGKILL");
    throw new Error(`${why}\n${this.logTail()}`);
  }

  /** SIGTERM, then SIGKILL. In a room (room.sh) SIGKILL alone: it ends everything in the room. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    if (!this.#running) return;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), stopMs);
    await this.#ended;
    clearTimeout(timer);
  }

  logTail(): string {
    return readFileSync(this.#logFile, "utf8").trimEnd().split("\n").slice(-logTailLines).join("\n");
  }
}

/** The machine's own environment would bring its locale and its Python. */
function environment({ env }: Command): Record<string, string> {
  return { PATH: searchPath, LC_ALL: "C.UTF-8", HOME: "/nonexistent", ...env };
}

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Whether a program is on the path, or in the unpacked package. */
export function hasProgram(name: string, packageFolder?: string): boolean {
  const folders = searchPath.split(delimiter);
  const inPackage = packageFolder === undefined ? [] : ["usr/sbin", "usr/bin"].map((at) => join(packageFolder, at));
  return [...inPackage, ...folders].some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Whether an SMTP server greets there. */
export function greets(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 2_000 });
    const end = (up: boolean): void => {
      socket.destroy();
      resolve(up);
    };
    socket.once("data", (bytes) => end(bytes.toString("latin1").startsWith("220")));
    socket.once("error", () => end(false));
    socket.once("timeout", () => end(false));
    socket.once("close", () => end(false));
  });
}
