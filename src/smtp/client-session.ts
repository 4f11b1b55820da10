// One SMTP session as a client sees it: commands go out in flights (one write), replies are matched one by one in
// order (RFC 2920 section 3.1), and each wait has a deadline (RFC 5321 section 4.5.3.2).

import { assert } from "../core/assert.ts";
import type { TlsInfo } from "../core/attempt.ts";
import { type Connection, NetworkError, type TlsOptions } from "../core/network.ts";
import type { Fault, Stage } from "../core/outcome.ts";
import { formatReply, type Reply } from "../core/reply.ts";
import { type Clock, type Millis, secondMs } from "../core/time.ts";
import { Deadline } from "./deadline.ts";
import { cleanText, ReplyDecoder } from "./reply-decoder.ts";

/** A command and, once it came, its reply. */
export interface Command {
  readonly stage: Stage;
  /** Without CRLF; `""` for what has a reply but is not a command: the banner, the final dot. */
  readonly line: string;
  reply: Reply | undefined;
}

export function command(stage: Stage, line: string): Command {
  return { stage, line, reply: undefined };
}

export interface SessionTimeouts {
  /** How long the reply to a command of that stage may take. */
  readonly replyMs: Readonly<Record<Stage, Millis>>;
  /** How long the peer may take none of the content. */
  readonly blockMs: Millis;
}

/** How long the reply to QUIT, and replies behind a 421, are waited for. */
const quitReplyMs: Millis = 5 * secondMs;
const endMs: Millis = secondMs;

/** As many fit into the array that a first push makes. */
const ringCompactMin = 16;

/**
 * It owns the connection. It is over as soon as `fault` is set: by a 421 (which is also the reply of the command that it
 * answers) once nothing else is to come, by the end of the connection, by a deadline, or by octets that are no reply or that nobody waited for.
 * Commands without a reply then stay without one.
 */
export class ClientSession {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #timeouts: SessionTimeouts;
  readonly #decoder: ReplyDecoder;
  readonly #deadline: Deadline;
  /** Commands in the order sent; those before `#head` had their reply, and are forgotten. */
  #ring: (Command | undefined)[] = [];
  #head = 0;
  #awaited: Command | undefined;
  #resume: (() => void) | undefined;
  #blocked = false;
  #upgrading = false;
  #closed = false;
  #fault: Fault | undefined;
  /** The peer said 421, and may have more replies to give. */
  #closing: Fault | undefined;
  /** Where the dialogue stands while no reply is due. */
  #stage: Stage = "banner";
  #lines: readonly string[] = [];
  #heardMs: Millis;

  /** Called once, when the session ends without `close` or `quit`. */
  onEnd: () => void = () => {};

  constructor(connection: Connection, clock: Clock, timeouts: SessionTimeouts) {
    this.#connection = connection;
    this.#clock = clock;
    this.#timeouts = timeouts;
    this.#heardMs = clock.monotonicMs();
    this.#decoder = new ReplyDecoder((reply, lines) => this.#onReply(reply, lines));
    const lookMs = Math.min(timeouts.blockMs, ...Object.values(timeouts.replyMs));
    this.#deadline = new Deadline(clock, lookMs, () => this.#onDeadline());
    connection.onData = (chunk) => this.#onData(chunk);
    connection.onClose = (error) => this.#end(this.#networkFault(closeMessage(error)));
  }

  /** Why the session is over; undefined while it is not. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  get remoteAddress(): string {
    return this.#connection.remoteAddress;
  }

  /** The texts of the lines of the last reply, for the answer to EHLO. */
  get lastLines(): readonly string[] {
    return this.#lines;
  }

  /** How long the peer has said nothing. */
  get quietMs(): Millis {
    return this.#clock.monotonicMs() - this.#heardMs;
  }

