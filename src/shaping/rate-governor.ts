// The rate governor: the generic cell rate algorithm over one slot of a shared table.
//
// A slot holds the theoretical arrival time of the next message. That is the whole state, so that a table can lie in
// memory that several shards share.

import type { Rate } from "../config/config.ts";
import type { Admission } from "../core/attempt.ts";
import type { Millis } from "../core/time.ts";

const go: Admission = { kind: "go" };
/** How much of a rate may go at once: what it allows in this time, and at least one. */
const burstSpanMs: Millis = 100;

/** Slots of governor state. They are handed out and taken back; the table grows by doubling. */
export class GovernorTable {
  #arrivalMs = new Float64Array(64);
  #free: number[] = [];
  #used = 0;

  take(): number {
    const slot = this.#free.pop() ?? this.#used++;
    if (slot >= this.#arrivalMs.length) {
      const larger = new Float64Array(this.#arrivalMs.length * 2);
      larger.set(this.#arrivalMs);
      this.#arrivalMs = larger;
    }
    this.#arrivalMs[slot] = 0;
    return slot;
  }

  give(slot: number): void {
    this.#free.push(slot);
  }

  arrivalMs(slot: number): Millis {
    return this.#arrivalMs[slot] as number;
  }

  setArrivalMs(slot: number, value: Millis): void {
    this.#arrivalMs[slot] = value;
  }
}

/** Admits at most `rate`, evenly, with a burst of a tenth of a second's worth. An undefined rate admits everything. */
export class RateGovernor {
  readonly #table: GovernorTable;
  readonly #slot: number;
  #intervalMs = 0;
  #toleranceMs = 0;

  constructor(table: GovernorTable, rate: Rate) {
    this.#table = table;
    this.#slot = table.take();
    this.setRate(rate, 0);
  }

  /** What was taken ahead at the old rate is paid for at the new one, so that a raised limit holds at once. */
  setRate(rate: Rate, nowMs: Millis): void {
    const before = this.#intervalMs;
    this.#intervalMs = rate === undefined ? 0 : rate.perMs / rate.count;
    const aheadMs = this.#table.arrivalMs(this.#slot) - nowMs;
    if (aheadMs > 0 && before > 0) {
      this.#table.setArrivalMs(this.#slot, nowMs + (aheadMs * this.#intervalMs) / before);
    }
    const burst = rate === undefined ? 1 : Math.max(1, Math.floor(burstSpanMs / this.#intervalMs));
    this.#toleranceMs = (burst - 1) * this.#intervalMs;
  }

  /** Takes a token when it answers "go". `nowMs` is the clock's monotonic time. */
  admit(nowMs: Millis): Admission {
    if (this.#intervalMs === 0) return go;
    const arrival = this.#table.arrivalMs(this.#slot);
    const earliest = arrival - this.#toleranceMs;
    if (nowMs < earliest) return { kind: "wait", untilMs: earliest };
    this.#table.setArrivalMs(this.#slot, Math.max(arrival, nowMs) + this.#intervalMs);
    return go;
  }

  /** Whole tokens left at this moment, for people; Infinity without a rate. */
  tokens(nowMs: Millis): number {
    if (this.#intervalMs === 0) return Number.POSITIVE_INFINITY;
    const arrival = Math.max(this.#table.arrivalMs(this.#slot), nowMs);
    return Math.max(0, Math.floor((nowMs + this.#toleranceMs - arrival) / this.#intervalMs) + 1);
  }

  /** Whether it admits as freely as a new one would. */
  isRested(nowMs: Millis): boolean {
    return this.#table.arrivalMs(this.#slot) <= nowMs;
  }

  close(): void {
    this.#table.give(this.#slot);
  }
}
