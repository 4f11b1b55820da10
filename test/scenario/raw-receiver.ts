// A receiver that keeps every octet: what stood on the wire, what a strict reader takes for the content, and whatever
// it was sent out of turn. It leans to no side: only CRLF ends a line, only CRLF.CRLF ends DATA (RFC 5321 section 2.3.8).

import { createServer, type Server, type Socket } from "node:net";
import { modelContent } from "../ingest/content-model.ts";

export interface Copy {
  readonly mail: string;
  readonly rcpts: readonly string[];
  /** In DATA the octets from 354 to the final dot, with it; in BDAT those of all chunks. */
  readonly wire: Buffer;
  readonly content: Buffer;
}

const commandPattern =
  /^(?:EHLO [!-~]+|HELO [!-~]+|MAIL FROM:<[^\r\n]*|RCPT TO:<[^\r\n]+|DATA|BDAT \d+(?: LAST)?|RSET|QUIT)$/;
const lineEnd = Buffer.from("\r\n");
const cr = 13;
const lf = 10;

export class RawReceiver {
  readonly copies: Copy[] = [];
  /** Lines that no client may send here. */
  readonly strays: string[] = [];
  readonly #extensions: readonly string[];
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;

  /** `extensions`: EHLO keywords. Without PIPELINING a command that comes before the reply to the last one is a stray. */
  constructor(extensions: readonly string[]) {
    this.#extensions = extensions;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => this.#sockets.delete(socket));
      new RawSession(socket, this.#extensions, this.copies, this.strays);
    });
  }

  /** Returns the port. */
  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, host, resolve);
    });
    return (this.#server.address() as { port: number }).port;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

class RawSession {
  readonly #socket: Socket;
  readonly #extensions: readonly string[];
  readonly #copies: Copy[];
  readonly #strays: string[];
  #input: Buffer[] = [];
  #mail = "";
  #rcpts: string[] = [];
  #chunks: Buffer[] = [];
  #phase: "command" | "data" | { readonly left: number; readonly last: boolean } = "command";
  /** The last octets of the content so far; at its begin the line end before it, so that an empty content ends, too. */
  #tail: Buffer = lineEnd;

  constructor(socket: Socket, extensions: readonly string[], copies: Copy[], strays: string[]) {
    this.#socket = socket;
    this.#extensions = extensions;
    this.#copies = copies;
    this.#strays = strays;
    socket.write("220 raw.test ESMTP\r\n");
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
  }

  #take(chunk: Buffer): void {
    this.#input.push(chunk);
    // The end of DATA is looked for in what is new: a long content would else be searched again and again.
    if (this.#phase === "data") {
      const seen = Buffer.concat([this.#tail, chunk]);
      this.#tail = seen.subarray(-4);
      if (seen.indexOf("\r\n.\r\n") === -1) return;
    }
    while (this.#step()) {}
  }

  #joined(): Buffer {
    const all = this.#input.length === 1 ? (this.#input[0] as Buffer) : Buffer.concat(this.#input);
    this.#input = [all];
    return all;
  }

  #rest(input: Buffer, from: number): void {
    this.#input = from < input.length ? [input.subarray(from)] : [];
  }

  #step(): boolean {
    if (this.#input.length === 0) return false;
    const input = this.#joined();
    if (this.#phase === "data") return this.#readData(input);
    if (this.#phase !== "command") return this.#readChunk(input, this.#phase);
    let end = input.indexOf(lf);
    while (end > 0 && input[end - 1] !== cr) end = input.indexOf(lf, end + 1);
    if (end < 1) return false;
    const line = input.toString("latin1", 0, end - 1);
    this.#rest(input, end + 1);
    if (!this.#extensions.includes("PIPELINING") && this.#input.length > 0 && !line.startsWith("BDAT ")) {
      this.#strays.push(`octets behind ${line}`);
    }
    this.#obey(line);
    return true;
  }

  #readData(input: Buffer): boolean {
    const end = input.indexOf(".\r\n") === 0 ? 3 : input.indexOf("\r\n.\r\n") + 5;
    if (end === 4) return false;
    const wire = Buffer.from(input.subarray(0, end));
    this.#rest(input, end);
    this.#phase = "command";
    const text = modelContent(wire.toString("latin1"))?.content ?? "";
    this.#keep(wire, Buffer.from(text, "latin1"));
    return true;
  }

  #readChunk(input: Buffer, { left, last }: { left: number; last: boolean }): boolean {
    const taken = Math.min(left, input.length);
    this.#chunks.push(Buffer.from(input.subarray(0, taken)));
    this.#rest(input, taken);
    if (taken < left) {
      this.#phase = { left: left - taken, last };
      return false;
    }
    this.#phase = "command";
    if (last) {
      const content = Buffer.concat(this.#chunks);
      this.#keep(content, content);
    } else this.#say("250 2.0.0 chunk");
    return true;
  }

  #keep(wire: Buffer, content: Buffer): void {
    this.#copies.push({ mail: this.#mail, rcpts: this.#rcpts, wire, content });
    this.#mail = "";
    this.#rcpts = [];
    this.#chunks = [];
    this.#say("250 2.0.0 kept");
  }

  #obey(line: string): void {
    if (!commandPattern.test(line)) this.#strays.push(line.slice(0, 200));
    const verb = line.slice(0, 4);
    switch (verb) {
      case "EHLO":
        this.#say(
          ...["raw.test", ...this.#extensions].map((text, at, all) => `250${at + 1 < all.length ? "-" : " "}${text}`),
        );
        return;
      case "MAIL":
        this.#mail = line;
        break;
      case "RCPT":
        this.#rcpts.push(line);
        break;
      case "DATA":
        this.#phase = "data";
        this.#tail = lineEnd;
        this.#say("354 go on");
        return;
      case "BDAT": {
        const [, bytes, last] = line.split(" ");
        this.#phase = { left: Number(bytes), last: last === "LAST" };
        if (Number(bytes) === 0 && this.#input.length === 0) this.#readChunk(Buffer.alloc(0), this.#phase);
        return;
      }
      case "RSET":
        this.#mail = "";
        this.#rcpts = [];
        this.#chunks = [];
        break;
      case "QUIT":
        this.#say("221 2.0.0 bye");
        this.#socket.end();
        return;
    }
    this.#say("250 2.0.0 ok");
  }

  #say(...lines: string[]): void {
    if (this.#socket.writable) this.#socket.write(lines.map((line) => `${line}\r\n`).join(""));
  }
}
