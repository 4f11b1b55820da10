// The real clock. Its monotonic time is the same in all threads, so that they can leave times for each other.

import type { Clock, Instant, Millis, Timer } from "../core/time.ts";

/** Node fires a timer with a longer delay at once, so longer waits are made of several. */
const systemTimerMaxMs: Millis = 2 ** 31 - 1;
const offsetLooks = 5;

/**
 * A wall clock that is set back is followed slowly: until the real one has caught up, this one runs at half speed. So
 * nothing is ever due earlier than it was, and mail that was accepted before does not wait for the clock to come round
 * again.
 */
export class SystemClock implements Clock {
  readonly #wall: () => number;
  readonly #monotonic: () => Millis;
  readonly #threadOffsetMs = threadOffsetMs();
  #last: number;
  #lastMs: Millis;

  constructor(wall: () => number = () => Date.now(), monotonic: () => Millis = () => performance.now()) {
    this.#wall = wall;
    this.#monotonic = monotonic;
    this.#last = wall();
    this.#lastMs = monotonic();
  }

  now(): Instant {
    const nowMs = this.#monotonic();
    const slowest = this.#last + (nowMs - this.#lastMs) / 2;
    this.#last = Math.max(this.#wall(), slowest);
    this.#lastMs = nowMs;
    return Math.floor(this.#last);
  }

  monotonicMs(): Millis {
    return performance.now() + this.#threadOffsetMs;
  }

  after(delayMs: Millis, callback: () => void): Timer {
    return new SystemTimer(performance.now() + delayMs, callback);
  }
}

/** What the system's monotonic time is ahead of performance.now(), which counts from the start of its own thread. */
function threadOffsetMs(): Millis {
  let offsetMs = Number.NEGATIVE_INFINITY;
  // Whatever comes between the two looks makes the difference smaller: the largest is the best.
  for (let look = 0; look < offsetLooks; look++) {
    offsetMs = Math.max(offsetMs, Number(process.hrtime.bigint()) / 1e6 - performance.now());
  }
  return offsetMs;
}

class SystemTimer implements Timer {
  readonly #dueMs: Millis;
  #callback: (() => void) | undefined;
  #timeout: NodeJS.Timeout | undefined;

  constructor(dueMs: Millis, callback: () => void) {
    this.#dueMs = dueMs;
    this.#callback = callback;
    this.#arm();
  }

  cancel(): void {
    clearTimeout(this.#timeout);
    this.#callback = undefined;
  }

  #arm(): void {
    const leftMs = Math.min(Math.max(0, Math.ceil(this.#dueMs - performance.now())), systemTimerMaxMs);
    this.#timeout = setTimeout(() => this.#fire(), leftMs);
    this.#timeout.unref();
  }

  /** Node counts in whole milliseconds and may come up to one too early: then it waits for the rest. */
  #fire(): void {
    if (performance.now() < this.#dueMs) {
      this.#arm();
      return;
    }
    const callback = this.#callback;
    this.#callback = undefined;
    callback?.();
  }
}
