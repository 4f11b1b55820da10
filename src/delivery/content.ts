// The content of a message in blocks for the wire: whole or not at all.

import { DotStuffer } from "../smtp/dot-stuffing.ts";
import type { Work } from "./delivery.ts";

/** One write, and one BDAT chunk (RFC 3030), holds about so much. */
export const blockBytesMax = 262_144;

export interface Block {
  readonly chunks: Buffer[];
  readonly bytes: number;
  readonly isLast: boolean;
}

/** Octets of the content as the peer gets it, before dot-stuffing: what SIZE declares (RFC 1870 section 6.1). */
export function sentBytes(work: Work): number {
  return work.addedHeaders.length + work.message.contentBytes;
}

/**
 * Reads a content block by block, the added header fields first, without copying. A block is called the last only
 * after the store has vouched for the whole of it and the octets were counted: who stops before has sent nothing
 * complete.
 */
class BlockReader {
  readonly #work: Work;
  readonly #totalBytes: number;
  #chunks: Iterator<Buffer> | undefined;
  #pending: Buffer | undefined;
  #readBytes = 0;

  constructor(work: Work) {
    this.#work = work;
    this.#totalBytes = sentBytes(work);
    this.#pending = work.addedHeaders.length > 0 ? work.addedHeaders : undefined;
  }

  /** Throws when the stored content is damaged. */
  next(): Block {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for (;;) {
      const chunk = this.#pending ?? this.#read();
      this.#pending = undefined;
      if (chunk === undefined) break;
      if (bytes > 0 && bytes + chunk.length > blockBytesMax) {
        this.#pending = chunk;
        return { chunks, bytes, isLast: false };
      }
      bytes += chunk.length;
      this.#readBytes += chunk.length;
      chunks.push(chunk);
    }
    if (this.#readBytes !== this.#totalBytes) {
      throw new Error(`the content has ${this.#readBytes} octets, not ${this.#totalBytes}`);
    }
    return { chunks, bytes, isLast: true };
  }

  #read(): Buffer | undefined {
    this.#chunks ??= this.#work.content()[Symbol.iterator]();
    const next = this.#chunks.next();
    return next.done ? undefined : next.value;
  }
}

/** The content as it goes over the wire: stuffed where DATA needs it (RFC 5321 section 4.5.2). */
export class WireContent {
  readonly #reader: BlockReader;
  readonly #stuffer: DotStuffer | undefined;
  /** Whether what was read so far ends with a line end, so that the final dot can follow. */
  isLineEnded = true;

  constructor(work: Work, byData: boolean) {
    this.#reader = new BlockReader(work);
    this.#stuffer = byData && work.message.hasDotLines ? new DotStuffer() : undefined;
  }

  /** Throws when the stored content is damaged. */
  next(): Block {
    const block = this.#reader.next();
    if (block.bytes > 0) this.isLineEnded = endsLine(block.chunks);
    const stuffer = this.#stuffer;
    if (stuffer === undefined) return block;
    return { ...block, chunks: block.chunks.map((chunk) => stuffer.stuff(chunk)) };
  }
}

/** Whether the blocks' last line is ended, so that the final dot can follow. An empty content needs no line end. */
function endsLine(chunks: readonly Buffer[]): boolean {
  let wanted = 10;
  for (let i = chunks.length - 1; i >= 0; i--) {
    const chunk = chunks[i] as Buffer;
    for (let at = chunk.length - 1; at >= 0; at--) {
      if (chunk[at] !== wanted) return false;
      if (wanted === 13) return true;
      wanted = 13;
    }
  }
  return chunks.every((chunk) => chunk.length === 0);
}
