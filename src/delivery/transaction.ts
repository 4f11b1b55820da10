// Mail transactions on one session (RFC 5321 section 3.3), as their dialogue runs.
//
// With PIPELINING the envelope is one flight, and the envelope of the next transaction follows the content of this one
// in the same write (RFC 2920 section 3.1), so that a message costs one round trip. With CHUNKING a small content goes
// with its envelope, too (RFC 3030). Without PIPELINING it is command by command.

import type { Fault } from "../core/outcome.ts";
import type { Reply } from "../core/reply.ts";
import type { Millis } from "../core/time.ts";
import { type ClientSession, type Command, command } from "../smtp/client-session.ts";
import type { Log } from "../telemetry/log.ts";
import { type Block, blockBytesMax, sentBytes, WireContent } from "./content.ts";
import { isPositive, isRefusal } from "./outcomes.ts";
import { envelopeOf, lastOfEnvelope, type Transaction, transactionOf } from "./parcel.ts";
import type { Quirks } from "./quirks.ts";
import { type Peer, Workload, type WorkloadParts } from "./workload.ts";

export interface DialogueParts extends WorkloadParts {
  readonly log: Log;
  readonly quirks: Quirks;
}

/**
 * A peer that was silent for longer may have closed meanwhile, so the content waits for the envelope's replies: what is
 * lost with the envelope alone counts as never tried, what is lost with the content is an unknown outcome. Receivers keep
 * an idle connection for 10 seconds and more, and with many sources each connection rests for a second or two.
 */
const warmMs: Millis = 5_000;

const crlf = "\r\n";

/** Carries work over one session until there is none, or the session is over or used up. */
export class MailDialogue {
  readonly #session: ClientSession;
  readonly #peer: Peer;
  readonly #parts: DialogueParts;
  readonly #workload: Workload;
  readonly #messagesMax: number;
  #pipelining: boolean;
  readonly #chunking: boolean;
  #messages = 0;
  /** A transaction was left unfinished, so the next one begins with RSET (RFC 5321 section 4.1.1.5). */
  #needsReset = false;
  #isStopped = false;

  constructor(session: ClientSession, peer: Peer, parts: DialogueParts) {
    const { extensions } = peer;
    const { spec, quirks } = parts;
    this.#session = session;
    this.#peer = peer;
    this.#parts = parts;
    this.#workload = new Workload(peer, parts);
    this.#pipelining = extensions.pipelining && !quirks.avoids(peer.name, "pipelining");
    this.#chunking = extensions.chunking && !quirks.avoids(peer.name, "chunking");
    this.#messagesMax = Math.max(1, Math.min(spec.messagesMax, extensions.mailMax ?? Number.POSITIVE_INFINITY));
  }

  /** Whether no further message may be begun: the session has had its share, or `stop` was called. */
  get isUsedUp(): boolean {
    return this.#isStopped || this.#messages >= this.#messagesMax;
  }

