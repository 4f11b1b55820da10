// An ingest on loopback with an intake that keeps messages in memory, and a client that speaks octets.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import type { Config, SmtpListenerConfig, UserConfig } from "../../src/config/config.ts";
import { type Ingest, type IngestDeps, openIngest } from "../../src/ingest/ingest.ts";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { SystemRandom } from "../../src/platform/system-random.ts";
import type { AcceptResult, Intake, Pressure, RejectionNote, Submission } from "../../src/queue/queue.ts";
import { silentLog } from "../../src/telemetry/log.ts";

export const listenerDefaults: SmtpListenerConfig = {
  listen: { host: "127.0.0.1", port: 0 },
  trust: ["127.0.0.0/8", "::1/128"],
  auth: "optional",
  tls: undefined,
  messageBytesMax: 4 * 1024 * 1024,
  recipientsMax: 100,
  connectionsMax: 200,
  connectionsPerAddressMax: 200,
  headerSectionBytesMax: 64 * 1024,
  lineBytesMax: 64 * 1024,
  errorsMax: 10,
  idleTimeoutMs: 10_000,
  dataRateMinBytesPerSecond: 10,
  authFailuresMax: 10,
};

/** The parts of a config that ingest reads. */
export function ingestConfig(
  listeners: readonly Partial<SmtpListenerConfig>[] = [{}],
  users: readonly UserConfig[] = [],
  other: Partial<Config> = {},
): Config {
  const config: Partial<Config> = {
    hostname: "mta.test",
    ingest: {
      smtp: listeners.map((listener) => ({ ...listenerDefaults, ...listener })),
      memoryMaxBytes: 64 * 1024 * 1024,
    },
    users: new Map(users.map((user) => [user.name, user])),
    streams: new Map([
      ["news", {} as never],
      ["receipts", {} as never],
    ]),
    defaultStream: "news",
    events: { path: "/nowhere", rotateBytes: 1, keepMs: 1, headers: ["subject", "x-campaign"] },
    ...other,
  };
  return config as Config;
}

export class FakeIntake implements Intake {
  readonly submissions: Submission[] = [];
  readonly rejections: RejectionNote[] = [];
  pressureNow: Pressure = { kind: "ok" };
  /** Answers in place of "accepted". */
  answer: ((submission: Submission) => Promise<AcceptResult>) | undefined;
  #count = 0;

  reserveId(): string {
    this.#count++;
    return String(this.#count).padStart(16, "0");
  }

  async accept(submission: Submission): Promise<AcceptResult> {
    if (this.answer !== undefined) return this.answer(submission);
    this.submissions.push(submission);
    return { kind: "accepted", queueId: submission.queueId };
  }

  pressure(): Pressure {
    return this.pressureNow;
  }

  rejected(note: RejectionNote): void {
    this.rejections.push(note);
  }

  get last(): Submission {
    return this.submissions.at(-1) as Submission;
  }
}

export interface Fixture {
  readonly ingest: Ingest;
  readonly intake: FakeIntake;
  readonly port: number;
  client(options?: { greeting?: boolean }): Promise<Client>;
  close(): Promise<void>;
}

export async function startIngest(config: Config = ingestConfig(), deps: Partial<IngestDeps> = {}): Promise<Fixture> {
  const intake = new FakeIntake();
  const clients: Client[] = [];
  const ingest = await openIngest({
    config,
    intake,
    clock: new SystemClock(),
    random: new SystemRandom(),
    log: silentLog,
    authFailureDelayMs: 20,
    ...deps,
  });
  const port = ingest.addresses[0]?.port as number;
  return {
    ingest,
    intake,
    port,
    async client({ greeting = true } = {}) {
      const client = await Client.connect(port);
      clients.push(client);
      if (greeting) await client.reply();
      return client;
    },
    async close() {
      for (const client of clients) client.destroy();
      await ingest.close();
    },
  };
}

/** Reads whole replies: `reply()` resolves with the next one, its lines joined by LF, or "" when the peer closed. */
export class Client {
  #socket: Socket | TLSSocket;
  #text = "";
  #ended = false;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket | TLSSocket) {
    this.#socket = socket;
    this.#listen(socket);
  }

  static async connect(port: number, host = "127.0.0.1"): Promise<Client> {
    const socket = connect({ port, host, noDelay: true });
    await once(socket, "connect");
    return new Client(socket);
  }

  static async connectTls(port: number, options: ConnectionOptions = {}): Promise<Client> {
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
    await once(socket, "secureConnect");
    return new Client(socket);
  }

  #listen(socket: Socket | TLSSocket): void {
    socket.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("latin1");
      this.#wake?.();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#ended = true;
      this.#wake?.();
    });
    socket.on("end", () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  get socket(): Socket | TLSSocket {
    return this.#socket;
  }

  send(octets: string | Buffer): void {
    this.#socket.write(typeof octets === "string" ? Buffer.from(octets, "latin1") : octets);
  }

  async reply(): Promise<string> {
    for (;;) {
      const match = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/.exec(this.#text);
      if (match !== null) {
        this.#text = this.#text.slice(match[0].length);
        return match[0].trimEnd().replaceAll("\r\n", "\n");
      }
      if (this.#ended) return "";
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Sends a line and returns its reply. */
  async ask(line: string): Promise<string> {
    this.send(`${line}\r\n`);
    return this.reply();
  }

  /** The code of each reply to lines sent in one write. */
  async codes(lines: readonly string[]): Promise<string> {
    this.send(lines.map((line) => `${line}\r\n`).join(""));
    const codes: string[] = [];
    for (let i = 0; i < lines.length; i++) codes.push((await this.reply()).slice(0, 3));
    return codes.join(" ");
  }

  /** MAIL, RCPT and DATA; returns the reply to DATA. */
  async begin(reversePath = "a@example.com", forwardPath = "b@example.net"): Promise<string> {
    this.send(`MAIL FROM:<${reversePath}>\r\nRCPT TO:<${forwardPath}>\r\nDATA\r\n`);
    await this.reply();
    await this.reply();
    return this.reply();
  }

  /** A whole transaction; returns the reply to the final dot. `content` is sent as it is, without stuffing. */
  async deliver(content: string | Buffer): Promise<string> {
    await this.begin();
    this.send(content);
    return this.ask(".");
  }

  async startTls(options: ConnectionOptions = {}): Promise<void> {
    this.#socket.removeAllListeners("data");
    this.#socket.removeAllListeners("close");
    this.#socket.removeAllListeners("end");
    const secure = connectTls({ socket: this.#socket, rejectUnauthorized: false, ...options });
    await once(secure, "secureConnect");
    this.#socket = secure;
    this.#text = "";
    this.#listen(secure);
  }

  /** Resolves when the server has closed. */
  async closed(): Promise<void> {
    while (!this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** What came and was not read as a reply. */
  get unread(): string {
    return this.#text;
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** The content of a submission as text of single octets. */
export function contentOf(submission: { readonly content: readonly Buffer[] }): string {
  return Buffer.concat(submission.content).toString("latin1");
}
