// Cuts the octets of one session into command lines and contents, in place of smtp-server's own parser.
//
// Why not that one (smtp-server 3.21.6, lib/smtp-stream.js): a bare LF ends its command lines; in DATA it takes bare
// CR and LF and un-stuffs a dot after a bare LF; each stuffed dot costs a turn of the event loop; and it copies the
// end of each chunk. The class is extended all the same, because SMTPConnection pipes sockets into it, sets
// `isClosed`, and makes a new one at STARTTLS (RFC 3207 section 4.2: nothing read in clear lives on).

import { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import type { ContentReader } from "./content-reader.ts";

/** What the stream tells the session. */
export interface CommandSink {
  /** Octets came before the greeting was sent (RFC 5321 section 3.1: the client waits for it). */
  onEarlyInput(): void;
  /** One line without its CRLF. `more`: further octets have come behind it already. */
  onCommand(line: Buffer, more: boolean): void;
  /** A line with a bare CR, LF or NUL in it, or one that is too long; `more` as above. The rest of it is skipped. */
  onBadLine(reason: "bare-line-end" | "too-long"): void;
  /** The rest of a bad line goes on and on. */
  onEndlessLine(): void;
  /** The content's final dot was read, or a chunk of it. */
  onContentEnd(): void;
  onContentOctets(): void;
  /** All input so far has been worked on: time to send the replies. Returns a promise when the client must read first. */
  onInputDone(): Promise<void> | undefined;
  readonly isGreeted: boolean;
}

/** RFC 5321 section 4.5.3.1.4 with room for long DSN parameters. */
export const commandBytesMax = 4 * 1024;
/** RFC 4954 section 4: a line of an AUTH exchange. */
export const authLineBytesMax = 12 * 1024 + 288;
/** The rest of a line that was refused is read to its end, so that it is not obeyed, but not for ever. */
const skippedBytesMax = 2 * 1024 * 1024;

const lf = 0x0a;
const cr = 0x0d;

type WriteCallback = (error?: Error | null) => void;

export class CommandStream extends SMTPStream {
  readonly #sink: CommandSink;
  /** What is being worked on, from #at; undefined between chunks. */
  #chunk: Buffer | undefined;
  #at = 0;
  #next: WriteCallback | undefined;
  /** The begin of a line that is not complete. */
  #partial: Buffer | undefined;
  #skipsLine = false;
  #skippedBytes = 0;
  #paused = false;
  #running = false;
  #reader: ContentReader | undefined;

  constructor(sink: CommandSink) {
    super();
    this.#sink = sink;
  }

  /** From here on octets are content, until its end is reported. */
  startContent(reader: ContentReader): void {
    this.#reader = reader;
  }

  /** Stops between two lines: a command is answered later. Input waits in the socket. */
  pauseCommands(): void {
    this.#paused = true;
  }

  resumeCommands(): void {
    if (!this.#paused) return;
    this.#paused = false;
    // A handler may answer at once: then the loop is still running and goes on by itself.
    if (!this.#running) this.#run();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding | "buffer", next: WriteCallback): void {
    this.#chunk = chunk;
    this.#at = 0;
    this.#next = next;
    this.#run();
  }

  /** A line without its CRLF at the end of the connection is no command. */
  override _flushData(): void {}

  #run(): void {
    this.#running = true;
    try {
      while (!this.#paused && !this.isClosed && this.#chunk !== undefined && this.#at < this.#chunk.length) {
        if (!this.#sink.isGreeted) this.#sink.onEarlyInput();
        else if (this.#reader === undefined) this.#readLine(this.#chunk);
        else this.#readContent(this.#chunk, this.#reader);
      }
    } finally {
      this.#running = false;
    }
    if (this.#paused && !this.isClosed) {
      // The command that waits may take long; what was answered before it goes out now.
      void this.#sink.onInputDone();
      return;
    }
    this.#finishChunk();
  }

  #finishChunk(): void {
    const next = this.#next;
    this.#chunk = undefined;
    this.#next = undefined;
    if (next === undefined) return;
    const mustRead = this.isClosed ? undefined : this.#sink.onInputDone();
    if (mustRead === undefined) next();
    else mustRead.then(() => next());
  }

  #readContent(chunk: Buffer, reader: ContentReader): void {
    const end = reader.read(chunk, this.#at);
    if (end === -1) {
      this.#at = chunk.length;
      this.#sink.onContentOctets();
      return;
    }
    this.#at = end;
    this.#reader = undefined;
    this.#sink.onContentEnd();
  }

  #readLine(chunk: Buffer): void {
    const lineEnd = this.#findLineEnd(chunk);
    if (lineEnd === -1) {
      this.#keepPartial(chunk);
      return;
    }
    const start = this.#at;
    this.#at = lineEnd + 1;
    if (this.#skipsLine) {
      this.#skipsLine = false;
      this.#partial = undefined;
      return;
    }
    const line = joined(this.#partial, chunk.subarray(start, lineEnd));
    this.#partial = undefined;
    // The octet before the LF is the CR.
    const text = line.subarray(0, line.length - 1);
    if (text.indexOf(cr) !== -1 || text.indexOf(lf) !== -1 || text.indexOf(0) !== -1) {
      this.#sink.onBadLine("bare-line-end");
    } else if (text.length > authLineBytesMax) this.#sink.onBadLine("too-long");
    else this.#sink.onCommand(text, this.#at < chunk.length);
  }

  /** The offset of the LF of the next CRLF, or -1. A bare LF ends nothing. */
  #findLineEnd(chunk: Buffer): number {
    let from = this.#at;
    for (;;) {
      const newline = chunk.indexOf(lf, from);
      if (newline === -1) return -1;
      const before = newline === this.#at ? this.#partial?.at(-1) : chunk[newline - 1];
      if (before === cr) return newline;
      from = newline + 1;
    }
  }

  #keepPartial(chunk: Buffer): void {
    const rest = chunk.subarray(this.#at);
    this.#at = chunk.length;
    if (this.#skipsLine) {
      // Only the last octet matters: whether it is the CR of the CRLF that ends the line.
      this.#partial = Buffer.from(rest.subarray(rest.length - 1));
      this.#skippedBytes += rest.length;
      if (this.#skippedBytes > skippedBytesMax) this.#sink.onEndlessLine();
      return;
    }
    const partial = joined(this.#partial, rest);
    const hasBareLf = rest.indexOf(lf) !== -1;
    if (hasBareLf || partial.length > authLineBytesMax + 1) {
      // Said at once: a client that ends lines with LF alone would wait for the reply.
      this.#skipsLine = true;
      this.#skippedBytes = 0;
      this.#partial = Buffer.from(rest.subarray(rest.length - 1));
      this.#sink.onBadLine(hasBareLf ? "bare-line-end" : "too-long");
      return;
    }
    // Copied: the line is short, the chunk behind it may not be.
    this.#partial = this.#partial === undefined ? Buffer.from(partial) : partial;
  }
}

function joined(head: Buffer | undefined, tail: Buffer): Buffer {
  return head === undefined ? tail : Buffer.concat([head, tail]);
}