  /** Takes no new work; what was taken is finished. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Runs until the lane has no work, or the session is over or used up. Every work taken is settled then. */
  async run(): Promise<void> {
    for (let transaction = this.#next(); transaction !== undefined; ) {
      transaction = (await this.#carry(transaction)) ?? this.#next();
    }
    this.#workload.giveUp(this.#session.fault);
    this.#workload.rested();
  }

  // --- What comes next ---

  #next(): Transaction | undefined {
    if (this.#session.fault !== undefined) return undefined;
    const batch = this.#workload.next(() => !this.isUsedUp);
    if (batch === undefined) return undefined;
    this.#messages++;
    return transactionOf(batch.parcel, batch.positions, this.#peer.extensions, this.#chunking);
  }

  // --- One transaction ---

  /** Returns the transaction that has gone ahead, or that is to be tried in another way. */
  async #carry(transaction: Transaction): Promise<Transaction | undefined> {
    const ahead = this.#canGoWhole(transaction) ? await this.#whole(transaction) : await this.#stepwise(transaction);
    if (this.#refusesChunks(transaction)) {
      this.#leaveChaos(transaction, ahead);
      return undefined;
    }
    if (this.#losesFlights(transaction)) return this.#again(transaction);
    this.#finish(transaction);
    return ahead === undefined ? undefined : await this.#afterEnd(transaction, ahead);
  }

  #canGoWhole(transaction: Transaction): boolean {
    return (
      !transaction.envelopeSent &&
      transaction.data === undefined &&
      this.#pipelining &&
      sentBytes(transaction.parcel.work) <= blockBytesMax &&
      this.#session.quietMs <= warmMs
    );
  }

  /** Envelope and content in one flight, by BDAT. */
  async #whole(transaction: Transaction): Promise<Transaction | undefined> {
    const block = this.#readBlock(transaction, contentOf(transaction));
    if (block === undefined) return undefined;
    const commands = [...this.#reset(), ...envelopeOf(transaction)];
    transaction.envelopeSent = true;
    transaction.pipelined = true;
    const lines = `${joined(commands)}BDAT ${block.bytes} LAST${crlf}`;
    return await this.#sendLast(transaction, commands, [Buffer.from(lines), ...block.chunks], "");
  }

  /** The envelope, its replies, and then the content for those that were accepted. */
  async #stepwise(transaction: Transaction): Promise<Transaction | undefined> {
    const session = this.#session;
    if (transaction.envelopeSent) await session.answered(lastOfEnvelope(transaction));
    else if (this.#pipelining) await this.#envelopeFlight(transaction);
    else await this.#envelopeByStep(transaction);
    if (session.fault !== undefined) return undefined;
    const { data } = transaction;
    const isAccepted = isPositive(transaction.mail.reply) && transaction.rcpts.some((rcpt) => isPositive(rcpt.reply));
    if (data?.reply !== undefined && !isRefusal(data.reply)) {
      if (data.reply.code !== 354) return this.#fail(`protocol error: ${data.reply.code} in answer to DATA`);
      return isAccepted ? await this.#content(transaction) : await this.#loneDot(transaction);
    }
    if (isAccepted && data === undefined) return await this.#content(transaction);
    // Refused somewhere: nothing of the content was sent, and the transaction, if there is one, is to be cleared.
    this.#needsReset = true;
    return undefined;
  }

  async #envelopeFlight(transaction: Transaction): Promise<void> {
    const commands = [...this.#reset(), ...envelopeOf(transaction)];
    transaction.envelopeSent = true;
    transaction.pipelined = true;
    void this.#session.send(commands, [Buffer.from(joined(commands))]);
    await this.#session.answered(lastOfEnvelope(transaction));
  }

  /** MAIL, each RCPT, DATA, one by one; nothing is asked that a reply has made useless. */
  async #envelopeByStep(transaction: Transaction): Promise<void> {
    transaction.envelopeSent = true;
    for (const reset of this.#reset()) await this.#step(reset);
    if (!isPositive(await this.#step(transaction.mail))) return;
    let isAccepted = false;
    for (const rcpt of transaction.rcpts) isAccepted = isPositive(await this.#step(rcpt)) || isAccepted;
    if (isAccepted && transaction.data !== undefined) await this.#step(transaction.data);
  }

  async #step(asked: Command): Promise<Command["reply"]> {
    void this.#session.send([asked], [Buffer.from(asked.line + crlf)]);
    await this.#session.answered(asked);
    return asked.reply;
  }

  /** RFC 2920 section 3.1: a 354 for nobody is answered with a lone dot, whose reply tells nothing. */
  async #loneDot(transaction: Transaction): Promise<Transaction | undefined> {
    // Recipients without a MAIL: who knows what a peer would do with the dot.
    if (transaction.rcpts.some((rcpt) => isPositive(rcpt.reply))) return this.#fail("protocol error: 354 without MAIL");
    const ahead = this.#overlap();
    const commands = [command("final-dot", ""), ...(ahead === undefined ? [] : envelopeOf(ahead))];
    void this.#session.send(commands, [Buffer.from(`.${crlf}${ahead === undefined ? "" : joined(envelopeOf(ahead))}`)]);
    await this.#session.answered(commands[0] as Command);
    return ahead;
  }

  // --- The content ---

  async #content(transaction: Transaction): Promise<Transaction | undefined> {
    const content = contentOf(transaction);
    for (;;) {
      const block = this.#readBlock(transaction, content);
      if (block === undefined) {
        // Only the end of the connection keeps what has begun from being completed.
        if (transaction.contentBegun || transaction.data !== undefined) return this.#fail("the content is damaged");
        this.#needsReset = true;
        return undefined;
      }
      const byData = transaction.data !== undefined;
      if (block.isLast) {
        if (byData) return await this.#sendLast(transaction, [], block.chunks, content.isLineEnded ? "." : `${crlf}.`);
        const head = Buffer.from(`BDAT ${block.bytes} LAST${crlf}`);
        return await this.#sendLast(transaction, [], [head, ...block.chunks], "");
      }
      const goesOn = byData ? await this.#dataBlock(transaction, block) : await this.#bdatBlock(transaction, block);
      if (!goesOn) return undefined;
    }
  }

  /** A part of the content in DATA mode. Returns false when the peer does not want the rest. */
  async #dataBlock(transaction: Transaction, block: Block): Promise<boolean> {
    // A reply from here on is the answer to the content, even if it comes early.
    const commands = transaction.contentBegun ? [] : [transaction.end];
    transaction.contentBegun = true;
    const writing = this.#session.send(commands, block.chunks);
    if (writing !== undefined) await this.#session.drained(writing);
    if (this.#session.fault !== undefined) return false;
    if (transaction.end.reply === undefined) return true;
    // There is no way back into the dialogue from the midst of the content.
    this.#fail("the peer answered before the end of the content");
    return false;
  }

  /** A chunk that is not the last. Returns false when a chunk was refused, or the session is over. */
  async #bdatBlock(transaction: Transaction, block: Block): Promise<boolean> {
    const chunk = command("data", "");
    transaction.blocks.push(chunk);
    transaction.contentBegun = true;
    const head = Buffer.from(`BDAT ${block.bytes}${crlf}`);
    const writing = this.#session.send([chunk], [head, ...block.chunks]);
    if (writing !== undefined) await this.#session.drained(writing);
    if (!this.#pipelining) await this.#session.answered(chunk);
    if (this.#session.fault !== undefined) return false;
    if (!transaction.blocks.some((sent) => isRefusal(sent.reply))) return true;
    // RFC 3030 section 2: the message has failed; the replies to the chunks on their way are waited for, then RSET.
    await this.#session.answered(chunk);
    this.#needsReset = true;
    return false;
  }

  /**
   * The last write of a transaction, with the envelope of the next behind it where there is one, and the wait for the
   * reply to the final dot. `commands` are those in `chunks`; `dot` is the end of the content, `""` for BDAT.
   */
  async #sendLast(
    transaction: Transaction,
    commands: readonly Command[],
    chunks: readonly Buffer[],
    dot: string,
  ): Promise<Transaction | undefined> {
    const ahead = this.#overlap();
    const expected = [...commands];
    // After a first part of DATA its reply is waited for already.
    if (!(transaction.data !== undefined && transaction.contentBegun)) expected.push(transaction.end);
    let tail = dot === "" ? "" : dot + crlf;
    if (ahead !== undefined) {
      const envelope = envelopeOf(ahead);
      tail += joined(envelope);
      for (const each of envelope) expected.push(each);
    }
    transaction.contentBegun = true;
    transaction.contentSent = true;
    const writing = this.#session.send(expected, tail === "" ? chunks : [...chunks, Buffer.from(tail)]);
    if (writing !== undefined) await this.#session.drained(writing);
    await this.#session.answered(transaction.end);
    return ahead;
  }

  /** The transaction whose envelope may follow the content of this one in the same write. */
  #overlap(): Transaction | undefined {
    const ahead = this.#pipelining ? this.#next() : undefined;
    if (ahead === undefined) return undefined;
    ahead.envelopeSent = true;
    ahead.sentAhead = true;
    ahead.pipelined = true;
    return ahead;
  }

