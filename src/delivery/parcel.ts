// Work under way: which recipients have their outcome, and the transactions that it takes.

import { assert } from "../core/assert.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Instant, Millis } from "../core/time.ts";
import { type Command, command } from "../smtp/client-session.ts";
import type { Extensions } from "../smtp/extensions.ts";
import type { Work } from "./delivery.ts";
import { mailLine, rcptLine } from "./envelope-lines.ts";

/** One work and what is known of its recipients. Positions are those in `work.pending`. */
export interface Parcel {
  readonly work: Work;
  readonly outcomes: (Outcome | undefined)[];
  /** Positions that are in no transaction yet, or again in none. */
  unsent: number[];
  /** Positions without an outcome. */
  openCount: number;
  /** Whether the peer answered anything about it, or may have got content. */
  isTouched: boolean;
  readonly startedAt: Instant;
  readonly startedMs: Millis;
}

export function parcelOf(work: Work, startedAt: Instant, startedMs: Millis): Parcel {
  const count = work.pending.length;
  return {
    work,
    outcomes: new Array<Outcome | undefined>(count).fill(undefined),
    unsent: work.pending.map((_, position) => position),
    openCount: count,
    isTouched: false,
    startedAt,
    startedMs,
  };
}

export function setOutcome(parcel: Parcel, position: number, outcome: Outcome): void {
  if (parcel.outcomes[position] === undefined) parcel.openCount--;
  parcel.outcomes[position] = outcome;
}

/** One mail transaction (RFC 5321 section 3.3) with some of a parcel's recipients. */
export interface Transaction {
  readonly parcel: Parcel;
  readonly positions: readonly number[];
  readonly mail: Command;
  /** One for each of `positions`. */
  readonly rcpts: readonly Command[];
  /** DATA; undefined when the content goes by BDAT. */
  readonly data: Command | undefined;
  /** BDAT chunks before the last. */
  readonly blocks: Command[];
  /** What the reply to the final dot or to the last BDAT chunk answers. */
  readonly end: Command;
  /** Its envelope is on the wire. */
  envelopeSent: boolean;
  /** It was written behind the content of the transaction before, whose outcome was not known then. */
  sentAhead: boolean;
  /** Its commands went out in one flight. */
  pipelined: boolean;
  /** Something of the content, and all of it with the final dot, was handed to the connection. */
  contentBegun: boolean;
  contentSent: boolean;
  isDamaged: boolean;
  /** The replies to its content and after it mean nothing. */
  isDistrusted: boolean;
}

export function transactionOf(
  parcel: Parcel,
  positions: readonly number[],
  extensions: Extensions,
  byChunks: boolean,
): Transaction {
  const { work } = parcel;
  return {
    parcel,
    positions,
    mail: command("mail", mailLine(work, extensions)),
    rcpts: positions.map((position) => {
      const recipient = work.entry.recipients[work.pending[position] as number];
      assert(recipient !== undefined, "a pending index lies outside of its entry");
      return command("rcpt", rcptLine(recipient, extensions));
    }),
    data: byChunks ? undefined : command("data", "DATA"),
    blocks: [],
    end: command("final-dot", ""),
    envelopeSent: false,
    sentAhead: false,
    pipelined: false,
    contentBegun: false,
    contentSent: false,
    isDamaged: false,
    isDistrusted: false,
  };
}

/** The commands before the content, in order. */
export function envelopeOf(transaction: Transaction): Command[] {
  const commands = [transaction.mail, ...transaction.rcpts];
  if (transaction.data !== undefined) commands.push(transaction.data);
  return commands;
}

/** The last command before the content: when it has its reply, all of the envelope have. */
export function lastOfEnvelope(transaction: Transaction): Command {
  return transaction.data ?? (transaction.rcpts[transaction.rcpts.length - 1] as Command);
}

/** Whether the peer answered any of it. */
export function isAnswered(transaction: Transaction): boolean {
  return transaction.mail.reply !== undefined;
}
