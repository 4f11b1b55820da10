// A deadline that is moved often and met seldom: moving it costs an assignment, not a timer.

import type { Clock, Millis, Timer } from "../core/time.ts";

/**
 * Calls `expired` once the time set last has passed. At most one timer exists; it looks again when it fires too early,
 * and it is armed for `lookMs` at most, so that a nearer deadline seldom needs a new one.
 */
export class Deadline {
  readonly #clock: Clock;
  readonly #lookMs: Millis;
  readonly #expired: () => void;
  #dueMs: Millis | undefined;
  #timer: Timer | undefined;
  #timerMs: Millis = 0;

  constructor(clock: Clock, lookMs: Millis, expired: () => void) {
    this.#clock = clock;
    this.#lookMs = lookMs;
    this.#expired = expired;
  }

  /** Moves the deadline to `delayMs` from now. */
  set(delayMs: Millis): void {
    const now = this.#clock.monotonicMs();
    this.#dueMs = now + delayMs;
    if (this.#timer !== undefined && this.#timerMs > this.#dueMs) this.#disarm();
    if (this.#timer === undefined) this.#arm(now);
  }

  /** There is no deadline now. A timer that runs is left to find that out. */
  clear(): void {
    this.#dueMs = undefined;
  }

  close(): void {
    this.clear();
    this.#disarm();
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(now: Millis): void {
    const delayMs = Math.min(this.#lookMs, (this.#dueMs as Millis) - now);
    this.#timerMs = now + delayMs;
    this.#timer = this.#clock.after(Math.max(1, delayMs), () => {
      this.#timer = undefined;
      this.#look();
    });
  }

  #look(): void {
    if (this.#dueMs === undefined) return;
    const now = this.#clock.monotonicMs();
    if (now < this.#dueMs) {
      this.#arm(now);
      return;
    }
    this.#dueMs = undefined;
    this.#expired();
  }
}
