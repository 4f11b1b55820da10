// A server's life over several starts: one folder and config, a process for each start, and a receiver that counts copies.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Test } from "tap";
import { readStart } from "./start-lines.ts";

const cliFile = fileURLToPath(new URL("../../src/cli/cli.ts", import.meta.url));
const startTimeoutMs = 20_000;
const waitMs = 15_000;

/** One process. */
export interface Run {
  readonly process: ChildProcess;
  readonly smtpPort: number;
  /** `host:port`. */
  readonly admin: string;
  /** What it wrote to standard error so far. */
  log(): string;
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<{ readonly status: number | null; readonly ms: number }>;
  readonly ended: Promise<number | null>;
}

export class Life {
  readonly folder: string;
  readonly config: string;
  readonly #t: Test;

  /** `settings` are lines of YAML behind the usual ones. Mail for `user@[127.0.0.1]` goes to `deliveryPort`. */
  constructor(t: Test, deliveryPort: number, settings = "") {
    this.#t = t;
    this.folder = mkdtempSync(join(tmpdir(), "postern-life-"));
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
    this.config = join(this.folder, "postern.yaml");
    writeFileSync(this.config, this.text(deliveryPort, settings));
  }

  text(deliveryPort: number, settings: string, smtp = "127.0.0.1:0", admin = "127.0.0.1:0"): string {
    return `hostname: mta.test
shards: 1
spool: { path: ${this.folder}/spool, free_space_min: 1MiB, map_size: 64MiB }
ingest: { smtp: [{ listen: "${smtp}" }] }
dns: { servers: ["127.0.0.1:1"], timeout: 100ms }
events: { path: ${this.folder}/events }
admin: { listen: "${admin}" }
streams: { news: { pool: default, retry: [200ms] } }
delivery:
  port: ${deliveryPort}
  internal_networks_allowed: [127.0.0.0/8]
  unknown_retry_min: 100ms
${settings}
`;
  }

  /** Resolves when it is ready; rejects with what it said when it is not. */
  async start(env: Readonly<Record<string, string>> = {}, filesMax = 4_096): Promise<Run> {
    const shell = `ulimit -n ${filesMax} && exec "$@"`;
    const child = spawn("sh", ["-c", shell, "sh", process.execPath, cliFile, "serve", "--config", this.config], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env },
    });
    const kill = (): void => void child.kill("SIGKILL");
    process.once("exit", kill);
    this.#t.teardown(kill);
    const ended = once(child, "exit").then(([status]) => {
      process.off("exit", kill);
      return status as number | null;
    });
    const { smtpPort, admin, log } = await readStart(child, startTimeoutMs);
    if (admin === "") throw new Error(`the server did not start: ${log()}`);
    return {
      process: child,
      smtpPort,
      admin,
      log,
      ended,
      async end(signal) {
        const startedAt = performance.now();
        child.kill(signal);
        const status = await ended;
        return { status, ms: performance.now() - startedAt };
      },
    };
  }

  /** The lines of the delivery log. */
  events(): { readonly kind: string; readonly queueId?: string }[] {
    const folder = join(this.folder, "events");
    return readdirSync(folder)
      .flatMap((name) => readFileSync(join(folder, name), "utf8").split("\n"))
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  }
}

/** Submits one message to `to`, whose content says `name`; resolves to the reply to the final dot, "" if none came. */
export async function submit(port: number, name: string, to = "u@[127.0.0.1]"): Promise<string> {
  const socket = createConnection({ host: "127.0.0.1", port });
  socket.on("error", () => undefined);
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const reply = async (): Promise<string> => {
    for (;;) {
      // The line reader passes on what the socket fails with.
      const { done, value } = await lines.next().catch(() => ({ done: true, value: "" }));
      if (done === true) return "";
      if (value[3] === " ") return value;
    }
  };
  const content = `From: a@example.com\r\nX-Name: ${name}\r\n\r\nhello\r\n.\r\n`;
  let last = await reply();
  for (const say of ["EHLO c.test\r\n", "MAIL FROM:<a@example.com>\r\n", `RCPT TO:<${to}>\r\n`, "DATA\r\n", content]) {
    if (!/^[23]/.test(last)) break;
    socket.write(say);
    last = await reply();
  }
  socket.destroy();
  return last;
}

/** Takes mail and remembers each name that came whole; answers the final dot when and how `verdict` says. */
export class Receiver {
  readonly copies: string[] = [];
  /** Connections that were made. */
  connects = 0;
  port = 0;
  verdict: (name: string) => Promise<string> = async () => "250 2.0.0 ok";
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => {
    this.connects++;
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
    void this.#serve(socket);
  });

  static async listen(t: Test): Promise<Receiver> {
    const receiver = new Receiver();
    receiver.#server.listen(0, "127.0.0.1");
    await once(receiver.#server, "listening");
    receiver.port = (receiver.#server.address() as { port: number }).port;
    t.teardown(() => {
      receiver.#server.close();
      for (const socket of receiver.#sockets) socket.destroy();
    });
    return receiver;
  }

  async #serve(socket: Socket): Promise<void> {
    const say = (text: string): void => void (socket.writable && socket.write(`${text}\r\n`));
    say("220 mx.test ESMTP");
    let name: string | undefined;
    let isData = false;
    for await (const line of createInterface({ input: socket })) {
      if (isData) {
        if (line.startsWith("X-Name: ")) name = line.slice(8);
        if (line !== ".") continue;
        isData = false;
        this.copies.push(name ?? "");
        say(await this.verdict(name ?? ""));
      } else if (line === "DATA") {
        isData = true;
        say("354 go on");
      } else if (line === "QUIT") {
        say("221 bye");
        socket.end();
      } else say("250 ok");
    }
  }
}

/** Waits until `check` holds; returns whether it did in time. */
export async function until(check: () => boolean, limitMs = waitMs): Promise<boolean> {
  for (const from = performance.now(); performance.now() - from < limitMs; ) {
    if (check()) return true;
    await pause(20);
  }
  return check();
}
