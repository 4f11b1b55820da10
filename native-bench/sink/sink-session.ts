// One SMTP session of a simulated operator: a receiver (RFC 5321) that asks the operator what to answer.
//
// Everything that one read brought is answered with one write. Pipelined input behind a slow answer waits its turn.
// All sessions in clear read into one buffer: what must outlive a read is copied, and a message that one read brought
// whole is looked at where it lies.

import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import { inspectContent, unstuff } from "./content-check.ts";
import type { Ledger } from "./ledger.ts";
import {
  decideConnect,
  decideFinalDot,
  decideMail,
  decideRcpt,
  noteDisconnect,
  type Operator,
  type Verdict,
  type Visit,
} from "./operator.ts";

/** What the sessions of one operator share. */
export interface SessionHost {
  readonly operator: Operator;
  readonly ledger: Ledger;
  readonly hostName: string;
  /** Offers STARTTLS. */
  readonly secureContext: SecureContext | undefined;
  /** EHLO keywords with their parameters, without STARTTLS. */
  readonly extensions: readonly string[];
  now(): number;
  nextMessageNo(): number;
}

export const allExtensions: readonly string[] = [
  "PIPELINING",
  "SIZE 52428800",
  "8BITMIME",
  "SMTPUTF8",
  "DSN",
  "CHUNKING",
  "ENHANCEDSTATUSCODES",
];

const contentBytesMax = 52_428_800;
const commandBytesMax = 4_096;
const recipientsMax = 1_000;
/** A session keeps the memory of a content up to this size for the next one. */
const contentKeptBytesMax = 262_144;
const contentBytesFirst = 16_384;

const badSequence = "503 5.5.1 Bad sequence of commands\r\n";
const noRecipients = "554 5.5.1 No valid recipients\r\n";
const tooBig = "552 5.3.4 Message size exceeds fixed limit\r\n";
const terminator = Buffer.from("\r\n.\r\n");
const emptyTerminator = Buffer.from(".\r\n");
const nothing = Buffer.alloc(0);
const lineFeed = 10;

const mailPattern = /^MAIL FROM: ?<((?:"(?:[^"\\]|\\.)*"|[^>"])*)>(.*)$/i;
const rcptPattern = /^RCPT TO: ?<((?:"(?:[^"\\]|\\.)*"|[^>"])+)>(.*)$/i;

/** Parameters of MAIL and RCPT with the EHLO keyword that allows them. */
const mailParameters: ReadonlyMap<string, string> = new Map([
  ["SIZE", "SIZE"],
  ["BODY", "8BITMIME"],
  ["SMTPUTF8", "SMTPUTF8"],
  ["RET", "DSN"],
  ["ENVID", "DSN"],
  ["REQUIRETLS", "REQUIRETLS"],
]);
const rcptParameters: ReadonlyMap<string, string> = new Map([
  ["NOTIFY", "DSN"],
  ["ORCPT", "DSN"],
]);

/** A message taken at its final dot whose 250 has not left yet. */
interface Unanswered {
  readonly recipients: readonly string[];
  readonly reversePath: string;
  readonly benchId: string;
  readonly queueId: string;
  readonly bodyIntact: boolean | undefined;
  readonly contentBytes: number;
  readonly dotAt: number;
}

type Phase = "command" | "data" | "chunk" | "over";

export class SinkSession {
  readonly #host: SessionHost;
  readonly #visit: Visit;
  readonly #roundTripMs: number;
  readonly #onOver: (session: SinkSession) => void;
  #socket: Socket;
  #counted = false;
  #phase: Phase = "command";
  #secure = false;
  #keywords: readonly string[] = [];
  #greeted = false;

  #reversePath: string | undefined;
  #recipients: string[] = [];
  /** A partial command line. */
  #partial = "";
  /** The first `#contentBytes` octets are the content so far. */
  #content: Buffer = nothing;
  #contentBytes = 0;
  #chunkLeft = 0;
  #chunkLast = false;
  #chunkRefused: string | undefined;

