// A simulated clock for tests: its time moves only when the test says so.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock, Instant, Millis, Timer } from "../../src/core/time.ts";

interface Pending {
  readonly dueMs: Millis;
  readonly order: number;
  readonly callback: () => void;
  cancelled: boolean;
}

/** 2026-01-01T00:00:00Z. */
export const simStart: Instant = 1_767_225_600_000;

/** Timers run in the order of their due time, and of their making where that is equal. */
export class SimClock implements Clock {
  /** A binary heap: the earliest timer first. */
  readonly #heap: Pending[] = [];
  #wallOffset: number;
  #monotonic = 0;
  #made = 0;
  #live = 0;

  constructor(start: Instant = simStart) {
    this.#wallOffset = start;
  }

  now(): Instant {
    return this.#wallOffset + this.#monotonic;
  }

  monotonicMs(): Millis {
    return this.#monotonic;
  }

  after(delayMs: Millis, callback: () => void): Timer {
    const pending: Pending = {
      dueMs: this.#monotonic + Math.max(0, delayMs),
      order: this.#made++,
      callback,
      cancelled: false,
    };
    this.#push(pending);
    this.#live++;
    return {
      cancel: () => {
        if (!pending.cancelled) this.#live--;
        pending.cancelled = true;
      },
    };
  }

  /** Timers that have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#live;
  }

  /** Milliseconds until the next timer, or undefined when there is none. */
  get nextTimerInMs(): Millis | undefined {
    this.#dropCancelled();
    const first = this.#heap[0];
    return first === undefined ? undefined : Math.max(0, first.dueMs - this.#monotonic);
  }

  /** Sets the wall clock, as an administrator or NTP does. Timers and the monotonic clock do not notice. */
  setWall(now: Instant): void {
    this.#wallOffset = now - this.#monotonic;
  }

  /**
   * Moves time on by `ms` and runs the timers that fall due, those made on the way included. Before, between and after
   * them it waits for one turn of the event loop, so promises settle in simulated time.
   */
  async advance(ms: Millis): Promise<void> {
    const end = this.#monotonic + ms;
    await nextTurn();
    for (;;) {
      this.#dropCancelled();
      const first = this.#heap[0];
      if (first === undefined || first.dueMs > end) break;
      this.#pop();
      this.#monotonic = Math.max(this.#monotonic, first.dueMs);
      first.cancelled = true;
      this.#live--;
      first.callback();
      await nextTurn();
    }
    this.#monotonic = Math.max(this.#monotonic, end);
    await nextTurn();
  }

  #dropCancelled(): void {
    while (this.#heap[0]?.cancelled) this.#pop();
  }

  #push(pending: Pending): void {
    const heap = this.#heap;
    let at = heap.push(pending) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(pending, heap[parent] as Pending)) break;
      heap[at] = heap[parent] as Pending;
      at = parent;
    }
    heap[at] = pending;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Pending, heap[child] as Pending)) child++;
      if (!isBefore(heap[child] as Pending, last)) break;
      heap[at] = heap[child] as Pending;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(left: Pending, right: Pending): boolean {
  return left.dueMs < right.dueMs || (left.dueMs === right.dueMs && left.order < right.order);
}
