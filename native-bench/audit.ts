// Holds what senders were promised against what receivers got: nothing lost, nothing twice, nothing changed.

import type { Receipt } from "./sink/ledger.ts";
import type { Acknowledgement } from "./source/load-plan.ts";

/** One promised delivery: a recipient of an acknowledged message, and every copy of it that a receiver took. */
interface Promised {
  readonly benchId: string;
  readonly recipient: string;
  readonly queueId: string;
  readonly stream: string | undefined;
  readonly acknowledgedAt: number;
  readonly copies: Receipt[];
  bounced: boolean;
}

export interface Latency {
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

/** A recipient with more than one copy. */
export interface Duplicate {
  readonly benchId: string;
  readonly recipient: string;
  readonly copies: readonly Receipt[];
}

export interface Tally {
  readonly accepted: number;
  readonly delivered: number;
  readonly bounced: number;
  /** Neither delivered nor bounced so far. Once all is quiet, these are lost. */
  readonly open: number;
}

/** The books of one run. Feed it as facts come in; ask for results at any time. */
export class Audit {
  readonly #promised = new Map<string, Promised>();
  readonly #byQueueId = new Map<string, Promised[]>();
  /** Copies of messages without a (known) promise: the reply was lost on its way to the sender, or it is still coming. */
  readonly #unpromised = new Map<string, Receipt[]>();
  /** Mail that the load source did not make: DSNs. */
  readonly returns: Receipt[] = [];
  #delivered = 0;
  #bounced = 0;
  /** Copies whose body was not the one sent. */
  damaged = 0;

