// A peer as a child process: started, waited for, counted with all that descends from it, and ended.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { epochMs, pause } from "../clock.ts";
import { repositoryRoot } from "../postern-process.ts";
import { type Cpu, cpuOfTree, type Resident, residentPartsOfTree } from "../process-usage.ts";
import type { LoadPlan } from "../source/load-plan.ts";

/** Debian packages unpacked one folder each (by `dpkg -x`), for machines on which they are not installed. */
export const packagesFolder = process.env.POSTERN_PEER_PACKAGES ?? join(repositoryRoot, "var/peers/packages");

const readyTimeoutMs = 30_000;
const readyPollMs = 50;
const stopTimeoutMs = 10_000;
const logTailLines = 20;

export interface PeerCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export class PeerProcess {
  readonly #child: ChildProcess;
  readonly #logFile: string;
  /** Resolves to its last words when it is gone. */
  readonly ended: Promise<string>;
  #running = true;
  readonly #kill = (): void => void this.#child.kill("SIGKILL");

  constructor({ command, args, cwd, env }: PeerCommand, logFile: string) {
    this.#logFile = logFile;
    const log = openSync(logFile, "a");
    this.#child = spawn(command, args, {
      cwd,
      env: { ...process.env, LC_ALL: "C.UTF-8", ...env },
      stdio: ["ignore", log, log],
    });
    closeSync(log);
    this.ended = new Promise((resolve) => {
      const end = (): void => {
        this.#running = false;
        resolve(`the peer ended\n${this.#logTail()}`);
      };
      this.#child.once("exit", end);
      this.#child.once("error", end);
    });
    // Before the box takes its folder away.
    process.prependListener("exit", this.#kill);
  }

  get #pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves when an SMTP server greets at `target`. Rejects when the process ends before, or after a while. */
  async ready(target: LoadPlan["target"]): Promise<void> {
    const until = epochMs() + readyTimeoutMs;
    while (this.#running && epochMs() < until) {
      if (await greets(target)) return;
      await pause(readyPollMs);
    }
    throw new Error(`the peer ${this.#running ? "was not ready in time" : "ended at its start"}\n${this.#logTail()}`);
  }

  #logTail(): string {
    return readFileSync(this.#logFile, "utf8").trimEnd().split("\n").slice(-logTailLines).join("\n");
  }

  cpu(): Cpu {
    return cpuOfTree(this.#pid);
  }

  memory(): Resident {
    return residentPartsOfTree(this.#pid);
  }

  async stop(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    process.off("exit", this.#kill);
    if (!this.#running) return;
    this.#child.kill(signal);
    const timer = setTimeout(this.#kill, stopTimeoutMs);
    await this.ended;
    clearTimeout(timer);
  }
}

function greets({ host, port }: LoadPlan["target"]): Promise<boolean> {
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
