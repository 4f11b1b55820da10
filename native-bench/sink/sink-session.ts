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
const chunkDigitsMax = 9;

const badSequence = "503 5.5.1 Bad sequence of commands\r\n";
const noRecipients = "554 5.5.1 No valid recipients\r\n";
const tooBig = "552 5.3.4 Message size exceeds fixed limit\r\n";
const terminator = Buffer.from("\r\n.\r\n");
const emptyTerminator = Buffer.from(".\r\n");
const nothing = Buffer.alloc(0);
const noKeywords: ReadonlySet<string> = new Set();
const lineFeed = 10;
const carriageReturn = 13;
const blank = 0x20;
const lowerCaseBit = 0x20;
const mailVerb = Buffer.from("mail from:");
const rcptVerb = Buffer.from("rcpt to:");
const bdatVerb = Buffer.from("bdat ");
const lastWord = Buffer.from(" last");

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
  #keywords: ReadonlySet<string> = noKeywords;
  #greeted = false;

  #reversePath: string | undefined;
  #reversePathLast = "";
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
  /** Messages taken at their final dot whose 250 has not left yet: the number of the first copy and how many there are. */
  #unanswered: number[] = [];
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
    this.#socket.on("data", (chunk: Buffer) => this.onData(chunk, chunk.length));
    this.#socket.on("error", () => undefined);
    // The system tells of the close later, perhaps after the next connection.
    this.#socket.on("end", () => this.#left());
    this.#socket.on("close", () => this.#over());
  }

  /** Takes what was read: the first `count` octets, which are the reader's again when this returns. */
  onData(bytes: Buffer, count: number): void {
    if (this.#phase === "over") return;
    this.activeAt = this.#host.now();
    if (this.#thinking !== undefined) {
      this.#hold(bytes, 0, count);
      return;
    }
    this.#process(bytes, count);
    this.#flush();
  }

  #process(bytes: Buffer, end: number): void {
    let at = 0;
    while (at < end) {
      if (this.#thinking !== undefined) {
        this.#hold(bytes, at, end);
        return;
      }
      if (this.#phase === "over") return;
      const secureBefore = this.#secure;
      if (this.#phase === "command") at = this.#takeLine(bytes, at, end);
      else if (this.#phase === "data") at = this.#takeData(bytes, at, end);
      else at = this.#takeChunk(bytes, at, end);
      // RFC 3207 section 4.2: what came in clear after STARTTLS is dropped.
      if (this.#secure !== secureBefore) return;
    }
  }

  #hold(bytes: Buffer, from: number, end: number): void {
    this.#held.push(Buffer.from(bytes.subarray(from, end)));
    this.#socket.pause();
  }

  #resume(): void {
    const held = this.#held;
    this.#held = [];
    this.activeAt = this.#host.now();
    for (let i = 0; i < held.length; i++) {
      const bytes = held[i] as Buffer;
      if (this.#thinking !== undefined) this.#held.push(bytes);
      else this.#process(bytes, bytes.length);
    }
    if (this.#thinking === undefined && this.#phase !== "over") this.#socket.resume();
    this.#flush();
  }

  // -- commands

  #takeLine(bytes: Buffer, at: number, end: number): number {
    let lineEnd = at;
    while (lineEnd < end && bytes[lineEnd] !== lineFeed) lineEnd++;
    if (lineEnd === end) {
      this.#partial += bytes.toString("utf8", at, end);
      if (this.#partial.length > commandBytesMax) this.#say("500 5.5.6 Line too long\r\n", "close");
      return end;
    }
    const next = lineEnd + 1;
    if (lineEnd > at && bytes[lineEnd - 1] === carriageReturn) lineEnd--;
    if (this.#partial === "" && this.#takeUsualLine(bytes, at, lineEnd)) return next;
    let line = this.#partial + bytes.toString("utf8", at, lineEnd);
    this.#partial = "";
    if (line.endsWith("\r")) line = line.slice(0, -1);
    this.#command(line);
    return next;
  }

  /** MAIL, RCPT and BDAT as they nearly always look, without a text of the whole line. False: it does not look like that. */
  #takeUsualLine(bytes: Buffer, at: number, end: number): boolean {
    if (hasWord(bytes, at, mailVerb)) {
      const path = at + mailVerb.length;
      const pathEnd = plainPathEnd(bytes, path, end);
      if (pathEnd < 0) return false;
      const parameters = pathEnd + 1 === end ? "" : bytes.toString("latin1", pathEnd + 1, end);
      this.#give(this.#mail(this.#reversePathIn(bytes, path + 1, pathEnd), parameters));
      return true;
    }
    if (hasWord(bytes, at, rcptVerb)) {
      const path = at + rcptVerb.length;
      const pathEnd = plainPathEnd(bytes, path, end);
      if (pathEnd <= path + 1) return false;
      const parameters = pathEnd + 1 === end ? "" : bytes.toString("latin1", pathEnd + 1, end);
      this.#give(this.#rcpt(bytes.toString("latin1", path + 1, pathEnd), parameters));
      return true;
    }
    if (!hasWord(bytes, at, bdatVerb)) return false;
    let size = 0;
    let digitEnd = at + bdatVerb.length;
    for (; digitEnd < end; digitEnd++) {
      const digit = (bytes[digitEnd] as number) - 0x30;
      if (digit < 0 || digit > 9) break;
      size = 10 * size + digit;
    }
    const digits = digitEnd - at - bdatVerb.length;
    const isLast = digitEnd + lastWord.length === end && hasWord(bytes, digitEnd, lastWord);
    if (digits === 0 || digits > chunkDigitsMax || !(isLast || digitEnd === end)) return false;
    this.#startChunk(size, isLast);
    return true;
  }

  /** Most messages of a session come from one reverse-path. */
  #reversePathIn(bytes: Buffer, from: number, end: number): string {
    const last = this.#reversePathLast;
    let i = last.length === end - from ? 0 : -1;
    while (i >= 0 && i < last.length && bytes[from + i] === last.charCodeAt(i)) i++;
    if (i < last.length || i < 0) this.#reversePathLast = bytes.toString("latin1", from, end);
    return this.#reversePathLast;
  }

  #command(line: string): void {
    this.#give(this.#reactTo(line));
  }

  #give(answer: string | Verdict | undefined): void {
    if (typeof answer === "string") this.#say(answer);
    else if (answer !== undefined) this.#answer(answer);
  }

  /** A fixed reply, the operator's verdict, or undefined where the reply comes later or was given. */
  #reactTo(line: string): string | Verdict | undefined {
    switch (line.slice(0, 4).toUpperCase()) {
      case "MAIL":
        return this.#mailLine(line);
      case "RCPT":
        return this.#rcptLine(line);
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
    this.#keywords = noKeywords;
    this.#reset();
    return `250 ${this.#host.hostName}\r\n`;
  }

  #ehlo(): string {
    const { hostName, extensions, secureContext } = this.#host;
    this.#greeted = true;
    this.#reset();
    const offered = secureContext !== undefined && !this.#secure ? [...extensions, "STARTTLS"] : extensions;
    this.#keywords = new Set(offered.map((keyword) => keyword.split(" ")[0] as string));
    const lines = [hostName, ...offered];
    return lines.map((text, i) => `250${i === lines.length - 1 ? " " : "-"}${text}\r\n`).join("");
  }

  #mailLine(line: string): string | Verdict {
    const match = mailPattern.exec(line);
    if (match !== null) return this.#mail(match[1] as string, match[2] as string);
    return this.#mayMail ? "501 5.5.4 Syntax: MAIL FROM:<address>\r\n" : badSequence;
  }

  get #mayMail(): boolean {
    return this.#greeted && this.#reversePath === undefined;
  }

  #mail(reversePath: string, parameters: string): string | Verdict {
    if (!this.#mayMail) return badSequence;
    const problem = this.#parameterProblem(parameters, mailParameters);
    if (problem !== undefined) return problem;
    const verdict = decideMail(this.#host.operator, this.#visit, reversePath, this.activeAt);
    if (verdict.accepted) this.#reversePath = reversePath;
    return verdict;
  }

  #rcptLine(line: string): string | Verdict {
    const match = rcptPattern.exec(line);
    if (match !== null) return this.#rcpt(match[1] as string, match[2] as string);
    return this.#reversePath === undefined ? badSequence : "501 5.5.4 Syntax: RCPT TO:<address>\r\n";
  }

  #rcpt(recipient: string, parameters: string): string | Verdict {
    if (this.#reversePath === undefined) return badSequence;
    const problem = this.#parameterProblem(parameters, rcptParameters);
    if (problem !== undefined) return problem;
    if (this.#recipients.length >= recipientsMax) return "452 4.5.3 Too many recipients\r\n";
    const verdict = decideRcpt(this.#host.operator, this.#visit, this.#reversePath, recipient, this.activeAt);
    if (verdict.accepted) this.#recipients.push(recipient);
    return verdict;
  }

  #parameterProblem(text: string, known: ReadonlyMap<string, string>): string | undefined {
    if (text === "") return undefined;
    const trimmed = text.trim();
    for (let at = 0, end = 0; at <= trimmed.length; at = end + 1) {
      end = trimmed.indexOf(" ", at);
      if (end < 0) end = trimmed.length;
      const equals = trimmed.indexOf("=", at);
      const nameEnd = equals < 0 || equals > end ? end : equals;
      const name = trimmed.slice(at, nameEnd);
      const keyword = known.get(name) ?? known.get(name.toUpperCase());
      if (keyword === undefined || !this.#keywords.has(keyword)) {
        return "555 5.5.4 MAIL FROM/RCPT TO parameters not recognized or not implemented\r\n";
      }
      if (keyword === "SIZE" && Number(trimmed.slice(nameEnd + 1, end)) > contentBytesMax) return tooBig;
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
    this.#startChunk(Number(match[1]), match[2] !== undefined);
  }

  #startChunk(bytes: number, isLast: boolean): void {
    this.#chunkLeft = bytes;
    this.#chunkLast = isLast;
    if (this.#reversePath === undefined) this.#chunkRefused = badSequence;
    else if (this.#recipients.length === 0) this.#chunkRefused = noRecipients;
    else if (this.#contentBytes + this.#chunkLeft > contentBytesMax) this.#chunkRefused = tooBig;
    else this.#chunkRefused = undefined;
    if (this.#chunkLeft === 0) this.#chunkDone(nothing, 0, 0);
    else this.#phase = "chunk";
  }

  #startTls(): string | undefined {
    const { secureContext } = this.#host;
    if (secureContext === undefined || this.#secure) return "502 5.5.1 STARTTLS not available\r\n";
    const plain = this.#socket;
    plain.write(`${this.#out}220 2.0.0 Ready to start TLS\r\n`, "latin1");
    this.#out = "";
    plain.removeAllListeners("data");
    plain.removeAllListeners("end");
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

  #takeData(bytes: Buffer, at: number, end: number): number {
    const rest = bytes.subarray(at, end);
    const restEnd = this.#terminatorEnd(rest);
    if (restEnd === undefined) {
      this.#append(rest, 0, rest.length);
      if (this.#contentBytes > contentBytesMax) this.#say(tooBig, "close");
      return end;
    }
    let received = rest.subarray(0, restEnd);
    if (this.#contentBytes > 0) {
      this.#append(received, 0, restEnd);
      received = this.#content.subarray(0, this.#contentBytes);
    }
    this.#phase = "command";
    const content = unstuff(received.subarray(0, received.length - emptyTerminator.length));
    this.#finish(content, 0, content.length);
    return at + restEnd;
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

  #append(bytes: Buffer, from: number, end: number): void {
    const contentBytes = this.#contentBytes + end - from;
    if (contentBytes > this.#content.length) {
      const grown = Buffer.allocUnsafeSlow(
        Math.max(contentBytes + this.#chunkLeft, 2 * this.#content.length, contentBytesFirst),
      );
      this.#content.copy(grown, 0, 0, this.#contentBytes);
      this.#content = grown;
    }
    bytes.copy(this.#content, this.#contentBytes, from, end);
    this.#contentBytes = contentBytes;
  }

  #takeChunk(bytes: Buffer, at: number, end: number): number {
    const partEnd = Math.min(end, at + this.#chunkLeft);
    this.#chunkLeft -= partEnd - at;
    if (this.#chunkLeft === 0) this.#chunkDone(bytes, at, partEnd);
    else if (this.#chunkRefused === undefined) this.#append(bytes, at, partEnd);
    return partEnd;
  }

  /** What of the chunk is not yet in the content is in [from, end) of `bytes`. */
  #chunkDone(bytes: Buffer, from: number, end: number): void {
    this.#phase = "command";
    if (this.#chunkRefused !== undefined) {
      this.#say(this.#chunkRefused);
      if (this.#chunkLast) this.#reset();
    } else if (this.#chunkLast && this.#contentBytes === 0) {
      this.#finish(bytes, from, end);
    } else {
      this.#append(bytes, from, end);
      if (this.#chunkLast) this.#finish(this.#content, 0, this.#contentBytes);
      else this.#say("250 2.0.0 Chunk received\r\n");
    }
  }

  /** The message is in [from, end) of `bytes`. */
  #finish(bytes: Buffer, from: number, end: number): void {
    const { operator, ledger } = this.#host;
    const verdict = decideFinalDot(operator, this.#visit, this.#host.nextMessageNo());
    if (verdict.accepted) {
      if (ledger.wantsSamples) ledger.offerSample(bytes.subarray(from, end));
      const { benchId, queueId, bodyIntact } = inspectContent(bytes, from, end);
      const first = ledger.take({
        operator: operator.profile.name,
        recipients: this.#recipients,
        reversePath: this.#reversePath ?? "",
        sourceAddress: this.#visit.sourceAddress,
        benchId,
        queueId,
        bodyIntact,
        contentBytes: end - from,
        dotAt: this.activeAt,
      });
      this.#unanswered.push(first, this.#recipients.length);
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
      if (answers > 0) this.#settle(answers, this.#host.now());
    }
    after?.();
  }

  #settle(messages: number, repliedAt: number | undefined): void {
    const pairs = this.#unanswered;
    const end = Math.min(pairs.length, 2 * messages);
    for (let i = 0; i < end; i += 2) this.#host.ledger.settle(pairs[i] as number, pairs[i + 1] as number, repliedAt);
    if (end === pairs.length) pairs.length = 0;
    else pairs.splice(0, end);
  }

  #over(): void {
    this.#phase = "over";
    clearTimeout(this.#thinking);
    this.#thinking = undefined;
    this.#held = [];
    this.#settle(this.#unanswered.length / 2, undefined);
    this.#left();
    this.#onOver(this);
  }

  /** The sender's end of the connection: it counts as open no more. */
  #left(): void {
    if (this.#counted) noteDisconnect(this.#host.operator, this.#visit.sourceAddress);
    this.#counted = false;
  }
}

/** `word` is in lower case; letter case in `bytes` does not matter. */
function hasWord(bytes: Buffer, at: number, word: Buffer): boolean {
  for (let i = 0; i < word.length; i++) if (((bytes[at + i] ?? 0) | lowerCaseBit) !== word[i]) return false;
  return true;
}

/** Where the `>` of a path that begins at `from` stands; -1 for a path that is quoted, not US-ASCII, or not complete. */
function plainPathEnd(bytes: Buffer, from: number, end: number): number {
  if (bytes[from] !== 0x3c) return -1;
  for (let at = from + 1; at < end; at++) {
    const octet = bytes[at] as number;
    if (octet === 0x3e) return at + 1 === end || bytes[at + 1] === blank ? at : -1;
    if (octet <= blank || octet > 0x7e || octet === 0x22 || octet === 0x5c) return -1;
  }
  return -1;
}

/** IPv4 addresses that arrive mapped into IPv6 are the same source. */
function plainAddress(address: string | undefined): string {
  return (address ?? "").replace(/^::ffff:/, "");
}
