// Messages built ahead: one block for each size, in which only the number and the first recipient are written anew.
//
// What a message is follows from the plan and its number, so nothing of it needs to be kept.

import { type Chance, chanceAt, seededChance } from "../sink/chance.ts";
import { bodyMark } from "../sink/content-check.ts";
import type { LoadPlan } from "./load-plan.ts";

/** A body that many messages share. */
interface MadeBody {
  readonly bytes: number;
  /** The header section behind its To field, and the body, dot-stuffed and with its terminator (RFC 5321 section 4.1.1.4). */
  readonly image: Buffer;
  /** Where in the image the number stands. */
  readonly numberAt: readonly number[];
  /** Blocks that nobody writes from at the moment. */
  readonly free: MessageBlock[];
}

/** Room for one message and, behind it, the envelope of the next one. */
export interface MessageBlock {
  readonly bytes: Buffer;
  readonly body: MadeBody;
}

const words = "the quick brown fox jumps over a lazy dog while eleven wizards box five dozen liquor jugs".split(" ");
const lineCharactersMax = 70;
/** All numbers are written with as many digits, so that they always fit in the same place. */
const numberDigits = 9;
const zero = 0x30;
/** Blocks kept for the next message of their size. */
const freeBlocksMax = 64;

export class MessageMaker {
  readonly #plan: LoadPlan;
  readonly #bodies: readonly MadeBody[];
  readonly #bodyAt: (share: number) => number;
  readonly #domains: readonly string[];
  readonly #domainAt: (share: number) => number;
  readonly #idPrefix: string;
  readonly #mail: string;
  readonly #rcptStart: string;
  readonly #toStart: string;
  /** What the To field and an envelope may need at most. */
  readonly #toBytesMax: number;
  readonly #envelopeBytesMax: number;

  constructor(plan: LoadPlan, date: string) {
    this.#plan = plan;
    this.#idPrefix = `${plan.runId}-`;
    this.#mail = `MAIL FROM:<${plan.reversePath}>\r\n`;
    this.#rcptStart = `RCPT TO:<u${this.#idPrefix}`;
    this.#toStart = `To: <u${this.#idPrefix}`;
    this.#domains = plan.domains.map(({ domain }) => domain);
    this.#domainAt = picker(plan.domains.map(({ weight }) => weight));
    const addressBytesMax =
      `u${this.#idPrefix}r${plan.recipientsPerMessage}@`.length +
      numberDigits +
      this.#domains.reduce((most, domain) => Math.max(most, domain.length), 0);
    this.#toBytesMax = addressBytesMax + "To: <>\r\n".length;
    this.#envelopeBytesMax =
      this.#mail.length + plan.recipientsPerMessage * (addressBytesMax + "RCPT TO:<>\r\n".length) + "DATA\r\n".length;
    const sizes = typeof plan.bodyBytes === "number" ? [{ bytes: plan.bodyBytes, weight: 1 }] : plan.bodyBytes;
    const chance = seededChance(plan.seed);
    this.#bodies = sizes.map(({ bytes }) => makeBody(plan, date, bytes, chance));
    this.#bodyAt = picker(sizes.map(({ weight }) => weight));
  }

  benchIdOf(no: number): string {
    return `${this.#idPrefix}${String(no).padStart(numberDigits, "0")}`;
  }

