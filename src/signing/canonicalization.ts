// Relaxed canonicalization of header fields and body (RFC 6376 sections 3.4.2 and 3.4.4).
//
// Octets of header fields travel as latin1 text: one character for each octet, so that nothing is lost or decoded.

/**
 * One header field in relaxed form, without the CRLF at its end. `raw` is the field as it stands in the message,
 * folds included, final CRLF excluded; it must hold a colon. Never use String.trim here: it would also take 0xA0, which
 * is part of many UTF-8 characters.
 */
export function relaxedField(raw: string): string {
  const colon = raw.indexOf(":");
  const name = withoutBlanksAtEnds(raw.slice(0, colon)).toLowerCase();
  return `${name}:${relaxedValue(raw.slice(colon + 1))}`;
}

function relaxedValue(value: string): string {
  const unfolded = value.includes("\r\n") ? value.replaceAll("\r\n", "") : value;
  const reduced = /\t| {2}/.test(unfolded) ? unfolded.replace(/[ \t]+/g, " ") : unfolded;
  return withoutBlanksAtEnds(reduced);
}

function withoutBlanksAtEnds(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return from === 0 && to === text.length ? text : text.slice(from, to);
}

const tab = 0x09;
const lf = 0x0a;
const cr = 0x0d;
const space = 0x20;

function isBlank(octet: number | undefined): boolean {
  return octet === space || octet === tab;
}

/** What the body is looked at in one go: small enough for the processor's cache. */
export const windowBytes = 8 * 1024;

const crlf = Buffer.from("\r\n");
const oneSpace = Buffer.from(" ");
const oneCr = Buffer.from("\r");
const oneLf = Buffer.from("\n");

/**
 * What cannot be passed on as it is: a tab, two blanks in a row, blanks at the end of a line. A blank before a bare CR
 * is found too and does no harm. Compiled by V8, this is faster than any loop, and quickest on base64.
 */
const irregular = /\t| [ \r]/;

/**
 * Turns a body, given in pieces cut anywhere, into its relaxed form (RFC 6376 section 3.4.4) and hands that on in
 * pieces. A piece is valid during the call of `sink` only. Pieces without blanks to reduce are slices of the input;
 * the others are written into `scratch`, which must hold `windowBytes` octets and may be used again by the next body.
 *
 * The body is words with gaps between them, gaps being blanks and line ends. A gap is kept back until the next word,
 * for the blanks before a line end and the empty lines before the end are to vanish. A bare CR or LF, which ingest
 * refuses, counts as a word.
 */
export class RelaxedBody {
  readonly #sink: (octets: Buffer) => void;
  readonly #scratch: Buffer;
  #gapLines = 0;
  #gapBlank = false;
  #gapCr = false;
  #empty = true;

  constructor(scratch: Buffer, sink: (octets: Buffer) => void) {
    this.#scratch = scratch;
    this.#sink = sink;
  }

  write(chunk: Buffer): void {
    for (let from = 0; from < chunk.length; from += windowBytes) {
      this.#writeWindow(chunk.subarray(from, from + windowBytes));
    }
  }

  /** A body that is not empty gets exactly one line end; of one with nothing but gaps nothing is left. */
  end(): void {
    if (this.#gapCr) this.#word(oneCr);
    if (!this.#empty) this.#sink(crlf);
  }

  #writeWindow(window: Buffer): void {
    const from = this.#gap(window, 0);
    if (from === window.length) return;
    let to = window.length;
    while (to > from && isGap(window[to - 1])) to--;
    const words = window.subarray(from, to);
    this.#word(irregular.test(words.toString("latin1")) ? this.#reduce(words) : words);
    this.#gap(window, to);
  }

  /** Takes gap octets from `from` on; returns where the next word begins, or the window's length. */
  #gap(window: Buffer, from: number): number {
    for (let at = from; at < window.length; at++) {
      const octet = window[at];
      if (this.#gapCr) {
        this.#gapCr = false;
        if (octet === lf) {
          this.#gapLines++;
          this.#gapBlank = false;
          continue;
        }
        this.#word(oneCr);
      }
      if (isBlank(octet)) this.#gapBlank = true;
      else if (octet === cr) this.#gapCr = true;
      else if (octet === lf) this.#word(oneLf);
      else return at;
    }
    return window.length;
  }

  #word(octets: Buffer): void {
    for (; this.#gapLines > 0; this.#gapLines--) this.#sink(crlf);
    if (this.#gapBlank) this.#sink(oneSpace);
    this.#gapBlank = false;
    this.#empty = false;
    this.#sink(octets);
  }

  /** Copies words with blanks reduced. `words` begins and ends with a word. */
  #reduce(words: Buffer): Buffer {
    const out = this.#scratch;
    let length = 0;
    let blank = false;
    for (let at = 0; at < words.length; at++) {
      const octet = words[at] as number;
      if (octet === space || octet === tab) {
        blank = true;
        continue;
      }
      if (blank) {
        blank = false;
        if (!(octet === cr && words[at + 1] === lf)) out[length++] = space;
      }
      out[length++] = octet;
    }
    return out.subarray(0, length);
  }
}

function isGap(octet: number | undefined): boolean {
  return octet === space || octet === lf || octet === cr || octet === tab;
}