  /** undefined: the content is damaged. */
  #readBlock(transaction: Transaction, content: WireContent): Block | undefined {
    try {
      return content.next();
    } catch (cause) {
      const { queueId } = transaction.parcel.work.message;
      this.#parts.log.error({ queueId, err: cause }, "the stored content cannot be sent");
      transaction.isDamaged = true;
      return undefined;
    }
  }

  // --- After the replies ---

  /** Looks whether the replies to what was sent behind this transaction can be taken for what they seem to be. */
  async #afterEnd(transaction: Transaction, ahead: Transaction): Promise<Transaction | undefined> {
    // RFC 3030 section 2: after a refused BDAT the peer's state is unknown until RSET.
    const isConfused = transaction.data === undefined && isRefusal(transaction.end.reply);
    // A peer that has said 421 refuses the rest in any words.
    const isClosing = saidClosing(transaction);
    if (!isConfused && !isClosing) return ahead;
    await this.#session.answered(lastOfEnvelope(ahead));
    if (this.#session.fault === undefined) return this.#again(ahead);
    this.#putBack(ahead);
    return undefined;
  }

  /** Whether the peer offers CHUNKING and does not know BDAT. */
  #refusesChunks(transaction: Transaction): boolean {
    if (transaction.data !== undefined || !transaction.rcpts.some((rcpt) => isPositive(rcpt.reply))) return false;
    const isSyntaxRefusal = ({ reply }: Command) => reply !== undefined && reply.code >= 500 && reply.code <= 503;
    return transaction.blocks.some(isSyntaxRefusal) || isSyntaxRefusal(transaction.end);
  }

  /**
   * The peer takes content for commands: no reply from there on means what it seems to mean. The session is broken off,
   * and the next attempt uses DATA.
   */
  #leaveChaos(transaction: Transaction, ahead: Transaction | undefined): void {
    this.#parts.quirks.proven(this.#peer.name, "chunking");
    this.#fail("protocol error: the peer offers CHUNKING and refuses BDAT");
    transaction.isDistrusted = true;
    this.#finish(transaction);
    if (ahead !== undefined) this.#putBack(ahead);
  }

  /**
   * Whether the peer refused a command because it came together with others, or lost those before it. Then it is spoken
   * to step by step.
   */
  #losesFlights(transaction: Transaction): boolean {
    if (!transaction.pipelined || !this.#pipelining || transaction.contentBegun) return false;
    if (this.#session.fault !== undefined || !isPositive(transaction.mail.reply)) return false;
    const isAccepted = transaction.rcpts.some((rcpt) => isPositive(rcpt.reply));
    const last = isAccepted ? transaction.data?.reply : transaction.rcpts[0]?.reply;
    if (last === undefined || !isOrderRefusal(last)) return false;
    this.#pipelining = false;
    // It may as well be how that peer refuses recipients, so it takes more than one such reply to remember it.
    this.#parts.quirks.strike(this.#peer.name, "pipelining");
    return true;
  }

  /** The same transaction afresh, after RSET. */
  #again(transaction: Transaction): Transaction {
    this.#needsReset = true;
    return transactionOf(transaction.parcel, transaction.positions, this.#peer.extensions, this.#chunking);
  }

  #putBack(transaction: Transaction): void {
    this.#workload.putBack(transaction);
    this.#messages--;
  }

  #finish(transaction: Transaction): void {
    const { fault } = this.#session;
    if (fault !== undefined) this.#noteStrikes(transaction, fault);
    else if (isPositive(transaction.end.reply)) this.#noteSuccess(transaction);
    this.#workload.finish(transaction, fault);
  }

  #noteStrikes(transaction: Transaction, fault: Fault): void {
    if (fault.kind !== "network" || transaction.isDamaged || transaction.isDistrusted) return;
    if (!transaction.pipelined) return;
    const { quirks } = this.#parts;
    const { name } = this.#peer;
    if (!isPositive(transaction.mail.reply)) return;
    if (transaction.data === undefined && transaction.contentBegun) quirks.strike(name, "chunking");
    else if (!transaction.contentBegun) quirks.strike(name, "pipelining");
  }

  #noteSuccess(transaction: Transaction): void {
    const { quirks } = this.#parts;
    if (transaction.pipelined) quirks.worked(this.#peer.name, "pipelining");
    if (transaction.data === undefined) quirks.worked(this.#peer.name, "chunking");
  }

  #reset(): Command[] {
    if (!this.#needsReset) return [];
    this.#needsReset = false;
    return [command("mail", "RSET")];
  }

  #fail(message: string): undefined {
    this.#session.fail(message);
  }
}

function saidClosing(transaction: Transaction): boolean {
  return [...envelopeOf(transaction), ...transaction.blocks, transaction.end].some((each) => each.reply?.code === 421);
}

function contentOf(transaction: Transaction): WireContent {
  return new WireContent(transaction.parcel.work, transaction.data !== undefined);
}

/** The reply of a peer that lost the commands before this one, or dislikes that they came together. */
function isOrderRefusal(reply: Reply): boolean {
  return (
    reply.code === 500 || reply.code === 503 || (reply.code > 500 && /pipelin|synchroni[sz]ation/i.test(reply.text))
  );
}

function joined(commands: readonly Command[]): string {
  let lines = "";
  for (const each of commands) lines += each.line + crlf;
  return lines;
}