  recipientsOf(no: number): string[] {
    const benchId = this.benchIdOf(no);
    return Array.from(
      { length: this.#plan.recipientsPerMessage },
      (_, i) => `u${benchId}r${i}@${this.#domainOf(no, i)}`,
    );
  }

  bodyBytesOf(no: number): number {
    return this.#bodyOf(no).bytes;
  }

  /** How many commands are before a content. */
  get commandCount(): number {
    return this.#plan.recipientsPerMessage + 2;
  }

  /** MAIL, each RCPT, and DATA, each with its CRLF. */
  commandsOf(no: number): string[] {
    return [this.#mail, ...this.recipientsOf(no).map((to) => `RCPT TO:<${to}>\r\n`), "DATA\r\n"];
  }

  /** A block of the message's size. It is the caller's until `release`. */
  take(no: number): MessageBlock {
    const body = this.#bodyOf(no);
    const block = body.free.pop();
    if (block !== undefined) return block;
    const bytes = Buffer.allocUnsafeSlow(this.#toBytesMax + body.image.length + this.#envelopeBytesMax);
    body.image.copy(bytes, this.#toBytesMax);
    return { bytes, body };
  }

  release(block: MessageBlock): void {
    if (block.body.free.length < freeBlocksMax) block.body.free.push(block);
  }

  /**
   * Writes the content of message `no` into the block, and behind it the envelope of `next` where there is one. Returns
   * what is to be sent.
   */
  fill({ bytes, body }: MessageBlock, no: number, next: number | undefined): Buffer {
    const imageStart = this.#toBytesMax;
    for (let i = 0; i < body.numberAt.length; i++) putNumber(bytes, imageStart + (body.numberAt[i] as number), no);
    const domain = this.#domainOf(no, 0);
    const from = imageStart - (this.#toStart.length + numberDigits + "r0@".length + domain.length + ">\r\n".length);
    let at = put(bytes, from, this.#toStart);
    at = putNumber(bytes, at, no);
    at = put(bytes, at, "r0@");
    at = put(bytes, at, domain);
    put(bytes, at, ">\r\n");
    const end = imageStart + body.image.length;
    return bytes.subarray(from, next === undefined ? end : this.#putEnvelope(bytes, end, next));
  }

  #putEnvelope(bytes: Buffer, from: number, no: number): number {
    let at = put(bytes, from, this.#mail);
    for (let i = 0; i < this.#plan.recipientsPerMessage; i++) {
      at = put(bytes, at, this.#rcptStart);
      at = putNumber(bytes, at, no);
      at = put(bytes, at, i === 0 ? "r0@" : `r${i}@`);
      at = put(bytes, at, this.#domainOf(no, i));
      at = put(bytes, at, ">\r\n");
    }
    return put(bytes, at, "DATA\r\n");
  }

  #bodyOf(no: number): MadeBody {
    if (this.#bodies.length === 1) return this.#bodies[0] as MadeBody;
    return this.#bodies[this.#bodyAt(chanceAt(this.#plan.seed + 1, no))] as MadeBody;
  }

  #domainOf(no: number, recipient: number): string {
    if (this.#domains.length === 1) return this.#domains[0] as string;
    const draw = no * this.#plan.recipientsPerMessage + recipient;
    return this.#domains[this.#domainAt(chanceAt(this.#plan.seed, draw))] as string;
  }
}

/** Returns where it ended. The text is US-ASCII. */
function put(bytes: Buffer, from: number, text: string): number {
  for (let i = 0; i < text.length; i++) bytes[from + i] = text.charCodeAt(i);
  return from + text.length;
}

function putNumber(bytes: Buffer, from: number, no: number): number {
  let rest = no;
  for (let i = numberDigits - 1; i >= 0; i--) {
    const tenth = Math.floor(rest / 10);
    bytes[from + i] = zero + rest - 10 * tenth;
    rest = tenth;
  }
  return from + numberDigits;
}

/** About `bytes` octets of text in lines that end with CRLF, behind a header section without a number yet. */
function makeBody(plan: LoadPlan, date: string, bytes: number, chance: Chance): MadeBody {
  const body = bodyText(bytes, plan.dotLines, chance);
  const from = plan.reversePath === "" ? "nobody@localhost" : plan.reversePath;
  const senderDomain = from.slice(from.lastIndexOf("@") + 1);
  const stream = plan.stream === undefined ? "" : `X-Postern-Stream: ${plan.stream}\r\n`;
  const number = "#".repeat(numberDigits);
  const header =
    `Date: ${date}\r\nFrom: Postern load <${from}>\r\n` +
    `Subject: Message ${number} of run ${plan.runId}\r\nMessage-ID: <${plan.runId}-${number}@${senderDomain}>\r\n${stream}` +
    `X-Bench-Id: ${plan.runId}-${number}\r\nX-Bench-Body: ${bodyMark(Buffer.from(body, "latin1"))}\r\n` +
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n";
  const numberAt: number[] = [];
  for (let at = header.indexOf(number); at >= 0; at = header.indexOf(number, at + number.length)) numberAt.push(at);
  const image = Buffer.from(`${header}${body.replace(/^\./gm, "..")}.\r\n`, "latin1");
  return { bytes: body.length, image, numberAt, free: [] };
}

function bodyText(bytes: number, dotLines: boolean, chance: Chance): string {
  const lines: string[] = dotLines ? [".hidden line", ".\t", "..twice"] : [];
  let length = lines.reduce((sum, line) => sum + line.length + 2, 0);
  let line = "";
  while (length + line.length + 2 < bytes) {
    const word = words[Math.floor(chance() * words.length)] as string;
    if (line.length + word.length >= lineCharactersMax) {
      lines.push(line);
      length += line.length + 2;
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return `${[...lines, line].join("\r\n")}\r\n`;
}

/** A function that gives the index for a share in [0, 1), each index its part in proportion to its weight. */
function picker(weights: readonly number[]): (share: number) => number {
  if (weights.length === 0) throw new Error("nothing to draw from");
  const ends: number[] = [];
  let total = 0;
  for (const weight of weights) {
    total += weight;
    ends.push(total);
  }
  return (share) => {
    const wanted = share * total;
    let low = 0;
    for (let high = ends.length - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if ((ends[middle] as number) > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
