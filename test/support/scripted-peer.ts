// Receivers for tests: an SMTP server without a network, which behaves as it should or as badly as the test says.

import type { TlsInfo } from "../../src/core/attempt.ts";
import { type Connection, type ConnectOptions, type Network, NetworkError } from "../../src/core/network.ts";
import type { Random } from "../../src/core/random.ts";

/** A reply without its last CRLF, and what the peer does after it. An empty reply says nothing. */
export type Answer = string | { readonly reply: string; readonly ending: "close" | "reset" | "hang" };

export interface ReceivedMessage {
  readonly mail: string;
  readonly rcpts: readonly string[];
  /** Without stuffing and final dot. */
  readonly content: string;
}

export interface PeerBehaviour {
  readonly banner?: Answer;
  /** Keywords of EHLO; default PIPELINING, 8BITMIME, SIZE. */
  readonly extensions?: readonly string[];
  /** Keywords after STARTTLS; default: the same without STARTTLS. */
  readonly extensionsInTls?: readonly string[];
  /** The answer to a command line, or undefined for the usual one. Seen in order, RSET and QUIT included. */
  readonly answer?: (line: string, session: PeerSession) => Answer | undefined;
  /** The answer to the final dot or to the last BDAT, or undefined for 250. */
  readonly verdict?: (message: ReceivedMessage, session: PeerSession) => Answer | undefined;
  /** Loses what comes in one segment behind the first command, as peers do that cannot pipeline. */
  readonly losesPipelined?: boolean;
  readonly tls?: "fails" | "hangs" | TlsInfo;
  /** The connection is cut after so many octets from the client. */
  readonly cutAfterClientBytes?: number;
  /** The connection is cut after so many octets to the client. */
  readonly cutAfterPeerBytes?: number;
  readonly cutBy?: "close" | "reset";
  /** Takes content but never drains. */
  readonly neverDrains?: boolean;
}

