// Reads the content of one DATA in a single pass over the raw octets: finds the end, takes out stuffed dots, and
// refuses what must not be kept.
//
// Only CRLF.CRLF ends DATA, and a bare CR or LF is never a line end (RFC 5321 section 2.3.8 and 4.1.1.4): a content
// with one is refused whole, decided before anything is unstuffed, so that no other server can see a message
// boundary where we saw none ("SMTP smuggling", CVE-2023-51764).

import { parseHeaderSection } from "../mime/header-section.ts";
import type { MemoryBudget } from "./memory-budget.ts";

export interface ContentLimits {
  readonly messageBytesMax: number;
  readonly lineBytesMax: number;
  readonly headerSectionBytesMax: number;
}

/** Why a content is refused. The first reason found is kept. */
export type ContentFault =
  | "bare-cr-lf"
  | "nul"
  | "message-too-big"
  | "line-too-long"
  | "header-section-too-long"
  | "no-memory";

export interface Content {
  /** Unstuffed, without the final dot, in the buffers that came from the socket. */
  readonly chunks: readonly Buffer[];
  readonly bytes: number;
  readonly hasDotLines: boolean;
  /** Some octet is above 127. */
  readonly has8Bit: boolean;
}

/** Smaller pieces are copied together: a Buffer for every octet of a slow client would cost far more than the octet. */
const copyBelowBytes = 2 * 1024;
const copyBlockBytes = 16 * 1024;

const lf = 0x0a;
const cr = 0x0d;
const dot = 0x2e;

// Where the last octet left us. A dot that begins a line, and a CR behind it, are held back until the next octet says
// what they are.
const lineStart = 0;
const lineStartDot = 1;
const lineStartDotCr = 2;
const inLine = 3;
const inLineCr = 4;

/** One per DATA. `dispose` must be called once the content is no longer held. */
export class ContentReader {
  readonly #limits: ContentLimits;
  readonly #budget: MemoryBudget;
  #state = lineStart;
  #chunks: Buffer[] = [];
  #block: Buffer | undefined;
  #blockUsed = 0;
  /** Octets of content so far, after unstuffing. */
  #bytes = 0;
  #takenBytes = 0;
  /** Octets received, also those not kept. */
  #rawBytes = 0;
  /** Octets of the current line that earlier chunks held, as sent. */
  #lineBytes = 0;
  #highBits = 0;
  #hasDotLines = false;
  #inHeaderSection = true;
  #fault: ContentFault | undefined;

  constructor(limits: ContentLimits, budget: MemoryBudget) {
    this.#limits = limits;
    this.#budget = budget;
  }

  get rawBytes(): number {
    return this.#rawBytes;
  }

  get fault(): ContentFault | undefined {
    return this.#fault;
  }

