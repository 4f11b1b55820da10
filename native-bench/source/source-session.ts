// One submitting SMTP client of the load source: a raw socket, and in the best case one write and one read a message.
//
// Where the server offers PIPELINING and the next message is there already, its envelope leaves right behind the final
// dot (RFC 2920 section 3.1: DATA ends a group, so the content itself waits for its 354). Replies are read where they lie
// in one buffer that all sessions share.

import { createConnection, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { LoadPlan } from "./load-plan.ts";
import type { MessageBlock, MessageMaker } from "./message-template.ts";

/** What the sessions of one source share. */
export interface SessionPlan {
  readonly target: LoadPlan["target"];
  readonly startTls: boolean;
  readonly login: LoadPlan["login"];
  /** Messages of one session. */
  readonly messagesMax: number;
  /** Where replies are read to. One for all: each is looked at before the next read. */
  readonly readBuffer: Uint8Array;
  readonly maker: MessageMaker;
  now(): number;
  /** The number of a message that may leave at once behind the one before, if there is one. */
  takeNext(): number | undefined;
  onAcknowledged(acknowledged: Acknowledged): void;
  /** Returns whether the message will be offered again. */
  onRefused(no: number, reply: string): boolean;
  /** The connection ended. `dotSent` says whether the server may have taken the message all the same. */
  onBroken(no: number, dotSent: boolean): void;
}

export interface Acknowledged {
  readonly no: number;
  readonly reply: string;
  /** Recipients that were refused, by index; undefined: none. */
  readonly refusedRecipients: ReadonlySet<number> | undefined;
  readonly at: number;
  /** From the final dot. */
  readonly dotMs: number;
  /** From connect, for the session's first message. */
  readonly connectMs: number | undefined;
}

interface Transaction {
  readonly no: number;
  readonly isFirst: boolean;
  /** Commands before MAIL: an RSET, or none. */
  readonly resets: number;
  /** Commands (RSET where needed, MAIL, each RCPT, DATA), how many were sent and how many answered. */
  readonly commandCount: number;
  sent: number;
  answered: number;
  refusedRecipients: Set<number> | undefined;
  refusal: string | undefined;
  dotAt: number;
}

type Phase = "greeting" | "ehlo" | "starttls" | "auth" | "mail" | "closed";

const lineFeed = 10;
const carriageReturn = 13;
const hyphen = 0x2d;
const digitTwo = 0x32;

export class SourceSession {
  readonly #plan: SessionPlan;
  #socket: Socket;
  #phase: Phase = "greeting";
  #secure = false;
  #pipelining = false;
  #authPlain = false;
  /** The start of a reply line whose end has not come. */
  #partial = "";
  /** Its final dot was sent. Its reply comes before those of the envelope. */
  #content: Transaction | undefined;
  /** Its commands were sent, or are. */
  #envelope: Transaction | undefined;
  /** What the kernel had not taken when it was written. */
  #block: MessageBlock | undefined;
  #mustReset = false;
  #begun = 0;
  #opened: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #idle: (() => void) | undefined;

  /** Time from connect to the greeting, once it came. */
  greetingMs = 0;
  readonly startedAt: number;
  /** When something was last written or read: for a look at stalled sessions. */
  activeAt: number;
  /** The last reply put a message off. */
  isPutOff = false;

  constructor(plan: SessionPlan) {
    this.#plan = plan;
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

  /** Another message may be submitted. */
  get usable(): boolean {
    return this.#phase === "mail" && this.#begun < this.#plan.messagesMax;
  }

  /** The server owes a reply. */
  get waits(): boolean {
    return this.#phase !== "mail" || this.#content !== undefined || this.#envelope !== undefined;
  }

  /** Resolves after EHLO (and AUTH); rejects when the connection fails or the server refuses. */
  opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
    });
  }

  /** Resolves once this message, and those that followed it at once, are settled. Only for a session that is usable. */
  submit(no: number): Promise<void> {
    this.isPutOff = false;
    return new Promise((resolve) => {
      this.#idle = resolve;
      this.#begin(no);
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

  // -- messages

  #begin(no: number): void {
    this.#envelope = this.#newTransaction(no, this.#mustReset ? 1 : 0);
    this.#mustReset = false;
    this.#sendCommands(this.#envelope);
  }

  #newTransaction(no: number, resets: number): Transaction {
    return {
      no,
      resets,
      isFirst: this.#begun++ === 0,
      commandCount: resets + this.#plan.maker.commandCount,
      sent: 0,
      answered: 0,
      refusedRecipients: undefined,
      refusal: undefined,
      dotAt: 0,
    };
  }

  #sendCommands(transaction: Transaction): void {
    const commands = this.#plan.maker.commandsOf(transaction.no);
    if (transaction.resets > 0) commands.unshift("RSET\r\n");
    const until = this.#pipelining ? commands.length : transaction.sent + 1;
    const text = commands.slice(transaction.sent, until).join("");
    transaction.sent = until;
    this.#socket.write(text, "latin1");
  }

  /** The content, and behind it the envelope of a next message where that may be. */
  #sendContent(transaction: Transaction): void {
    const { maker, takeNext, now } = this.#plan;
    const nextNo = this.#pipelining && this.usable ? takeNext() : undefined;
    const block = maker.take(transaction.no);
    this.#content = transaction;
    this.#envelope = undefined;
    if (nextNo !== undefined) {
      this.#envelope = this.#newTransaction(nextNo, 0);
      this.#envelope.sent = this.#envelope.commandCount;
    }
    this.#socket.write(maker.fill(block, transaction.no, nextNo));
    if (this.#socket.writableLength === 0) maker.release(block);
    else this.#block = block;
    this.activeAt = now();
    transaction.dotAt = this.activeAt;
  }

  /** After a message: the next one at once, or rest. */
  #goOn(): void {
    if (this.#envelope !== undefined) return;
    const nextNo = this.usable && !this.isPutOff ? this.#plan.takeNext() : undefined;
    if (nextNo !== undefined) this.#begin(nextNo);
    else this.#rest();
  }

  #rest(): void {
    const idle = this.#idle;
    this.#idle = undefined;
    idle?.();
  }

  // -- replies

  #onData(bytes: Uint8Array, count: number): void {
    let from = 0;
    while (from < count) {
      let end = from;
      while (end < count && bytes[end] !== lineFeed) end++;
      if (end === count) {
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
    const envelope = this.#envelope;
    if (envelope === undefined || this.#content !== undefined) return false;
    if (envelope.answered >= envelope.commandCount - 1) return false;
    if (bytes[from] !== digitTwo || end - from < 4 || bytes[from + 3] === hyphen) return false;
    envelope.answered++;
    if (envelope.sent < envelope.commandCount) this.#sendCommands(envelope);
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
      case "mail":
        if (this.#content !== undefined) this.#onFinalReply(line, this.#content);
        else if (this.#envelope !== undefined) this.#onEnvelopeReply(line, this.#envelope);
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
    this.#phase = "mail";
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
  #onEnvelopeReply(line: string, transaction: Transaction): void {
    const no = transaction.answered++;
    const isData = no === transaction.commandCount - 1;
    if (isData && line.startsWith("354")) {
      this.#sendContent(transaction);
      return;
    }
    if (isData) {
      this.#envelope = undefined;
      // A transaction whose DATA was refused goes on (RFC 5321 section 4.1.1.4).
      this.#mustReset = true;
      this.#refused(transaction, transaction.refusal ?? line);
      return;
    }
    if (!line.startsWith("2")) {
      transaction.refusal ??= line;
      transaction.refusedRecipients ??= new Set();
      const recipient = no - transaction.resets - 1;
      if (recipient >= 0) transaction.refusedRecipients.add(recipient);
    }
    if (transaction.sent < transaction.commandCount) this.#sendCommands(transaction);
  }

  #onFinalReply(line: string, transaction: Transaction): void {
    this.activeAt = this.#plan.now();
    this.#content = undefined;
    this.#releaseBlock();
    if (!line.startsWith("2")) {
      this.#refused(transaction, line);
      return;
    }
    this.#plan.onAcknowledged({
      no: transaction.no,
      reply: line,
      refusedRecipients: transaction.refusedRecipients,
      at: this.activeAt,
      dotMs: this.activeAt - transaction.dotAt,
      connectMs: transaction.isFirst ? this.activeAt - this.startedAt : undefined,
    });
    this.#goOn();
  }

  #refused(transaction: Transaction, reply: string): void {
    if (this.#plan.onRefused(transaction.no, reply)) this.isPutOff = true;
    this.#goOn();
  }

  /** The server has read the content; what the kernel has not taken of the envelope behind it keeps the block. */
  #releaseBlock(): void {
    const block = this.#block;
    if (block === undefined) return;
    this.#block = undefined;
    if (this.#socket.writableLength === 0) this.#plan.maker.release(block);
  }

  #onClose(): void {
    this.#phase = "closed";
    this.#opened?.reject(new Error("the connection ended before EHLO was answered"));
    this.#opened = undefined;
    if (this.#content !== undefined) this.#plan.onBroken(this.#content.no, true);
    if (this.#envelope !== undefined) this.#plan.onBroken(this.#envelope.no, false);
    this.#content = undefined;
    this.#envelope = undefined;
    this.#rest();
  }
}

function textOf(bytes: Uint8Array, from: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString("latin1");
}
