// The work that one session has taken: what is still to be sent of it, and how it is settled with the lane.

import { assert } from "../core/assert.ts";
import type { AttemptInfo, TlsInfo } from "../core/attempt.ts";
import type { Fault, Outcome } from "../core/outcome.ts";
import type { Clock } from "../core/time.ts";
import type { Command } from "../smtp/client-session.ts";
import type { Extensions } from "../smtp/extensions.ts";
import type { ConnectionSpec, LaneFeed } from "./delivery.ts";
import { refusalBy } from "./envelope-lines.ts";
import { byReply, isPositive, isRefusal, isTooManyRecipients, outcomeOf } from "./outcomes.ts";
import { isAnswered, type Parcel, parcelOf, setOutcome, type Transaction } from "./parcel.ts";

/** The peer of a session that is ready to take mail. */
export interface Peer {
  readonly name: string;
  readonly address: string;
  readonly extensions: Extensions;
  readonly tls: TlsInfo | undefined;
}

export interface WorkloadParts {
  readonly clock: Clock;
  readonly spec: ConnectionSpec;
  readonly feed: LaneFeed;
}

/** Recipients that go together in one transaction. */
export interface Batch {
  readonly parcel: Parcel;
  readonly positions: readonly number[];
}

/** Each work taken is settled exactly once: by `finish` when its last recipient has an outcome, or by `giveUp`. */
export class Workload {
  readonly #peer: Peer;
  readonly #parts: WorkloadParts;
  /** Parcels with recipients that are in no transaction. They come before new work. */
  readonly #unsent: Parcel[] = [];
  #recipientsMax: number;
  /** Something happened on this session before: a loss now may be a leftover of that. */
  #isUsed = false;

  constructor(peer: Peer, parts: WorkloadParts) {
    this.#peer = peer;
    this.#parts = parts;
    const offered = peer.extensions.rcptMax ?? Number.POSITIVE_INFINITY;
    this.#recipientsMax = Math.max(1, Math.min(parts.spec.recipientsPerMessageMax, offered));
  }

  /** The session rests, and a rest is what peers end without a word. */
  rested(): void {
    this.#isUsed = true;
  }

  /** The next recipients: what is left of work taken before, and then, if it may be taken, of new work. */
  next(mayTakeNew: () => boolean): Batch | undefined {
    const parcel = this.#unsent[0] ?? this.#take(mayTakeNew);
    if (parcel === undefined) return undefined;
    const positions = parcel.unsent.slice(0, this.#recipientsMax);
    parcel.unsent = parcel.unsent.slice(this.#recipientsMax);
    if (parcel.unsent.length === 0) this.#unsent.shift();
    return { parcel, positions };
  }

  /** Takes work from the lane into `#unsent`; what this peer can never take is settled at once. */
  #take(mayTakeNew: () => boolean): Parcel | undefined {
    const { feed, clock } = this.#parts;
    while (mayTakeNew()) {
      const work = feed.next();
      if (work === undefined) return undefined;
      const parcel = parcelOf(work, clock.now(), clock.monotonicMs());
      const refusal = refusalBy(this.#peer.extensions, this.#peer.tls, work);
      if (refusal === undefined) {
        this.#unsent.push(parcel);
        return parcel;
      }
      const fault: Fault = { kind: "policy", rule: refusal.rule, message: refusal.message };
      this.#settleRest(parcel, { kind: "permanent", at: clock.now(), fault });
    }
    return undefined;
  }

  /** Takes back the recipients of a transaction that the peer has not begun in earnest. */
  putBack(transaction: Transaction): void {
    const { parcel } = transaction;
    parcel.unsent = [...transaction.positions, ...parcel.unsent];
    if (!this.#unsent.includes(parcel)) this.#unsent.unshift(parcel);
  }

  /**
   * Gives each recipient of the transaction its outcome, or its place in a further transaction. `fault` tells why the
   * session is over, if it is.
   */
  finish(transaction: Transaction, fault: Fault | undefined): void {
    const { parcel } = transaction;
    if (fault !== undefined && this.#isUntried(transaction)) {
      this.#unsent.splice(0, this.#unsent.length, ...this.#unsent.filter((each) => each !== parcel));
      this.#parts.feed.settled(parcel.work, { kind: "returned", fault });
      return;
    }
    parcel.isTouched = true;
    this.#isUsed = true;
    const at = this.#parts.clock.now();
    const overflow = fault === undefined ? this.#overflow(transaction) : undefined;
    for (let index = 0; index < transaction.positions.length; index++) {
      const position = transaction.positions[index] as number;
      if (overflow?.has(position)) parcel.unsent.push(position);
      else setOutcome(parcel, position, outcomeOf(transaction, index, fault, at));
    }
    if (overflow !== undefined && !this.#unsent.includes(parcel)) this.#unsent.unshift(parcel);
    if (parcel.openCount === 0) this.#settle(parcel);
  }

  /** Positions that the peer has put off to a further transaction: too many at once, and at least one was accepted. */
  #overflow(transaction: Transaction): Set<number> | undefined {
    const { rcpts, positions } = transaction;
    const isExcess = ({ reply }: Command) => reply !== undefined && reply.code >= 400 && isTooManyRecipients(reply);
    const first = rcpts.findIndex(isExcess);
    if (first < 1 || isRefusal(transaction.mail.reply) || !rcpts.some((rcpt) => isPositive(rcpt.reply))) {
      return undefined;
    }
    this.#recipientsMax = Math.min(this.#recipientsMax, first);
    return new Set(positions.filter((_, index) => isExcess(rcpts[index] as Command)));
  }

  /** Whether it is as if the transaction had never been: the session ended for reasons that lie before it. */
  #isUntried(transaction: Transaction): boolean {
    return (
      (transaction.sentAhead || this.#isUsed) &&
      !isAnswered(transaction) &&
      !transaction.contentBegun &&
      !transaction.isDamaged &&
      !transaction.parcel.isTouched
    );
  }

  /** The session is over: settles what is in no transaction. */
  giveUp(fault: Fault | undefined): void {
    for (const parcel of this.#unsent.splice(0)) {
      assert(fault !== undefined, "recipients are left though the session goes on");
      this.#giveUpOne(parcel, fault);
    }
  }

  #giveUpOne(parcel: Parcel, fault: Fault): void {
    const { clock, feed } = this.#parts;
    if (!parcel.isTouched) feed.settled(parcel.work, { kind: "returned", fault });
    else if (fault.kind === "reply") this.#settleRest(parcel, byReply(fault.stage, fault.reply, clock.now()));
    else this.#settleRest(parcel, { kind: "transient", at: clock.now(), fault });
  }

  #settleRest(parcel: Parcel, outcome: Outcome): void {
    parcel.outcomes.forEach((known, position) => {
      if (known === undefined) setOutcome(parcel, position, outcome);
    });
    this.#settle(parcel);
  }

  #settle(parcel: Parcel): void {
    const { clock, feed, spec } = this.#parts;
    const info: AttemptInfo = {
      source: spec.source.name,
      remote: { name: this.#peer.name, address: this.#peer.address },
      tls: this.#peer.tls,
      peerDsn: this.#peer.extensions.dsn,
      sessionId: spec.sessionId,
      startedAt: parcel.startedAt,
      transactionMs: clock.monotonicMs() - parcel.startedMs,
    };
    feed.settled(parcel.work, { kind: "attempted", outcomes: parcel.outcomes as Outcome[], info });
  }
}
