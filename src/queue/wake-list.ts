// The wake-up list: which queue has something due next, with one timer for the whole of it.
//
// A binary heap in which each queue stands at most once and knows its place, so that its instant can be changed.

import type { Clock, Instant, Millis, Timer } from "../core/time.ts";
import type { Waiting } from "./waiting.ts";

/** The longest sleep: after it the wall clock is read again, so that a clock that was set does not stall the queue. */
const sleepMaxMs: Millis = 30_000;
/** Queues woken in one go; a longer list goes on after other events had their turn. */
const wakesAtOnceMax = 200;

export class WakeList {
  readonly #clock: Clock;
  readonly #wake: (queue: Waiting) => void;
  readonly #heap: Waiting[] = [];
  #timer: Timer | undefined;
  #timerAt: Instant = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, wake: (queue: Waiting) => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** Wakes the queue at `at`, instead of a wake-up that was set before. undefined: not at all. */
  set(queue: Waiting, at: Instant | undefined): void {
    if (queue.wakeAt === at) return;
    if (queue.wakeAt === undefined) {
      queue.wakeAt = at;
      this.#heap.push(queue);
      this.#up(this.#heap.length - 1);
    } else if (at === undefined) this.#remove(queue);
    else {
      queue.wakeAt = at;
      this.#up(queue.wakeIndex);
      this.#down(queue.wakeIndex);
    }
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timerAt = Number.NEGATIVE_INFINITY;
  }

  #arm(): void {
    const next = this.#heap[0]?.wakeAt;
    if (next === undefined || next >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = next;
    const delayMs = Math.min(sleepMaxMs, Math.max(0, next - this.#clock.now()));
    this.#timer = this.#clock.after(delayMs, () => this.#run());
  }

  #run(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    for (let woken = 0; woken < wakesAtOnceMax; woken++) {
      const queue = this.#heap[0];
      if (queue === undefined || (queue.wakeAt as Instant) > now) break;
      this.#remove(queue);
      this.#wake(queue);
    }
    this.#arm();
  }

  #remove(queue: Waiting): void {
    const at = queue.wakeIndex;
    const last = this.#heap.pop() as Waiting;
    queue.wakeAt = undefined;
    if (last === queue) return;
    this.#place(last, at);
    this.#up(at);
    this.#down(last.wakeIndex);
  }

  #place(queue: Waiting, at: number): void {
    this.#heap[at] = queue;
    queue.wakeIndex = at;
  }

  #up(start: number): void {
    const queue = this.#heap[start] as Waiting;
    let at = start;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.#heap[parent] as Waiting;
      if ((above.wakeAt as Instant) <= (queue.wakeAt as Instant)) break;
      this.#place(above, at);
      at = parent;
    }
    this.#place(queue, at);
  }

  #down(start: number): void {
    const queue = this.#heap[start] as Waiting;
    let at = start;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#heap.length) break;
      const right = this.#heap[child + 1];
      if (right !== undefined && (right.wakeAt as Instant) < ((this.#heap[child] as Waiting).wakeAt as Instant))
        child++;
      const below = this.#heap[child] as Waiting;
      if ((below.wakeAt as Instant) >= (queue.wakeAt as Instant)) break;
      this.#place(below, at);
      at = child;
    }
    this.#place(queue, at);
  }
}