  /**
   * Reads `chunk` from `start`. Returns the offset after the final dot's CRLF, or -1 when the content goes on. The
   * chunk becomes ours: stuffed dots are taken out in place.
   */
  read(chunk: Buffer, start: number): number {
    const lineBytesMax = this.#limits.lineBytesMax;
    let state = this.#state;
    let highBits = 0;
    /** Where the line began, as an offset into this chunk; negative when it began in an earlier one. */
    let lineBegin = start - this.#lineBytes;
    /** Content found so far in this chunk is [start, kept) and then [runStart, at). */
    let kept = start;
    let runStart = start;
    let end = -1;
    let at = start;
    const length = chunk.length;
    /** The chunk as words of four octets, from the first offset that one may begin at. */
    const wordStart = -chunk.byteOffset & 3;
    const words = wordsOf(chunk, wordStart);
    while (at < length) {
      const octet = chunk[at++] as number;
      switch (state) {
        case inLine:
          highBits |= octet;
          if (octet > cr) {
            // The fast path: the rest of a line until a control, four octets at once where they stand so in a word.
            while (at < length) {
              if (((at - wordStart) & 3) === 0) {
                const wordAt = (at - wordStart) >> 2;
                let ahead = wordAt;
                while (ahead < words.length) {
                  const word = words[ahead] as number;
                  if (hasControl(word)) break;
                  highBits |= word;
                  ahead++;
                }
                at += (ahead - wordAt) << 2;
                if (at >= length) break;
              }
              const next = chunk[at] as number;
              if (next > cr) {
                highBits |= next;
                at++;
                continue;
              }
              // A usual line end and a usual first octet behind it need no turns of the switch.
              if (next !== cr || chunk[at + 1] !== lf) break;
              const first = chunk[at + 2];
              if (first === undefined || first <= cr || first === dot) break;
              highBits |= first;
              if (at + 2 - lineBegin > lineBytesMax) this.#refuse("line-too-long");
              lineBegin = at + 2;
              at += 3;
            }
          } else if (octet === cr) state = inLineCr;
          else if (octet === lf) this.#refuse("bare-cr-lf");
          else if (octet === 0) this.#refuse("nul");
          break;
        case inLineCr:
          if (octet === lf) {
            if (at - lineBegin > lineBytesMax) this.#refuse("line-too-long");
            // An empty line ends the header section.
            if (at - lineBegin === 2) this.#inHeaderSection = false;
            lineBegin = at;
            state = lineStart;
          } else {
            this.#refuse("bare-cr-lf");
            if (octet !== cr) state = inLine;
          }
          break;
        case lineStart:
          highBits |= octet;
          if (octet === dot) {
            // Hold the dot back: it is either a stuffed one or the end.
            if (kept !== runStart) chunk.copyWithin(kept, runStart, at - 1);
            kept += at - 1 - runStart;
            runStart = at;
            state = lineStartDot;
          } else if (octet === cr) state = inLineCr;
          else {
            if (octet === lf) this.#refuse("bare-cr-lf");
            else if (octet === 0) this.#refuse("nul");
            state = inLine;
          }
          break;
        case lineStartDot:
          // RFC 5321 section 4.5.2: the dot goes when something else follows.
          highBits |= octet;
          if (octet === cr) {
            runStart = at;
            state = lineStartDotCr;
          } else {
            if (octet === lf) this.#refuse("bare-cr-lf");
            else if (octet === 0) this.#refuse("nul");
            else if (octet === dot) this.#hasDotLines = true;
            state = inLine;
          }
          break;
        case lineStartDotCr:
          if (octet === lf) {
            end = at;
            runStart = at;
            at = length;
          } else {
            this.#refuse("bare-cr-lf");
            state = octet === cr ? inLineCr : inLine;
          }
          break;
        default:
          throw new Error(`unexpected state ${state}`);
      }
    }
    const stop = end === -1 ? length : end;
    this.#state = state;
    this.#lineBytes = stop - lineBegin;
    this.#highBits |= highBits;
    this.#rawBytes += stop - start;
    if (end === -1 && this.#lineBytes > lineBytesMax) this.#refuse("line-too-long");
    if (kept !== runStart) chunk.copyWithin(kept, runStart, stop);
    kept += stop - runStart;
    this.#keep(chunk, start, kept);
    return end;
  }

  /** The content, after `read` returned its end and when there is no fault. */
  content(): Content {
    this.#closeBlock();
    return {
      chunks: this.#chunks,
      bytes: this.#bytes,
      hasDotLines: this.#hasDotLines,
      has8Bit: (this.#highBits & 0x80808080) !== 0,
    };
  }

  /** Forgets the content and gives its memory back. Calling it again does nothing. */
  dispose(): void {
    this.#chunks = [];
    this.#block = undefined;
    this.#budget.give(this.#takenBytes);
    this.#takenBytes = 0;
  }

  #keep(chunk: Buffer, start: number, end: number): void {
    const bytes = end - start;
    if (bytes === 0 || this.#fault !== undefined) return;
    this.#bytes += bytes;
    if (this.#bytes > this.#limits.messageBytesMax) {
      this.#refuse("message-too-big");
      return;
    }
    if (!this.#budget.take(bytes)) {
      this.#refuse("no-memory");
      return;
    }
    this.#takenBytes += bytes;
    if (bytes >= copyBelowBytes) {
      this.#closeBlock();
      this.#chunks.push(chunk.subarray(start, end));
    } else if (this.#chunks.length === 0 && this.#block === undefined) {
      // Most small messages come in one piece and are not copied.
      this.#chunks.push(chunk.subarray(start, end));
    } else this.#copy(chunk, start, end);
    if (this.#inHeaderSection && this.#bytes > this.#limits.headerSectionBytesMax) this.#checkHeaderSection();
  }

  #copy(chunk: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      this.#block ??= Buffer.allocUnsafeSlow(copyBlockBytes);
      const copied = chunk.copy(this.#block, this.#blockUsed, at, end);
      at += copied;
      this.#blockUsed += copied;
      if (this.#blockUsed === copyBlockBytes) this.#closeBlock();
    }
  }

  #closeBlock(): void {
    if (this.#block === undefined) return;
    const used = this.#block.subarray(0, this.#blockUsed);
    // The content may stay in memory after its 250: a block that is nearly empty is not kept for it.
    this.#chunks.push(this.#blockUsed < copyBlockBytes / 2 ? Buffer.copyBytesFrom(used) : used);
    this.#block = undefined;
    this.#blockUsed = 0;
  }

  /** No empty line within the limit: either the header section is too long, or the body began without one. */
  #checkHeaderSection(): void {
    this.#closeBlock();
    const head = Buffer.concat(this.#chunks);
    const section = parseHeaderSection(head);
    // A line that is not complete might still be a field.
    const bodyBegan = section?.separator === "missing" && head.indexOf("\r\n", section.bodyStart) !== -1;
    if (bodyBegan) this.#inHeaderSection = false;
    else this.#refuse("header-section-too-long");
  }

  #refuse(fault: ContentFault): void {
    // Bare CR or LF is the one that the client must hear of, whatever was found before it.
    if (this.#fault === undefined || fault === "bare-cr-lf") this.#fault = fault;
    this.dispose();
  }
}

/**
 * Whether one of the word's four octets is at most CR. Exact for each octet below 128 up to the first that is, and octets
 * above 127 never count.
 */
function hasControl(word: number): boolean {
  return ((word - 0x0e0e0e0e) & ~word & 0x80808080) !== 0;
}

function wordsOf(chunk: Buffer, start: number): Int32Array {
  const count = (chunk.length - start) >> 2;
  return count > 0 ? new Int32Array(chunk.buffer, chunk.byteOffset + start, count) : new Int32Array(0);
}
