// How late the thread's event loop runs: a timer is due every few milliseconds, and what it comes later is the delay.

import { type Millis, secondMs } from "../core/time.ts";

const periodMs: Millis = 10;
/** The worst delay is told for the present stretch of time and the one before, whoever asks and how often. */
const stretchMs: Millis = 10 * secondMs;

export class LoopWatch {
  readonly #timer: NodeJS.Timeout;
  readonly #onDelay: (seconds: number) => void;
  #lookedMs: Millis = performance.now();
  #stretchEndMs: Millis = this.#lookedMs + stretchMs;
  #worstMs: Millis = 0;
  #worstBeforeMs: Millis = 0;

  /** `onDelay` hears every delay, small ones too. */
  constructor(onDelay: (seconds: number) => void) {
    this.#onDelay = onDelay;
    this.#timer = setTimeout(() => this.#look(), periodMs).unref();
  }

  /** The worst delay of the last ten to twenty seconds. */
  get worstSeconds(): number {
    return Math.max(this.#worstMs, this.#worstBeforeMs) / secondMs;
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #look(): void {
    const nowMs = performance.now();
    // Node counts in whole milliseconds, and may be early by a part of one.
    const delayMs = Math.max(0, nowMs - this.#lookedMs - periodMs);
    this.#lookedMs = nowMs;
    if (nowMs >= this.#stretchEndMs) {
      this.#worstBeforeMs = this.#worstMs;
      this.#worstMs = 0;
      this.#stretchEndMs = nowMs + stretchMs;
    }
    this.#worstMs = Math.max(this.#worstMs, delayMs);
    this.#onDelay(delayMs / secondMs);
    this.#timer.refresh();
  }
}
