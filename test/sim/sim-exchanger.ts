// A simulated exchanger: an SMTP receiver with moods, drawn from the world's seed. It records what it took.

import type { Random } from "../../src/core/random.ts";
import type { Clock, Instant, Millis } from "../../src/core/time.ts";
import type { Answer, SimPeer, SimPeerSide } from "./sim-network.ts";

/** How an exchanger behaves until the world is healthy. Shares are between 0 and 1. */
export interface Moods {
  readonly pipelining: boolean;
  readonly chunking: boolean;
  readonly eightBitMime: boolean;
  readonly dsn: boolean;
  readonly startTls: boolean;
  readonly refuseConnectShare: number;
  readonly hangConnectShare: number;
  readonly banner421Share: number;
  readonly mailTransientShare: number;
  readonly rcptTransientShare: number;
  readonly dataTransientShare: number;
  readonly dotTransientShare: number;
  readonly dotPermanentShare: number;
  /** The connection breaks at some command. */
  readonly breakShare: number;
  /** The message is taken, and the reply never arrives (RFC 1047). */
  readonly lostReplyShare: number;
  /** The content arrives and the connection breaks before it is taken. */
  readonly breakAtDotShare: number;
  readonly greylistMs: Millis;
  readonly messagesPerConnection: number;
  readonly closeStyle: "421" | "silent";
  readonly downFrom: Instant;
  readonly downUntil: Instant;
  readonly replyDelayMs: Millis;
}

export interface Taken {
  readonly at: Instant;
  readonly exchanger: string;
  readonly forwardPaths: readonly string[];
  readonly content: Buffer;
  /** Whether the client got the reply, as far as the exchanger can know. */
  readonly replySent: boolean;
}

export interface ExchangerOptions {
  readonly host: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly moods: Moods;
  readonly healthyAt: Instant;
  readonly knows: (forwardPath: string) => boolean;
  readonly connectionsMax: number;
  readonly messagesPerConnectionMax: number;
  readonly taken: (taken: Taken) => void;
  readonly breach: (text: string) => void;
}

export class SimExchanger {
  readonly options: ExchangerOptions;
  readonly seen = new Map<string, Instant>();
  readonly #open = new Map<string, number>();

  constructor(options: ExchangerOptions) {
    this.options = options;
  }

  get healthy(): boolean {
    return this.options.clock.now() >= this.options.healthyAt;
  }

  chance(share: number): boolean {
    return !this.healthy && this.options.random.next() < share;
  }

  answer(): Answer {
    const { moods, clock } = this.options;
    const now = clock.now();
    if (!this.healthy && now >= moods.downFrom && now < moods.downUntil) return { kind: "refuse" };
    if (this.chance(moods.refuseConnectShare)) return { kind: "refuse" };
    if (this.chance(moods.hangConnectShare)) return { kind: "hang" };
    return { kind: "accept", attach: (side) => new Session(this, side) };
  }

  opened(source: string): void {
    const open = (this.#open.get(source) ?? 0) + 1;
    this.#open.set(source, open);
    if (open > this.options.connectionsMax)
      this.options.breach(`${open} connections from ${source} to ${this.options.host}`);
  }

  closed(source: string): void {
    this.#open.set(source, (this.#open.get(source) ?? 1) - 1);
  }
}

type Mode =
  | { readonly kind: "command" }
  | { readonly kind: "data" }
  | { readonly kind: "bdat"; left: number; readonly last: boolean };

class Session implements SimPeer {
  readonly #exchanger: SimExchanger;
  readonly #side: SimPeerSide;
  #mode: Mode = { kind: "command" };
  #input = Buffer.alloc(0);
  #content: Buffer[] = [];
  #mail = false;
  #recipients: string[] = [];
  #refusedBdat = false;
  #messages = 0;
  /** A message whose recipients need several transactions counts once. */
  readonly #distinct = new Set<string>();
  #over = false;

  constructor(exchanger: SimExchanger, side: SimPeerSide) {
    this.#exchanger = exchanger;
    this.#side = side;
    exchanger.opened(side.source);
    const { moods, host } = exchanger.options;
    if (exchanger.chance(moods.banner421Share)) {
      this.#reply("421 4.3.2 too busy, try later");
      this.#close("fin");
    } else this.#reply(`220 ${host} ESMTP`);
  }

