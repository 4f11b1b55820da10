// One submitting SMTP client of the load source: a raw socket, one flight for the envelope, one for the content.
//
// Replies are read where they lie in one buffer that all sessions share, and a message leaves as one block.

import { createConnection, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { LoadPlan } from "./load-plan.ts";
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
  readonly done: (result: Submitted) => void;
  /** Commands (MAIL, each RCPT, DATA) sent and answered. */
  sent: number;
  answered: number;
  /** Recipients that were refused, by index. */
  refusedRecipients: Set<number>;
  refusal: string | undefined;
  dotAt: number | undefined;
}

/** What the sessions of one source share. */
export interface SessionPlan {
  readonly target: LoadPlan["target"];
  readonly reversePath: string;
  readonly startTls: boolean;
  readonly login: LoadPlan["login"];
  /** Where replies are read to. One for all: each is looked at before the next read. */
  readonly readBuffer: Uint8Array;
  now(): number;
}

type Phase = "greeting" | "ehlo" | "starttls" | "auth" | "ready" | "envelope" | "content" | "closed";

/** Beyond this a body is not copied into the session's own block, but written from where all sessions share it. */
const copiedBodyBytesMax = 65_536;
/** Room for the header section before the body. */
const headerBytesMax = 2_048;
const lineFeed = 10;
const carriageReturn = 13;
const hyphen = 0x2d;
/** No recipient was refused: the usual, shared. Nothing is ever put in. */
const nobody: Set<number> = new Set();

export class SourceSession {
  readonly #plan: SessionPlan;
  readonly #mail: string;
  #socket: Socket;
  #phase: Phase = "greeting";
  #secure = false;
  #pipelining = false;
  #authPlain = false;
  /** The start of a reply line whose end has not come. */
  #partial = "";
  #transaction: Transaction | undefined;
  #opened: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  /** Header section and body of the message under way. The body stays in it for the next one. */
  #block: Buffer | undefined;
  #blockBody: Buffer | undefined;

  /** Time from connect to the greeting, once it came. */
  greetingMs = 0;
  readonly startedAt: number;
  /** When something was last written or read: for a look at stalled sessions. */
  activeAt: number;

  constructor(plan: SessionPlan) {
    this.#plan = plan;
    this.#mail = `MAIL FROM:<${plan.reversePath}>\r\n`;
    this.startedAt = plan.now();
    this.activeAt = this.startedAt;
    const { readBuffer } = plan;
    const onread = {
      buffer: readBuffer,
      callback: (count: number): boolean => {
        this.#onData(readBuffer, count);
        return true;
      },
    };
    // A socket that TLS will take over must read by events.
    this.#socket = createConnection({ ...plan.target, noDelay: true, ...(plan.startTls ? {} : { onread }) });
    if (plan.startTls) this.#socket.on("data", (chunk: Buffer) => this.#onData(chunk, chunk.length));
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => this.#onClose());
  }

  get usable(): boolean {
    return this.#phase === "ready";
  }