  /** Replies of the present flight, and how many messages in `#unanswered` they answer. */
  #out = "";
  #outAnswers = 0;
  #unanswered: Unanswered[] = [];
  #thinking: NodeJS.Timeout | undefined;
  #held: Buffer[] = [];

  /** When something was last heard. */
  activeAt: number;

  constructor(socket: Socket, host: SessionHost, onOver: (session: SinkSession) => void) {
    this.#socket = socket;
    this.#host = host;
    this.#onOver = onOver;
    this.#roundTripMs = host.operator.profile.roundTripMs;
    this.#visit = { sourceAddress: plainAddress(socket.remoteAddress), messages: 0 };
    this.activeAt = host.now();
    this.#listen();
    const verdict = decideConnect(host.operator, this.#visit.sourceAddress, this.activeAt);
    this.#counted = verdict.accepted;
    this.#answer(verdict);
    this.#flush();
  }

  /** Breaks the connection. */
  destroy(): void {
    this.#socket.destroy();
    this.#over();
  }

  #listen(): void {
    this.#socket.on("data", (chunk: Buffer) => this.onData(chunk));
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => this.#over());
  }

  /** Takes what was read. `chunk` is the reader's again when this returns. */
  onData(chunk: Buffer): void {
    if (this.#phase === "over") return;
    this.activeAt = this.#host.now();
    if (this.#thinking !== undefined) {
      this.#hold(chunk);
      return;
    }
    this.#process(chunk);
    this.#flush();
  }

  #process(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#thinking !== undefined) {
        this.#hold(chunk.subarray(at));
        return;
      }
      if (this.#phase === "over") return;
      const secureBefore = this.#secure;
      if (this.#phase === "command") at = this.#takeLine(chunk, at);
      else if (this.#phase === "data") at = this.#takeData(chunk, at);
      else at = this.#takeChunk(chunk, at);
      // RFC 3207 section 4.2: what came in clear after STARTTLS is dropped.
      if (this.#secure !== secureBefore) return;
    }
  }

  #hold(chunk: Buffer): void {
    this.#held.push(Buffer.from(chunk));
    this.#socket.pause();
  }

  #resume(): void {
    const held = this.#held;
    this.#held = [];
    for (let i = 0; i < held.length; i++) {
      const chunk = held[i] as Buffer;
      if (this.#thinking !== undefined) this.#held.push(chunk);
      else this.#process(chunk);
    }
    if (this.#thinking === undefined && this.#phase !== "over") this.#socket.resume();
    this.#flush();
  }

  // -- commands

  #takeLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(lineFeed, at);
    if (end < 0) {
      this.#partial += chunk.toString("utf8", at);
      if (this.#partial.length > commandBytesMax) this.#say("500 5.5.6 Line too long\r\n", "close");
      return chunk.length;
    }
    let line = this.#partial + chunk.toString("utf8", at, end);
    this.#partial = "";
    if (line.endsWith("\r")) line = line.slice(0, -1);
    this.#command(line);
    return end + 1;
  }

  #command(line: string): void {
    const answer = this.#reactTo(line);
    if (typeof answer === "string") this.#say(answer);
    else if (answer !== undefined) this.#answer(answer);
  }

  /** A fixed reply, the operator's verdict, or undefined where the reply comes later or was given. */
  #reactTo(line: string): string | Verdict | undefined {
    switch (line.slice(0, 4).toUpperCase()) {
      case "MAIL":
        return this.#mail(line);
      case "RCPT":
        return this.#rcpt(line);
      case "DATA":
        return this.#data();
      case "BDAT":
        return this.#bdat(line);
      case "EHLO":
        return this.#ehlo();
      case "HELO":
        return this.#helo();
      case "RSET":
        this.#reset();
        return "250 2.0.0 Ok\r\n";
      case "NOOP":
        return "250 2.0.0 Ok\r\n";
      case "VRFY":
        return "252 2.5.2 Cannot VRFY\r\n";
      case "QUIT":
        this.#say("221 2.0.0 Bye\r\n", "close");
        return undefined;
      case "STAR":
        return this.#startTls();
      default:
        return "500 5.5.2 Command not recognized\r\n";
    }
  }