  ended(): void {
    if (this.#over) return;
    this.#over = true;
    this.#exchanger.closed(this.#side.source);
  }

  receive(octets: Buffer): void {
    if (this.#over) return;
    this.#input = Buffer.concat([this.#input, octets]);
    while (!this.#over && this.#step()) {
      // Each step takes one command or one piece of content.
    }
  }

  #step(): boolean {
    switch (this.#mode.kind) {
      case "data":
        return this.#data();
      case "bdat":
        return this.#bdat(this.#mode);
      case "command": {
        const end = this.#input.indexOf("\r\n");
        if (end === -1) return false;
        const line = this.#input.subarray(0, end).toString("utf8");
        this.#input = this.#input.subarray(end + 2);
        this.#command(line);
        return true;
      }
    }
  }

  #command(line: string): void {
    const exchanger = this.#exchanger;
    const { moods, knows } = exchanger.options;
    if (exchanger.chance(moods.breakShare)) {
      this.#close(exchanger.options.random.next() < 0.5 ? "fin" : "reset");
      return;
    }
    const verb = line.split(" ", 1)[0]?.toUpperCase() ?? "";
    switch (verb) {
      case "EHLO":
        this.#ehlo();
        return;
      case "HELO":
      case "NOOP":
        this.#reply("250 OK");
        return;
      case "RSET":
        this.#reset();
        this.#reply("250 2.0.0 flushed");
        return;
      case "STARTTLS":
        this.#reply("220 2.0.0 go ahead");
        return;
      case "QUIT":
        this.#reply("221 2.0.0 bye");
        this.#close("fin");
        return;
      case "MAIL":
        if (this.#mail) {
          this.#reply("503 5.5.1 nested MAIL");
          return;
        }
        if (this.#messages >= moods.messagesPerConnection && !exchanger.healthy) {
          if (moods.closeStyle === "421") this.#reply("421 4.7.0 too many messages on this connection");
          this.#close("fin");
          return;
        }
        if (exchanger.chance(moods.mailTransientShare)) {
          this.#reply("451 4.3.0 try again later");
          return;
        }
        this.#mail = true;
        this.#reply("250 2.1.0 OK");
        return;
      case "RCPT": {
        const path = /^RCPT TO:<([^>]*)>/i.exec(line)?.[1] ?? "";
        if (!this.#mail) this.#reply("503 5.5.1 need MAIL");
        else if (!knows(path)) this.#reply("550 5.1.1 no such user");
        else if (this.#greylisted(path)) this.#reply("450 4.7.1 greylisted, try again in 60 seconds");
        else if (exchanger.chance(moods.rcptTransientShare)) this.#reply("450 4.2.1 mailbox busy");
        else {
          this.#recipients.push(path);
          this.#reply("250 2.1.5 OK");
        }
        return;
      }
      case "DATA":
        if (this.#recipients.length === 0) this.#reply("554 5.5.1 no valid recipients");
        else if (exchanger.chance(moods.dataTransientShare)) {
          this.#reset();
          this.#reply("451 4.3.0 not now");
        } else {
          this.#mode = { kind: "data" };
          this.#reply("354 go ahead");
        }
        return;
      case "BDAT": {
        const [, size = "0", last] = line.split(" ");
        this.#mode = { kind: "bdat", left: Number(size), last: last?.toUpperCase() === "LAST" };
        return;
      }
      default:
        this.#reply("500 5.5.2 what?");
    }
  }

  #ehlo(): void {
    const { moods, host } = this.#exchanger.options;
    const lines = [host, "SIZE 50000000", "ENHANCEDSTATUSCODES"];
    if (moods.pipelining) lines.push("PIPELINING");
    if (moods.chunking) lines.push("CHUNKING");
    if (moods.eightBitMime) lines.push("8BITMIME");
    if (moods.dsn) lines.push("DSN");
    if (moods.startTls) lines.push("STARTTLS");
    this.#reply(lines.map((line, i) => `250${i === lines.length - 1 ? " " : "-"}${line}`).join("\r\n"));
  }

  #data(): boolean {
    const end =
      this.#input.subarray(0, 3).equals(Buffer.from(".\r\n")) && this.#content.length === 0
        ? -2
        : this.#input.indexOf("\r\n.\r\n");
    if (end === -1) return false;
    const stuffed = end === -2 ? Buffer.alloc(0) : this.#input.subarray(0, end + 2);
    this.#input = this.#input.subarray(end + 5);
    this.#mode = { kind: "command" };
    this.#finish(Buffer.from(stuffed.toString("latin1").replace(/^\./gm, ""), "latin1"));
    return true;
  }

  #bdat(mode: Extract<Mode, { kind: "bdat" }>): boolean {
    const piece = this.#input.subarray(0, mode.left);
    this.#content.push(piece);
    this.#input = this.#input.subarray(piece.length);
    mode.left -= piece.length;
    if (mode.left > 0) return false;
    this.#mode = { kind: "command" };
    if (this.#recipients.length === 0 || this.#refusedBdat) {
      this.#refusedBdat = !mode.last;
      this.#reset();
      this.#reply("503 5.5.1 no transaction");
    } else if (mode.last) this.#finish(Buffer.concat(this.#content));
    else this.#reply("250 2.0.0 chunk taken");
    return true;
  }

  #finish(content: Buffer): void {
    const exchanger = this.#exchanger;
    const { moods, clock, host, taken, messagesPerConnectionMax, breach } = exchanger.options;
    const forwardPaths = this.#recipients;
    this.#reset();
    if (exchanger.chance(moods.breakAtDotShare)) {
      this.#close("reset");
      return;
    }
    if (exchanger.chance(moods.dotTransientShare)) {
      this.#reply("452 4.3.1 out of space");
      return;
    }
    if (exchanger.chance(moods.dotPermanentShare)) {
      this.#reply("554 5.7.1 content rejected");
      return;
    }
    this.#messages++;
    this.#distinct.add(content.toString("latin1"));
    if (this.#distinct.size > messagesPerConnectionMax)
      breach(`${this.#distinct.size} messages on a connection to ${host}`);
    const lost = exchanger.chance(moods.lostReplyShare);
    taken({ at: clock.now(), exchanger: host, forwardPaths, content, replySent: !lost });
    if (lost) this.#close("reset");
    else this.#reply("250 2.0.0 taken");
  }

  #greylisted(path: string): boolean {
    const exchanger = this.#exchanger;
    const { moods, clock } = exchanger.options;
    if (moods.greylistMs === 0 || exchanger.healthy) return false;
    const first = exchanger.seen.get(path);
    if (first === undefined) exchanger.seen.set(path, clock.now());
    return first === undefined || clock.now() - first < moods.greylistMs;
  }

  #reset(): void {
    this.#mail = false;
    this.#recipients = [];
    this.#content = [];
  }

  #reply(text: string): void {
    this.#side.send(Buffer.from(`${text}\r\n`), this.#exchanger.options.moods.replyDelayMs);
  }

  #close(how: "fin" | "reset"): void {
    this.#side.close(how, this.#exchanger.options.moods.replyDelayMs);
    this.ended();
  }
}