  /** Resolves after EHLO (and AUTH); rejects when the connection fails or the server refuses. */
  opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
    });
  }

  submit(message: MadeMessage): Promise<Submitted> {
    if (this.#phase !== "ready") return Promise.resolve({ kind: "broken", dotSent: false });
    return new Promise((done) => {
      this.#transaction = {
        message,
        done,
        sent: 0,
        answered: 0,
        refusedRecipients: nobody,
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

  destroy(): void {
    this.#socket.destroy();
  }

  #sendCommands(transaction: Transaction): void {
    const { recipients } = transaction.message;
    const last = recipients.length + 1;
    const until = this.#pipelining ? last : transaction.sent;
    let text = "";
    for (let i = transaction.sent; i <= until; i++) {
      if (i === 0) text += this.#mail;
      else if (i === last) text += "DATA\r\n";
      else text += `RCPT TO:<${recipients[i - 1]}>\r\n`;
    }
    transaction.sent = until + 1;
    this.#socket.write(text, "latin1");
  }

  // -- replies

  #onData(bytes: Uint8Array, count: number): void {
    let from = 0;
    while (from < count) {
      const end = bytes.indexOf(lineFeed, from);
      if (end < 0 || end >= count) {
        this.#partial += textOf(bytes, from, count);
        return;
      }
      if (this.#partial !== "") {
        const line = this.#partial + textOf(bytes, from, end);
        this.#partial = "";
        this.#onLine(line.endsWith("\r") ? line.slice(0, -1) : line);
      } else if (!this.#onQuietReply(bytes, from, end)) {
        this.#onLine(textOf(bytes, from, bytes[end - 1] === carriageReturn ? end - 1 : end));
      }
      from = end + 1;
    }
  }

  /** The usual: MAIL and RCPT are taken, and nobody wants to read the words. */
  #onQuietReply(bytes: Uint8Array, from: number, end: number): boolean {
    const transaction = this.#transaction;
    if (transaction === undefined || this.#phase !== "envelope") return false;
    if (transaction.answered > transaction.message.recipients.length) return false;
    if (bytes[from] !== 0x32 || end - from < 4 || bytes[from + 3] === hyphen) return false;
    transaction.answered++;
    if (!this.#pipelining) this.#sendCommands(transaction);
    return true;
  }

  #onLine(line: string): void {
    if (this.#phase === "ehlo") this.#onKeyword(line.slice(4).toUpperCase());
    if (line[3] !== "-") this.#onReply(line);
  }

  #onKeyword(keyword: string): void {
    if (keyword === "PIPELINING") this.#pipelining = true;
    if (keyword.startsWith("AUTH") && keyword.includes("PLAIN")) this.#authPlain = true;
  }

  #onReply(line: string): void {
    const positive = line.startsWith("2");
    switch (this.#phase) {
      case "greeting":
        this.greetingMs = this.#plan.now() - this.startedAt;
        if (positive) this.#sayHello();
        else this.#refuseSession(line);
        break;
      case "ehlo":
        if (!positive) this.#refuseSession(line);
        else if (this.#plan.startTls && !this.#secure) this.#say("STARTTLS\r\n", "starttls");
        else if (this.#plan.login !== undefined) this.#logIn(this.#plan.login);
        else this.#becomeReady();
        break;
      case "starttls":
        if (positive) this.#startTls();
        else this.#refuseSession(line);
        break;
      case "auth":
        if (positive) this.#becomeReady();
        else this.#refuseSession(line);
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

  #say(text: string, phase: Phase): void {
    this.#phase = phase;
    this.#socket.write(text, "latin1");
  }

  #sayHello(): void {
    this.#say("EHLO source.load.example\r\n", "ehlo");
  }

  /** RFC 3207. */
  #startTls(): void {
    const plain = this.#socket;
    plain.removeAllListeners("data");
    plain.removeAllListeners("close");
    this.#socket = connectTls({ socket: plain, rejectUnauthorized: false });
    this.#secure = true;
    this.#pipelining = false;
    this.#socket.on("data", (chunk: Buffer) => this.#onData(chunk, chunk.length));
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => this.#onClose());
    this.#sayHello();
  }

  #logIn({ user, password }: NonNullable<LoadPlan["login"]>): void {
    if (!this.#authPlain) {
      this.#refuseSession("the server offers no AUTH PLAIN");
      return;
    }
    this.#say(`AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}\r\n`, "auth");
  }

  #becomeReady(): void {
    this.#phase = "ready";
    this.#opened?.resolve();
    this.#opened = undefined;
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
    const { recipients } = transaction.message;
    const no = transaction.answered++;
    const isData = no === recipients.length + 1;
    if (!isData && !line.startsWith("2")) {
      transaction.refusal ??= line;
      if (transaction.refusedRecipients === nobody) transaction.refusedRecipients = new Set();
      if (no > 0) transaction.refusedRecipients.add(no - 1);
    }
    if (isData && line.startsWith("354")) {
      this.#sendContent(transaction);
      return;
    }
    if (isData) this.#settle({ kind: "refused", reply: transaction.refusal ?? line }, "ready");
    else if (transaction.sent <= recipients.length + 1) this.#sendCommands(transaction);
  }

  #sendContent(transaction: Transaction): void {
    const { header, body } = transaction.message;
    this.#phase = "content";
    if (body.stuffed.length > copiedBodyBytesMax || header.length > headerBytesMax) {
      this.#socket.cork();
      this.#socket.write(header, "latin1");
      this.#socket.write(body.stuffed);
      this.#socket.uncork();
    } else this.#socket.write(this.#contentBlock(header, body.stuffed));
    this.activeAt = this.#plan.now();
    transaction.dotAt = this.activeAt;
  }

  /** One block for one write. The message before has been answered, so nobody reads the block any more. */
  #contentBlock(header: string, stuffedBody: Buffer): Buffer {
    let block = this.#block;
    if (block === undefined || this.#blockBody !== stuffedBody) {
      block = Buffer.allocUnsafeSlow(headerBytesMax + stuffedBody.length);
      stuffedBody.copy(block, headerBytesMax);
      this.#block = block;
      this.#blockBody = stuffedBody;
    }
    const from = headerBytesMax - header.length;
    block.write(header, from, "latin1");
    return block.subarray(from);
  }

  #onFinalReply(line: string): void {
    const transaction = this.#transaction;
    if (transaction === undefined) return;
    this.activeAt = this.#plan.now();
    const dotMs = this.activeAt - (transaction.dotAt ?? 0);
    if (!line.startsWith("2")) {
      this.#settle({ kind: "refused", reply: line }, "ready");
      return;
    }
    const { refusedRecipients, message } = transaction;
    const recipients =
      refusedRecipients === nobody
        ? message.recipients
        : message.recipients.filter((_, i) => !refusedRecipients.has(i));
    this.#settle({ kind: "acknowledged", reply: line, recipients, dotMs }, "ready");
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

function textOf(bytes: Uint8Array, from: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString("latin1");
}
