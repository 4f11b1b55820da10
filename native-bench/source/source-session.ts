// One submitting SMTP client of the load source: a raw socket, one flight for the envelope, one for the content.

import { createConnection, type Socket } from "node:net";
import type { MadeMessage } from "./message-template.ts";

/** What became of a message that a session was given. */
export type Submitted =
  | {
      readonly kind: "acknowledged";
      readonly reply: string;
      readonly recipients: readonly string[];
      readonly dotMs: number;
    }
  | { readonly kind: "refused"; readonly reply: string }
  /** The connection ended; `dotSent` says whether the server may have taken the message all the same. */
  | { readonly kind: "broken"; readonly dotSent: boolean };

interface Transaction {
  readonly message: MadeMessage;
  readonly commands: readonly string[];
  readonly done: (result: Submitted) => void;
  sent: number;
  answered: number;
  readonly taken: string[];
  refusal: string | undefined;
  dotAt: number | undefined;
}

type Phase = "greeting" | "ehlo" | "ready" | "envelope" | "content" | "closed";

const replyTimeoutMs = 60_000;

export class SourceSession {
  readonly #socket: Socket;
  readonly #reversePath: string;
  readonly #now: () => number;
  #phase: Phase = "greeting";
  #pipelining = false;
  #rest = "";
  #transaction: Transaction | undefined;
  #opened: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;

  /** Time from connect to the greeting, once it came. */
  greetingMs = 0;
  readonly #startedAt: number;

  constructor(target: { readonly host: string; readonly port: number }, reversePath: string, now: () => number) {
    this.#reversePath = reversePath;
    this.#now = now;
    this.#startedAt = now();
    this.#socket = createConnection({ ...target, noDelay: true });
    this.#socket.setTimeout(replyTimeoutMs, () => this.#socket.destroy());
    this.#socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => this.#onClose());
  }

  get usable(): boolean {
    return this.#phase === "ready";
  }

  /** Resolves after EHLO; rejects when the connection fails or the server refuses. */
  opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
    });
  }

  submit(message: MadeMessage): Promise<Submitted> {
    if (this.#phase !== "ready") return Promise.resolve({ kind: "broken", dotSent: false });
    return new Promise((done) => {
      const recipients = message.recipients.map((recipient) => `RCPT TO:<${recipient}>\r\n`);
      this.#transaction = {
        message,
        commands: [`MAIL FROM:<${this.#reversePath}>\r\n`, ...recipients, "DATA\r\n"],
        done,
        sent: 0,
        answered: 0,
        taken: [],
        refusal: undefined,
        dotAt: undefined,
      };
      this.#phase = "envelope";
      this.#sendCommands(this.#transaction);
    });
  }

  quit(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#socket.end("QUIT\r\n");
  }

  #sendCommands(transaction: Transaction): void {
    const { commands } = transaction;
    const from = transaction.sent;
    transaction.sent = this.#pipelining ? commands.length : from + 1;
    this.#socket.write(commands.slice(from, transaction.sent).join(""), "latin1");
  }

  #onData(chunk: Buffer): void {
    this.#rest += chunk.toString("latin1");
    let from = 0;
    for (let end = this.#rest.indexOf("\r\n"); end >= 0; end = this.#rest.indexOf("\r\n", from)) {
      const line = this.#rest.slice(from, end);
      from = end + 2;
      if (this.#phase === "ehlo" && line.slice(4).toUpperCase() === "PIPELINING") this.#pipelining = true;
      if (line[3] !== "-") this.#onReply(line);
    }
    this.#rest = this.#rest.slice(from);
  }

  #onReply(line: string): void {
    const positive = line.startsWith("2");
    switch (this.#phase) {
      case "greeting":
        this.greetingMs = this.#now() - this.#startedAt;
        this.#phase = "ehlo";
        if (positive) this.#socket.write("EHLO source.load.example\r\n");
        else this.#refuseSession(line);
        break;
      case "ehlo":
        this.#phase = "ready";
        if (!positive) this.#refuseSession(line);
        this.#opened?.resolve();
        this.#opened = undefined;
        break;
      case "envelope":
        this.#onEnvelopeReply(line);
        break;
      case "content":
        this.#onFinalReply(line);
        break;
      default:
        break;
    }
  }

  #refuseSession(line: string): void {
    this.#phase = "closed";
    this.#opened?.reject(new Error(line));
    this.#opened = undefined;
    this.#socket.destroy();
  }

  /** Replies come in the order of the commands: MAIL, each RCPT, DATA. */
  #onEnvelopeReply(line: string): void {
    const transaction = this.#transaction;
    if (transaction === undefined) return;
    const { message, commands } = transaction;
    const no = transaction.answered++;
    const isData = no === commands.length - 1;
    if (!isData && line.startsWith("2")) {
      const recipient = message.recipients[no - 1];
      if (recipient !== undefined) transaction.taken.push(recipient);
    } else if (!isData) transaction.refusal ??= line;
    if (isData && line.startsWith("354")) {
      this.#sendContent(transaction);
      return;
    }
    if (isData) this.#settle({ kind: "refused", reply: transaction.refusal ?? line }, "ready");
    else if (transaction.sent < commands.length) this.#sendCommands(transaction);
  }

  #sendContent(transaction: Transaction): void {
    this.#phase = "content";
    this.#socket.cork();
    this.#socket.write(transaction.message.header);
    this.#socket.write(transaction.message.stuffedBody);
    this.#socket.uncork();
    transaction.dotAt = this.#now();
  }

  #onFinalReply(line: string): void {
    const transaction = this.#transaction;
    if (transaction === undefined) return;
    const dotMs = this.#now() - (transaction.dotAt ?? 0);
    if (line.startsWith("2")) {
      this.#settle({ kind: "acknowledged", reply: line, recipients: transaction.taken, dotMs }, "ready");
    } else this.#settle({ kind: "refused", reply: line }, "ready");
  }

  #settle(result: Submitted, phase: Phase): void {
    const transaction = this.#transaction;
    this.#transaction = undefined;
    this.#phase = phase;
    transaction?.done(result);
  }

  #onClose(): void {
    const dotSent = this.#transaction?.dotAt !== undefined;
    this.#opened?.reject(new Error("the connection ended before EHLO was answered"));
    this.#opened = undefined;
    this.#settle({ kind: "broken", dotSent }, "closed");
  }
}