  addAcknowledgements(acknowledgements: readonly Acknowledgement[]): void {
    for (const { benchId, queueId, stream, recipients, at } of acknowledgements) {
      for (const recipient of recipients) {
        const key = keyOf(benchId, recipient);
        const copies = this.#unpromised.get(key) ?? [];
        this.#unpromised.delete(key);
        const promised: Promised = { benchId, recipient, queueId, stream, acknowledgedAt: at, copies, bounced: false };
        if (copies.some(answered)) this.#delivered++;
        this.#promised.set(key, promised);
        push(this.#byQueueId, queueId, promised);
      }
    }
  }

  addReceipts(receipts: readonly Receipt[]): void {
    for (const receipt of receipts) {
      if (receipt.bodyIntact === false) this.damaged++;
      if (receipt.benchId === "") {
        this.returns.push(receipt);
        continue;
      }
      const key = keyOf(receipt.benchId, receipt.recipient);
      const promised = this.#promised.get(key);
      if (promised === undefined) {
        push(this.#unpromised, key, receipt);
        continue;
      }
      if (answered(receipt) && !promised.copies.some(answered)) this.#delivered++;
      promised.copies.push(receipt);
    }
  }

  /** The delivery log says that a recipient was given up. Returns whether it is one of ours. */
  addBounce(queueId: string, recipient: string): boolean {
    const wanted = recipient.toLowerCase();
    const promised = this.#byQueueId.get(queueId)?.find((one) => one.recipient.toLowerCase() === wanted);
    if (promised === undefined || promised.bounced) return promised !== undefined;
    promised.bounced = true;
    this.#bounced++;
    return true;
  }

  tally(): Tally {
    let open = 0;
    if (this.#promised.size !== this.#delivered + this.#bounced) {
      for (const promised of this.#promised.values()) if (isOpen(promised)) open++;
    }
    return { accepted: this.#promised.size, delivered: this.#delivered, bounced: this.#bounced, open };
  }

  /** Promised recipients that nobody got and nobody gave up. */
  open(): { readonly benchId: string; readonly queueId: string; readonly recipient: string }[] {
    return [...this.#promised.values()].filter(isOpen).map(({ benchId, queueId, recipient }) => ({
      benchId,
      queueId,
      recipient,
    }));
  }

  /** Given up and yet delivered: a bounce that lies. */
  contradictions(): number {
    let count = 0;
    for (const promised of this.#promised.values()) if (promised.bounced && promised.copies.some(answered)) count++;
    return count;
  }

  duplicates(): Duplicate[] {
    const found: Duplicate[] = [];
    for (const { benchId, recipient, copies } of this.#promised.values()) {
      if (copies.length > 1) found.push({ benchId, recipient, copies });
    }
    for (const copies of this.#unpromised.values()) {
      const [first] = copies;
      if (first !== undefined && copies.length > 1)
        found.push({ benchId: first.benchId, recipient: first.recipient, copies });
    }
    return found;
  }

  /** Recipients delivered whose sender never saw a 250. */
  get deliveredUnpromised(): number {
    return this.#unpromised.size;
  }

  /** From the sender's 250 to the receiver's, for the recipients delivered so far. */
  latency(accepts: (promised: Pick<Promised, "stream" | "queueId" | "recipient">) => boolean): Latency {
    const spans: number[] = [];
    for (const promised of this.#promised.values()) {
      const copy = promised.copies.find(answered);
      if (copy?.repliedAt === undefined || !accepts(promised)) continue;
      spans.push(Math.max(0, copy.repliedAt - promised.acknowledgedAt));
    }
    return latencyOf(spans);
  }

  /** When the last copy was answered. */
  lastDeliveryAt(): number | undefined {
    let last: number | undefined;
    for (const { copies } of this.#promised.values()) {
      for (const { repliedAt } of copies) if (repliedAt !== undefined && repliedAt > (last ?? 0)) last = repliedAt;
    }
    return last;
  }
}

export type DuplicateCause = "in-flight-at-kill" | "reply-lost" | "unexplained";

/**
 * Why a message came twice (RFC 1047). A copy explains the one after it when its own 250 could not be on record: the
 * receiver never got it out, or wrote it so shortly before a kill (`windowMs`) that it was not yet committed.
 */
export function causeOf(duplicate: Duplicate, kills: readonly number[], windowMs: number): DuplicateCause {
  const copies = [...duplicate.copies].sort((one, other) => one.dotAt - other.dotAt);
  let cause: DuplicateCause = "unexplained";
  for (const [i, copy] of copies.entries()) {
    const next = copies[i + 1];
    if (next === undefined) break;
    const { repliedAt } = copy;
    const killed = kills.some(
      (at) => at >= copy.dotAt && at <= next.dotAt && (repliedAt === undefined || repliedAt >= at - windowMs),
    );
    if (killed) cause = "in-flight-at-kill";
    else if (repliedAt === undefined) cause = "reply-lost";
    else return "unexplained";
  }
  return cause;
}

/** How long before the kill that explains it a copy's 250 had left, at most; 0 where it left after, or never. */
export function answeredBeforeKillMs(duplicate: Duplicate, kills: readonly number[]): number {
  const copies = [...duplicate.copies].sort((one, other) => one.dotAt - other.dotAt);
  let longest = 0;
  for (const [i, { dotAt, repliedAt }] of copies.entries()) {
    const next = copies[i + 1];
    if (next === undefined || repliedAt === undefined) continue;
    const spans = kills.filter((at) => at >= dotAt && at <= next.dotAt).map((at) => at - repliedAt);
    if (spans.length > 0) longest = Math.max(longest, Math.min(...spans));
  }
  return longest;
}

function latencyOf(spans: number[]): Latency {
  spans.sort((one, other) => one - other);
  const at = (share: number): number => spans[Math.min(spans.length - 1, Math.floor(spans.length * share))] ?? 0;
  return {
    count: spans.length,
    p50Ms: at(0.5),
    p90Ms: at(0.9),
    p99Ms: at(0.99),
    p999Ms: at(0.999),
    maxMs: spans.at(-1) ?? 0,
  };
}

function answered(receipt: Receipt): boolean {
  return receipt.repliedAt !== undefined;
}

function isOpen(promised: Promised): boolean {
  return !promised.bounced && !promised.copies.some(answered);
}

function keyOf(benchId: string, recipient: string): string {
  return `${benchId} ${recipient.toLowerCase()}`;
}

function push<Value>(map: Map<string, Value[]>, key: string, value: Value): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}