  /**
   * Sends a flight: the chunks in one write, which hold the given commands (and perhaps content). Their replies will be
   * matched in this order. Returns a promise when the connection has taken as much as it can: see `drained`.
   */
  send(commands: readonly Command[], chunks: readonly Uint8Array[]): Promise<void> | undefined {
    if (this.#fault !== undefined || this.#closed) return undefined;
    const waiting = this.#head < this.#ring.length;
    for (const each of commands) this.#ring.push(each);
    if (!waiting) this.#armForHead();
    return chunks.length === 0 ? undefined : this.#connection.write(chunks);
  }

  /** Waits until the command has its reply, and so all before it, or the session is over. One wait at a time. */
  answered(awaited: Command): Promise<void> | undefined {
    if (awaited.reply !== undefined || this.#fault !== undefined || this.#closed) return undefined;
    assert(this.#resume === undefined, "a session is waited for by one at a time");
    return new Promise((resolve) => {
      this.#awaited = awaited;
      this.#resume = resolve;
    });
  }

  /** Sends one command and waits for its reply; undefined when the session ended without one. */
  async ask(stage: Stage, line: string): Promise<Reply | undefined> {
    const asked = command(stage, line);
    void this.send([asked], line === "" ? [] : [Buffer.from(`${line}\r\n`)]);
    await this.answered(asked);
    return asked.reply;
  }

  /**
   * Waits until a write of content has drained, a reply makes the rest of it useless, or the session is over; the peer
   * has `blockMs` (RFC 5321 section 4.5.3.2.5).
   */
  async drained(writing: Promise<void>): Promise<void> {
    if (this.#fault !== undefined) return;
    assert(this.#resume === undefined, "a session is waited for by one at a time");
    this.#blocked = true;
    this.#deadline.set(this.#timeouts.blockMs);
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
      void writing.then(resolve);
    });
    this.#resume = undefined;
    this.#blocked = false;
    if (this.#fault === undefined) this.#armForHead();
  }

  /**
   * Upgrades after the 220 to STARTTLS. What the peer said in clear is forgotten; octets that followed the 220 in clear
   * end the session (RFC 3207 section 4.2). Returns undefined when the session is over.
   */
  async startTls(options: TlsOptions): Promise<TlsInfo | undefined> {
    if (this.#fault === undefined && this.#decoder.inReply) this.#end(this.#networkFault("octets in clear after 220"));
    if (this.#fault !== undefined || this.#closed) return undefined;
    assert(this.#head === this.#ring.length, "no command may be on its way when TLS begins");
    this.#upgrading = true;
    this.#lines = [];
    try {
      const info = await this.#connection.startTls(options);
      this.#heardMs = this.#clock.monotonicMs();
      return this.#fault === undefined && !this.#closed ? info : undefined;
    } catch (error) {
      if (!(error instanceof NetworkError)) throw error;
      this.#end(this.#networkFault(`TLS: ${tlsFailureText(error.message)}`));
      return undefined;
    } finally {
      this.#upgrading = false;
    }
  }

  /** Says QUIT, waits a little for the reply (RFC 5321 section 4.1.1.10), closes, and waits a little for the peer's end. */
  async quit(): Promise<void> {
    if (this.#fault === undefined && !this.#closed) {
      const quit = command("mail", "QUIT");
      void this.send([quit], [Buffer.from("QUIT\r\n")]);
      this.#deadline.set(quitReplyMs);
      await this.answered(quit);
    }
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.close();
    if (this.#fault === undefined) await this.#ended();
  }

  /** A peer counts connections until their end: the next one is not to come before. */
  #ended(): Promise<void> {
    return new Promise((resolve) => {
      const limit = this.#clock.after(endMs, resolve);
      this.#connection.onClose = () => {
        limit.cancel();
        resolve();
      };
      this.#connection.end();
    });
  }

  /** Ends the session at once, as if the network had: for what leaves it in a state that no command mends. */
  fail(message: string): void {
    this.#end(this.#networkFault(message));
  }

  /** Ends the session at once, without a word. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.close();
    if (this.#fault === undefined) this.#connection.destroy();
    this.#wake();
  }

  #onData(chunk: Buffer): void {
    if (this.#fault !== undefined || this.#closed) return;
    const answeredBefore = this.#head;
    const wrong = this.#upgrading ? "octets in clear after 220" : this.#decoder.push(chunk);
    if (wrong !== undefined) this.#end(this.#networkFault(`protocol error: ${wrong}`));
    // A peer that sends a reply octet by octet gains no time by it: only whole replies move the deadline.
    else if (this.#fault === undefined && this.#head !== answeredBefore) this.#afterReplies();
  }

  #afterReplies(): void {
    this.#heardMs = this.#clock.monotonicMs();
    if (this.#head >= ringCompactMin) {
      this.#ring = this.#ring.slice(this.#head);
      this.#head = 0;
    }
    if (!this.#blocked) this.#armForHead();
  }

  #onReply(reply: Reply, lines: readonly string[]): void {
    if (this.#fault !== undefined) return;
    const answered = this.#ring[this.#head];
    if (answered === undefined) {
      this.#end(this.#unexpected(reply));
      return;
    }
    this.#ring[this.#head++] = undefined;
    answered.reply = reply;
    this.#stage = isSetUp(answered.stage) ? answered.stage : "mail";
    this.#lines = lines;
    // RFC 5321 section 3.8: after a 421 the peer closes the channel, whatever command it answers. Some do not, and go
    // on with what they have got already: the replies to that are still taken.
    if (reply.code === 421) this.#closing ??= { kind: "reply", stage: answered.stage, reply };
    if (this.#closing !== undefined && this.#head === this.#ring.length) {
      this.#end(this.#closing);
      return;
    }
    // Content that is under way is of no use any more once something of it is refused, or all of it is answered.
    const stopsContent = this.#blocked && (reply.code >= 400 || answered.stage === "final-dot");
    if (answered === this.#awaited || stopsContent) this.#wake();
  }

  #unexpected(reply: Reply): Fault {
    if (reply.code === 421) return { kind: "reply", stage: this.#stage, reply };
    return this.#networkFault(`protocol error: unexpected reply ${formatReply(reply)}`);
  }

  #onDeadline(): void {
    const what = this.#blocked ? "the peer takes no content" : "no reply";
    this.#end(this.#networkFault(`${what} in time`));
  }

  #armForHead(): void {
    const next = this.#ring[this.#head];
    if (next === undefined) this.#deadline.clear();
    else if (this.#closing !== undefined) this.#deadline.set(quitReplyMs);
    else this.#deadline.set(this.#timeouts.replyMs[next.stage]);
  }

  #networkFault(message: string): Fault {
    const stage = this.#upgrading
      ? "starttls"
      : this.#blocked
        ? "data"
        : (this.#ring[this.#head]?.stage ?? this.#stage);
    return { kind: "network", stage, message };
  }

  #end(fault: Fault): void {
    if (this.#fault !== undefined || this.#closed) return;
    this.#fault = this.#closing ?? fault;
    this.#deadline.close();
    this.#connection.destroy();
    this.#wake();
    this.onEnd();
  }

  #wake(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    this.#awaited = undefined;
    resume?.();
  }
}

function isSetUp(stage: Stage): boolean {
  return stage === "banner" || stage === "ehlo" || stage === "starttls" || stage === "auth";
}

/**
 * What OpenSSL says, without the thread, the place in its source and the line end that come with it: those make one
 * failure look like many, and tell an operator nothing.
 */
export function tlsFailureText(message: string): string {
  const reason = /\berror:[0-9A-F]+:[^:]*:[^:]*:([^:]+):/.exec(message)?.[1] ?? message;
  return cleanText(reason).trim();
}

function closeMessage(error: NetworkError | undefined): string {
  return error === undefined ? "the peer closed the connection" : error.message;
}