export const goodTls: TlsInfo = { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", verified: true };

/** A step of a script: a command line (whole, or by pattern) and the answer. */
export interface Step {
  readonly expect: string | RegExp;
  readonly answer: Answer;
}

/** A behaviour that follows a script to the letter, and answers 500 to what the script does not expect. */
export function scripted(steps: readonly Step[], rest: PeerBehaviour = {}): PeerBehaviour {
  let at = 0;
  return {
    ...rest,
    answer: (line) => {
      const step = steps[at];
      if (step === undefined) return "500 5.5.1 beyond the script";
      const fits = typeof step.expect === "string" ? step.expect === line : step.expect.test(line);
      if (!fits) return `500 5.5.1 expected ${step.expect}`;
      at++;
      return step.answer;
    },
  };
}

/** Receivers by IP address. An address without one refuses the connection. */
export class SimNetwork implements Network {
  readonly receivers = new Map<string, PeerBehaviour | "refuse" | "blackhole">();
  readonly sessions: PeerSession[] = [];
  readonly #random: Random | undefined;

  /** With `random` what each side sends is cut at random places. */
  constructor(random?: Random) {
    this.#random = random;
  }

  connect(options: ConnectOptions): Promise<Connection> {
    const behaviour = this.receivers.get(options.address) ?? "refuse";
    if (behaviour === "refuse") {
      return Promise.reject(new NetworkError("ECONNREFUSED", `connect ECONNREFUSED ${options.address}`));
    }
    if (behaviour === "blackhole") {
      return Promise.reject(new NetworkError("ETIMEDOUT", `no connection to ${options.address}`));
    }
    const session = new PeerSession(options, behaviour, this.#random);
    this.sessions.push(session);
    return Promise.resolve(session.connection);
  }

  /** All messages that receivers took responsibility for. */
  get delivered(): ReceivedMessage[] {
    return this.sessions.flatMap((session) => session.delivered);
  }
}

/** One session as the receiver sees it. */
export class PeerSession {
  readonly connection: SimConnection;
  readonly behaviour: PeerBehaviour;
  /** Command lines in the order they were taken. */
  readonly commands: string[] = [];
  /** Messages that the peer accepted, whether or not its reply got through. */
  readonly delivered: ReceivedMessage[] = [];
  /** Writes of the client, as many as system calls it would make. */
  readonly writes: string[] = [];
  inTls = false;
  hasClientClosed = false;
  #input = Buffer.alloc(0);
  #mode: { kind: "command" } | { kind: "data" } | { kind: "bdat"; left: number; last: boolean } | { kind: "over" } = {
    kind: "command",
  };
  #mail: string | undefined;
  #rcpts: string[] = [];
  #content: Buffer[] = [];
  #isHanging = false;
  #failedBdat = false;
  #clientBytes = 0;
  #peerBytes = 0;

  constructor(options: ConnectOptions, behaviour: PeerBehaviour, random: Random | undefined) {
    this.behaviour = behaviour;
    this.connection = new SimConnection(options, this, random);
    this.say(behaviour.banner ?? "220 mx.example ESMTP");
  }

  /** Octets from the client, one write. */
  take(octets: Buffer): void {
    this.writes.push(octets.toString("latin1"));
    const cutAt = this.behaviour.cutAfterClientBytes;
    let part = octets;
    if (cutAt !== undefined && this.#clientBytes + octets.length >= cutAt) {
      part = octets.subarray(0, Math.max(0, cutAt - this.#clientBytes));
    }
    this.#clientBytes += octets.length;
    if (this.#mode.kind !== "over" && !this.#isHanging) {
      this.#input = Buffer.concat([this.#input, part]);
      this.#work();
    }
    if (part !== octets || (cutAt !== undefined && this.#clientBytes >= cutAt)) this.#cut();
  }

  say(answer: Answer): void {
    const reply = typeof answer === "string" ? answer : answer.reply;
    if (reply !== "") this.sendRaw(`${reply}\r\n`);
    if (typeof answer === "string") return;
    if (answer.ending === "hang") this.#isHanging = true;
    else this.end(answer.ending);
  }

  sendRaw(text: string): void {
    const octets = Buffer.from(text, "latin1");
    const cutAt = this.behaviour.cutAfterPeerBytes;
    if (cutAt !== undefined && this.#peerBytes + octets.length >= cutAt) {
      this.connection.fromPeer(octets.subarray(0, Math.max(0, cutAt - this.#peerBytes)));
      this.#peerBytes += octets.length;
      this.#cut();
      return;
    }
    this.#peerBytes += octets.length;
    this.connection.fromPeer(octets);
  }

  end(by: "close" | "reset"): void {
    this.#mode = { kind: "over" };
    this.connection.endedByPeer(by);
  }

  startedTls(): void {
    this.inTls = true;
    this.#input = Buffer.alloc(0);
    this.#clear();
  }

  #cut(): void {
    this.end(this.behaviour.cutBy ?? "close");
  }

  #clear(): void {
    this.#mail = undefined;
    this.#rcpts = [];
    this.#content = [];
    this.#failedBdat = false;
  }

  #work(): void {
    let isFirst = true;
    while (this.#mode.kind !== "over" && !this.#isHanging) {
      if (this.#mode.kind === "bdat") {
        if (this.#input.length < this.#mode.left) return;
        const { left, last } = this.#mode;
        this.#content.push(this.#input.subarray(0, left));
        this.#input = this.#input.subarray(left);
        this.#mode = { kind: "command" };
        this.#endOfChunk(last, left);
      } else if (this.#mode.kind === "data") {
        const text = this.#input.toString("latin1");
        const end = text.startsWith(".\r\n") ? 0 : text.indexOf("\r\n.\r\n") + 2;
        if (end === 1) return;
        this.#input = this.#input.subarray(end + 3);
        this.#mode = { kind: "command" };
        this.#endOfMessage(text.slice(0, end).replace(/(^|\r\n)\./g, "$1"));
      } else {
        const end = this.#input.indexOf("\r\n");
        if (end === -1) return;
        const line = this.#input.toString("utf8", 0, end);
        this.#input = this.#input.subarray(end + 2);
        this.#command(line);
        if (isFirst && this.behaviour.losesPipelined && this.#mode.kind === "command") this.#input = Buffer.alloc(0);
        isFirst = false;
      }
    }
  }

  #command(line: string): void {
    this.commands.push(line);
    const verb = line.split(/[ :]/, 1)[0]?.toUpperCase() ?? "";
    const own = this.behaviour.answer?.(line, this);
    const usual = this.#usual(verb, line);
    const answer = own ?? usual;
    const code = Number((typeof answer === "string" ? answer : answer.reply).slice(0, 3));
    this.#effect(verb, line, code);
    this.say(answer);
  }

  #usual(verb: string, line: string): Answer {
    switch (verb) {
      case "EHLO":
        return ["mx.example", ...this.#keywords()]
          .map((text, i, all) => `250${i + 1 < all.length ? "-" : " "}${text}`)
          .join("\r\n");
      case "STARTTLS":
        return "220 go ahead";
      case "RCPT":
        return this.#mail === undefined ? "503 5.5.1 MAIL first" : "250 2.1.5 ok";
      case "DATA":
        return this.#rcpts.length === 0 ? "503 5.5.1 no valid recipients" : "354 go ahead";
      case "BDAT":
        // Answered after the chunk.
        return "";
      case "MAIL":
        return this.#mail === undefined ? "250 2.1.0 ok" : "503 5.5.1 nested MAIL";
      case "QUIT":
        return { reply: "221 2.0.0 bye", ending: "close" };
      case "HELO":
      case "RSET":
      case "NOOP":
        return "250 2.0.0 ok";
      default:
        return `500 5.5.2 what is ${line.slice(0, 20)}`;
    }
  }

  #keywords(): readonly string[] {
    const { extensions = ["PIPELINING", "8BITMIME", "SIZE"], extensionsInTls } = this.behaviour;
    if (!this.inTls) return extensions;
    return extensionsInTls ?? extensions.filter((keyword) => keyword !== "STARTTLS");
  }

  #effect(verb: string, line: string, code: number): void {
    if (verb === "BDAT") {
      const size = Number(line.split(" ")[1]);
      // A peer that does not know BDAT takes the content for commands; one that refuses it still reads the octets.
      if (Number.isNaN(code) || code === 0 || code === 503)
        this.#mode = { kind: "bdat", left: size, last: / LAST$/i.test(line) };
      if (code === 503) this.#failedBdat = true;
      return;
    }
    if (verb === "EHLO" || verb === "HELO" || verb === "RSET") this.#clear();
    if (verb !== "DATA" && code >= 300) return;
    if (verb === "MAIL") {
      this.#clear();
      this.#mail = line;
    }
    if (verb === "RCPT") this.#rcpts.push(line);
    if (verb === "DATA" && code === 354) this.#mode = { kind: "data" };
  }

  #endOfChunk(last: boolean, size: number): void {
    if (this.#failedBdat) return;
    if (this.#rcpts.length === 0) {
      this.say("503 5.5.1 no valid recipients");
      return;
    }
    if (!last) this.say(`250 2.0.0 ${size} octets`);
    else this.#endOfMessage(Buffer.concat(this.#content).toString("latin1"));
  }

  #endOfMessage(content: string): void {
    const message: ReceivedMessage = { mail: this.#mail ?? "", rcpts: this.#rcpts, content };
    const hasRecipients = this.#rcpts.length > 0;
    this.#clear();
    const answer = hasRecipients ? (this.behaviour.verdict?.(message, this) ?? "250 2.0.0 queued") : "554 5.5.1 nobody";
    const reply = typeof answer === "string" ? answer : answer.reply;
    if (reply.startsWith("2") || reply === "") this.delivered.push(message);
    this.say(answer);
  }
}

/** The client's end. Octets cross in turns of the event loop, in order, and perhaps in pieces. */
class SimConnection implements Connection {
  readonly remoteAddress: string;
  readonly localAddress: string;
  onData: (chunk: Buffer) => void = () => {};
  onClose: (error: NetworkError | undefined) => void = () => {};
  readonly #peer: PeerSession;
  readonly #random: Random | undefined;
  readonly #events: (() => void)[] = [];
  #isPumping = false;
  #isOver = false;
  #isEndedByPeer = false;

  constructor(options: ConnectOptions, peer: PeerSession, random: Random | undefined) {
    this.remoteAddress = options.address;
    this.localAddress = options.localAddress ?? "127.0.0.1";
    this.#peer = peer;
    this.#random = random;
  }

  write(chunks: readonly Uint8Array[]): Promise<void> | undefined {
    if (this.#isOver) return undefined;
    const octets = Buffer.concat(chunks);
    this.#later(() => {
      if (!this.#isEndedByPeer) this.#peer.take(octets);
    });
    return this.#peer.behaviour.neverDrains && octets.length > 1_000 ? new Promise(() => {}) : undefined;
  }

  async startTls(): Promise<TlsInfo> {
    const { tls = goodTls } = this.#peer.behaviour;
    if (tls === "hangs") throw new NetworkError("ETIMEDOUT", "no TLS session in time");
    if (tls === "fails") throw new NetworkError("EPROTO", "wrong version number");
    this.#peer.startedTls();
    return tls;
  }

  end(): void {
    this.destroy();
    queueMicrotask(() => this.onClose(undefined));
  }

  destroy(): void {
    this.#isOver = true;
    this.#peer.hasClientClosed = true;
  }

  fromPeer(octets: Buffer): void {
    if (this.#isEndedByPeer) return;
    for (const piece of pieces(octets, this.#random)) this.#later(() => this.onData(piece));
  }

  endedByPeer(by: "close" | "reset"): void {
    if (this.#isEndedByPeer) return;
    this.#isEndedByPeer = true;
    const error = by === "reset" ? new NetworkError("ECONNRESET", "read ECONNRESET") : undefined;
    this.#later(() => {
      this.#isOver = true;
      this.onClose(error);
    });
  }

  #later(event: () => void): void {
    this.#events.push(event);
    if (this.#isPumping) return;
    this.#isPumping = true;
    setImmediate(() => this.#pump());
  }

  #pump(): void {
    const event = this.#events.shift();
    if (!this.#isOver) event?.();
    else this.#events.length = 0;
    if (this.#events.length > 0) setImmediate(() => this.#pump());
    else this.#isPumping = false;
  }
}

function pieces(octets: Buffer, random: Random | undefined): Buffer[] {
  if (random === undefined) return [octets];
  const out: Buffer[] = [];
  for (let from = 0; from < octets.length; ) {
    const size = 1 + random.integer(octets.length - from);
    out.push(octets.subarray(from, from + size));
    from += size;
  }
  return out;
}
