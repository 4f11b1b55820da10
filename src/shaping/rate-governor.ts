// The rate governor: the generic cell rate algorithm over two numbers in a lane's record.
//
// The theoretical arrival time of the next message is the whole state, so that the shards share it. Where several do,
// the caller holds the record's lock.

import type { Rate } from "../config/config.ts";
import type { Admission } from "../core/attempt.ts";
import type { Millis } from "../core/time.ts";
import { float, type LaneTable } from "./lane-table.ts";

const go: Admission = { kind: "go" };
/** How much of a rate may go at once: what it allows in this time, and at least one. */
const burstSpanMs: Millis = 100;

/** Admits at most `rate`, evenly, with a burst of a tenth of a second's worth. An undefined rate admits everything. */
export class RateGovernor {
  readonly #floats: Float64Array;
  readonly #arrivalAt: number;
  readonly #intervalAt: number;
  #intervalMs = 0;
  #toleranceMs = 0;

  /** `nowMs`, here and below, is the clock's monotonic time. */
  constructor(table: LaneTable, record: number, of: "message" | "connection", rate: Rate, nowMs: Millis) {
    this.#floats = table.floats;
    this.#arrivalAt = table.floatAt(record, float[`${of}ArrivalMs`]);
    this.#intervalAt = table.floatAt(record, float[`${of}IntervalMs`]);
    this.setRate(rate, nowMs);
  }

  /**
   * What was taken ahead at the old rate is paid for at the new one, so that a raised limit holds at once. The rate that
   * it was taken at stands in the record: only the first of the shards to have the new one does the sum.
   */
  setRate(rate: Rate, nowMs: Millis): void {
    const before = this.#floats[this.#intervalAt] as number;
    this.#intervalMs = rate === undefined ? 0 : rate.perMs / rate.count;
    const aheadMs = this.#arrivalMs - nowMs;
    if (aheadMs > 0 && before > 0 && before !== this.#intervalMs) {
      this.#floats[this.#arrivalAt] = nowMs + (aheadMs * this.#intervalMs) / before;
    }
    this.#floats[this.#intervalAt] = this.#intervalMs;
    const burst = rate === undefined ? 1 : Math.max(1, Math.floor(burstSpanMs / this.#intervalMs));
    this.#toleranceMs = (burst - 1) * this.#intervalMs;
  }

  get intervalMs(): Millis {
    return this.#intervalMs;
  }

  /** When the next one may go; in the past where it may go now. */
  get earliestMs(): Millis {
    return this.#intervalMs === 0 ? Number.NEGATIVE_INFINITY : this.#arrivalMs - this.#toleranceMs;
  }

  /** Takes a token when it answers "go". */
  admit(nowMs: Millis): Admission {
    if (this.#intervalMs === 0) return go;
    const untilMs = this.earliestMs;
    if (nowMs < untilMs) return { kind: "wait", untilMs };
    this.#floats[this.#arrivalAt] = Math.max(this.#arrivalMs, nowMs) + this.#intervalMs;
    return go;
  }

  /** Whole tokens left at this moment, for people; Infinity without a rate. */
  tokens(nowMs: Millis): number {
    if (this.#intervalMs === 0) return Number.POSITIVE_INFINITY;
    const arrival = Math.max(this.#arrivalMs, nowMs);
    return Math.max(0, Math.floor((nowMs + this.#toleranceMs - arrival) / this.#intervalMs) + 1);
  }

  /** Whether it admits as freely as a new one would. */
  isRested(nowMs: Millis): boolean {
    return this.#arrivalMs <= nowMs;
  }

  get #arrivalMs(): Millis {
    return this.#floats[this.#arrivalAt] as number;
  }
}
