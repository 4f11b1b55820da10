// The real clock.

import type { Clock, Instant, Millis, Timer } from "../core/time.ts";

/** Node fires a timer with a longer delay at once, so longer waits are made of several. */
const systemTimerMaxMs: Millis = 2 ** 31 - 1;

export class SystemClock implements Clock {
  now(): Instant {
    return Date.now();
  }

  monotonicMs(): Millis {
    return performance.now();
  }

  after(delayMs: Millis, callback: () => void): Timer {
    return new SystemTimer(performance.now() + delayMs, callback);
  }
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