  #helo(): string {
    this.#greeted = true;
    this.#keywords = [];
    this.#reset();
    return `250 ${this.#host.hostName}\r\n`;
  }

  #ehlo(): string {
    const { hostName, extensions, secureContext } = this.#host;
    this.#greeted = true;
    this.#reset();
    const offered = secureContext !== undefined && !this.#secure ? [...extensions, "STARTTLS"] : extensions;
    this.#keywords = offered.map((keyword) => keyword.split(" ")[0] as string);
    const lines = [hostName, ...offered];
    return lines.map((text, i) => `250${i === lines.length - 1 ? " " : "-"}${text}\r\n`).join("");
  }

  #mail(line: string): string | Verdict {
    const match = mailPattern.exec(line);
    if (!this.#greeted || this.#reversePath !== undefined) return badSequence;
    if (match === null) return "501 5.5.4 Syntax: MAIL FROM:<address>\r\n";
    const problem = this.#parameterProblem(match[2] as string, mailParameters);
    if (problem !== undefined) return problem;
    const reversePath = match[1] as string;
    const verdict = decideMail(this.#host.operator, this.#visit, reversePath, this.#host.now());
    if (verdict.accepted) this.#reversePath = reversePath;
    return verdict;
  }

  #rcpt(line: string): string | Verdict {
    const match = rcptPattern.exec(line);
    if (this.#reversePath === undefined) return badSequence;
    if (match === null) return "501 5.5.4 Syntax: RCPT TO:<address>\r\n";
    const problem = this.#parameterProblem(match[2] as string, rcptParameters);
    if (problem !== undefined) return problem;
    if (this.#recipients.length >= recipientsMax) return "452 4.5.3 Too many recipients\r\n";
    const recipient = match[1] as string;
    const { operator } = this.#host;
    const verdict = decideRcpt(operator, this.#visit, this.#reversePath, recipient, this.#host.now());
    if (verdict.accepted) this.#recipients.push(recipient);
    return verdict;
  }

  #parameterProblem(text: string, known: ReadonlyMap<string, string>): string | undefined {
    if (text === "") return undefined;
    for (const parameter of text.trim().split(" ")) {
      const [name = "", value = ""] = parameter.split("=", 2);
      const keyword = known.get(name.toUpperCase());
      if (keyword === undefined || !this.#keywords.includes(keyword)) {
        return "555 5.5.4 MAIL FROM/RCPT TO parameters not recognized or not implemented\r\n";
      }
      if (keyword === "SIZE" && Number(value) > contentBytesMax) return tooBig;
    }
    return undefined;
  }

  #data(): string {
    if (this.#reversePath === undefined) return badSequence;
    if (this.#recipients.length === 0) return noRecipients;
    this.#phase = "data";
    return "354 End data with <CR><LF>.<CR><LF>\r\n";
  }

  /** RFC 3030 section 2: the octets follow whatever the answer will be. */
  #bdat(line: string): undefined {
    const match = /^BDAT (\d{1,9})( LAST)?$/i.exec(line);
    if (match === null) {
      this.#say("501 5.5.4 Syntax: BDAT <size> [LAST]\r\n", "close");
      return;
    }
    this.#chunkLeft = Number(match[1]);
    this.#chunkLast = match[2] !== undefined;
    if (this.#reversePath === undefined) this.#chunkRefused = badSequence;
    else if (this.#recipients.length === 0) this.#chunkRefused = noRecipients;
    else if (this.#contentBytes + this.#chunkLeft > contentBytesMax) this.#chunkRefused = tooBig;
    else this.#chunkRefused = undefined;
    if (this.#chunkLeft === 0) this.#chunkDone(nothing);
    else this.#phase = "chunk";
  }

  #startTls(): string | undefined {
    const { secureContext } = this.#host;
    if (secureContext === undefined || this.#secure) return "502 5.5.1 STARTTLS not available\r\n";
    const plain = this.#socket;
    plain.write(`${this.#out}220 2.0.0 Ready to start TLS\r\n`, "latin1");
    this.#out = "";
    plain.removeAllListeners("data");
    plain.removeAllListeners("close");
    this.#socket = new TLSSocket(plain, { isServer: true, secureContext });
    this.#secure = true;
    // RFC 3207 section 4.2: what was said in clear is forgotten.
    this.#greeted = false;
    this.#reset();
    this.#listen();
    return undefined;
  }

  // -- content

  #takeData(chunk: Buffer, at: number): number {
    const rest = at === 0 ? chunk : chunk.subarray(at);
    const end = this.#terminatorEnd(rest);
    if (end === undefined) {
      this.#append(rest);
      if (this.#contentBytes > contentBytesMax) this.#say(tooBig, "close");
      return chunk.length;
    }
    const received = this.#whole(rest.subarray(0, end));
    this.#phase = "command";
    this.#finish(unstuff(received.subarray(0, received.length - emptyTerminator.length)));
    return at + end;
  }

  /** Where the terminator (RFC 5321 section 4.1.1.4) ends in `rest`; it may have begun before. */
  #terminatorEnd(rest: Buffer): number | undefined {
    const mayGoOn = rest[0] === 0x2e || rest[0] === 0x0d || rest[0] === 0x0a;
    if (mayGoOn) {
      const tail = this.#lastOctets();
      const found = Buffer.concat([tail, rest.subarray(0, 4)]).indexOf(terminator);
      if (found >= 0) return found + terminator.length - tail.length;
    }
    const at = rest.indexOf(terminator);
    return at < 0 ? undefined : at + terminator.length;
  }

  /** The last four octets so far; the content begins behind a line end. */
  #lastOctets(): Buffer {
    const count = this.#contentBytes;
    if (count >= 4) return this.#content.subarray(count - 4, count);
    return Buffer.concat([terminator.subarray(0, 2), this.#content.subarray(0, count)]).subarray(-4);
  }

  /** The content so far and its last part. */
  #whole(last: Buffer): Buffer {
    if (this.#contentBytes === 0) return last;
    this.#append(last);
    return this.#content.subarray(0, this.#contentBytes);
  }

  #append(part: Buffer): void {
    const bytes = this.#contentBytes + part.length;
    if (bytes > this.#content.length) {
      const grown = Buffer.allocUnsafeSlow(
        Math.max(bytes + this.#chunkLeft, 2 * this.#content.length, contentBytesFirst),
      );
      this.#content.copy(grown, 0, 0, this.#contentBytes);
      this.#content = grown;
    }
    part.copy(this.#content, this.#contentBytes);
    this.#contentBytes = bytes;
  }

  #takeChunk(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#chunkLeft);
    const part = at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end);
    this.#chunkLeft -= part.length;
    if (this.#chunkLeft === 0) this.#chunkDone(part);
    else if (this.#chunkRefused === undefined) this.#append(part);
    return end;
  }

  /** `last`: what of the chunk is not yet in the content. */
  #chunkDone(last: Buffer): void {
    this.#phase = "command";
    if (this.#chunkRefused !== undefined) {
      this.#say(this.#chunkRefused);
      if (this.#chunkLast) this.#reset();
    } else if (this.#chunkLast) {
      this.#finish(this.#whole(last));
    } else {
      this.#append(last);
      this.#say("250 2.0.0 Chunk received\r\n");
    }
  }

  #finish(content: Buffer): void {
    const { operator, ledger } = this.#host;
    const dotAt = this.#host.now();
    const verdict = decideFinalDot(operator, this.#visit, this.#host.nextMessageNo());
    if (verdict.accepted) {
      ledger.offerSample(content);
      const { benchId, queueId, bodyIntact } = inspectContent(content);
      this.#unanswered.push({
        recipients: this.#recipients,
        reversePath: this.#reversePath ?? "",
        benchId,
        queueId,
        bodyIntact,
        contentBytes: content.length,
        dotAt,
      });
    }
    this.#reset();
    this.#answer(verdict, verdict.accepted && verdict.after !== "reset" ? 1 : 0);
  }

  #reset(): void {
    this.#reversePath = undefined;
    this.#recipients = [];
    if (this.#content.length > contentKeptBytesMax) this.#content = nothing;
    this.#contentBytes = 0;
  }

  // -- replies

  #say(reply: string, after: Verdict["after"] = "go-on"): void {
    this.#out += reply;
    this.#end(after);
  }

  /** `messages`: how many of `#unanswered` this reply answers. */
  #answer(verdict: Verdict, messages = 0): void {
    if (verdict.breach) {
      this.#host.ledger.addBreach({
        operator: this.#host.operator.profile.name,
        rule: verdict.rule,
        sourceAddress: this.#visit.sourceAddress,
        at: this.#host.now(),
      });
    }
    if (verdict.delayMs <= 0) {
      this.#utter(verdict, messages);
      return;
    }
    this.#flush();
    this.#thinking = setTimeout(() => {
      this.#thinking = undefined;
      this.#utter(verdict, messages);
      this.#resume();
    }, verdict.delayMs);
  }

  #utter(verdict: Verdict, messages: number): void {
    this.#outAnswers += messages;
    this.#say(verdict.reply, verdict.after);
  }

  /** After its last word the session hears nothing more; `silence` leaves the connection open all the same. */
  #end(after: Verdict["after"]): void {
    if (after === "go-on") return;
    const socket = this.#socket;
    this.#phase = "over";
    if (after === "close") this.#flush(() => socket.end());
    // A TLS socket cannot send RST; closing without close_notify is as rude.
    else if (after === "reset") this.#flush(() => (this.#secure ? socket.destroy() : socket.resetAndDestroy()));
  }

  /** Sends the flight, after the round-trip time that loopback lacks; then calls `after`. */
  #flush(after?: () => void): void {
    const text = this.#out;
    if (text === "" && after === undefined) return;
    const answers = this.#outAnswers;
    this.#out = "";
    this.#outAnswers = 0;
    if (this.#roundTripMs <= 0) this.#send(text, answers, after);
    else setTimeout(() => this.#send(text, answers, after), this.#roundTripMs);
  }

  #send(text: string, answers: number, after: (() => void) | undefined): void {
    if (this.#socket.writable) {
      if (text !== "") this.#socket.write(text, "latin1");
      if (answers > 0) this.#record(this.#unanswered.splice(0, answers), this.#host.now());
    }
    after?.();
  }

  #record(messages: readonly Unanswered[], repliedAt: number | undefined): void {
    for (const message of messages) {
      for (const recipient of message.recipients) {
        this.#host.ledger.addReceipt({
          operator: this.#host.operator.profile.name,
          benchId: message.benchId,
          queueId: message.queueId,
          reversePath: message.reversePath,
          recipient,
          sourceAddress: this.#visit.sourceAddress,
          dotAt: message.dotAt,
          repliedAt,
          contentBytes: message.contentBytes,
          bodyIntact: message.bodyIntact,
        });
      }
    }
  }

  #over(): void {
    this.#phase = "over";
    clearTimeout(this.#thinking);
    this.#thinking = undefined;
    this.#held = [];
    this.#record(this.#unanswered.splice(0), undefined);
    if (this.#counted) noteDisconnect(this.#host.operator, this.#visit.sourceAddress);
    this.#counted = false;
    this.#onOver(this);
  }
}

/** IPv4 addresses that arrive mapped into IPv6 are the same source. */
function plainAddress(address: string | undefined): string {
  return (address ?? "").replace(/^::ffff:/, "");
}
