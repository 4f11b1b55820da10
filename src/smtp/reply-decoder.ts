// Octets in, replies out (RFC 5321 section 4.2). Every measure of a reply is bounded, whatever the peer sends.

import { type Reply, replyTextMax } from "../core/reply.ts";
import { enhancedStatusLength } from "./enhanced-status.ts";

/** RFC 5321 section 4.5.3.1.5 allows 512; real ones are longer. What goes beyond is dropped from the text. */
const replyLineBytesMax = 2_048;
const replyLinesMax = 100;
export const replyBytesMax = 65_536;

/** Takes a finished reply. `lines` are the texts of its lines as they came, for the answer to EHLO. */
export type ReplySink = (reply: Reply, lines: readonly string[]) => void;

const lf = 10;
const cr = 13;
const zero = 48;
const hyphen = 45;
const blank = 32;

const noLines: readonly string[] = [];

/** Assembles replies from chunks cut anywhere. After a fault it takes nothing more. */
export class ReplyDecoder {
  readonly #sink: ReplySink;
  /** The beginning of a line whose end has not come yet, at most `replyLineBytesMax` octets. */
  #partial: Buffer | undefined;
  /** Octets of the reply so far, kept or not. */
  #replyBytes = 0;
  #code = 0;
  #enhanced: string | undefined;
  #text = "";
  #lines: readonly string[] = noLines;
  #fault: string | undefined;

  constructor(sink: ReplySink) {
    this.#sink = sink;
  }

  /** Whether a reply has begun and not ended. */
  get inReply(): boolean {
    return this.#replyBytes > 0;
  }

  /** Takes the next octets. Returns what is wrong with them, or undefined. */
  push(chunk: Buffer): string | undefined {
    let from = 0;
    while (from < chunk.length && this.#fault === undefined) {
      const end = chunk.indexOf(lf, from);
      if (end === -1) {
        this.#keepPartial(chunk.subarray(from));
        break;
      }
      this.#replyBytes += end + 1 - from;
      this.#takeLine(this.#wholeLine(chunk.subarray(from, end)));
      from = end + 1;
    }
    return this.#fault;
  }

  #keepPartial(rest: Buffer): void {
    this.#replyBytes += rest.length;
    if (this.#replyBytes > replyBytesMax) this.#fault = "a reply is too long";
    const kept = this.#partial === undefined ? 0 : this.#partial.length;
    // A copy: the chunk may be the connection's read buffer.
    if (kept < replyLineBytesMax) {
      const part = rest.subarray(0, replyLineBytesMax - kept);
      this.#partial = this.#partial === undefined ? Buffer.from(part) : Buffer.concat([this.#partial, part]);
    }
  }

  #wholeLine(end: Buffer): Buffer {
    const start = this.#partial;
    this.#partial = undefined;
    const line = start === undefined ? end : Buffer.concat([start, end]);
    const length = line[line.length - 1] === cr ? line.length - 1 : line.length;
    return line.subarray(0, Math.min(length, replyLineBytesMax));
  }

  #takeLine(line: Buffer): void {
    if (this.#replyBytes > replyBytesMax) {
      this.#fault = "a reply is too long";
      return;
    }
    const code = codeOf(line);
    const separator = line.length > 3 ? line[3] : blank;
    if (code === 0 || (separator !== blank && separator !== hyphen) || line.includes(0)) {
      this.#fault = `not a reply: ${cleanText(line.toString("latin1", 0, 64))}`;
      return;
    }
    const text = cleanText(line.toString("utf8", 4));
    if (this.#lines.length === 0) this.#code = code;
    else if (this.#code !== code) {
      this.#fault = `a reply changes its code from ${this.#code} to ${code}`;
      return;
    } else if (this.#lines.length >= replyLinesMax) {
      this.#fault = "a reply has too many lines";
      return;
    }
    // Most replies have one line: an array that is pushed into has room for seventeen.
    this.#lines = this.#lines.length === 0 ? [text] : [...this.#lines, text];
    this.#addText(text, code);
    if (separator === blank) this.#finish();
  }

  #addText(text: string, code: number): void {
    const skip = enhancedStatusLength(text, code);
    if (skip > 0) this.#enhanced ??= text.slice(0, skip);
    const words = skip > 0 ? text.slice(skip + 1) : text;
    if (this.#text === "") this.#text = words;
    else if (words !== "" && this.#text.length < replyTextMax) this.#text += ` ${words}`;
  }

  #finish(): void {
    const text = this.#text.length > replyTextMax ? this.#text.slice(0, replyTextMax) : this.#text;
    const reply: Reply = { code: this.#code, enhanced: this.#enhanced, text };
    const lines = this.#lines;
    this.#replyBytes = 0;
    this.#enhanced = undefined;
    this.#text = "";
    this.#lines = noLines;
    this.#sink(reply, lines);
  }
}

/** The three digits, 200 to 599, or 0. */
function codeOf(line: Buffer): number {
  if (line.length < 3) return 0;
  const first = (line[0] as number) - zero;
  const second = (line[1] as number) - zero;
  const third = (line[2] as number) - zero;
  if (first < 2 || first > 5 || second < 0 || second > 9 || third < 0 || third > 9) return 0;
  return first * 100 + second * 10 + third;
}

// C0, DEL, C1, the line separators of Unicode and its direction marks: nothing of these may reach a log or a terminal.
const unwanted = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
const unwantedAll = new RegExp(unwanted, "g");

/** `text` with each control character replaced by a blank. */
export function cleanText(text: string): string {
  return unwanted.test(text) ? text.replace(unwantedAll, " ") : text;
}
