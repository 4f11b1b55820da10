// How much of what strangers are refused gets into the delivery log: whoever may not submit must not fill our disk.

import { type Millis, secondMs } from "../core/time.ts";

const burstMax = 100;
const notesPerSecond = 10;

/** A token bucket over all sessions of strangers. What is not noted is still counted in the metrics. */
export class NoteLimit {
  #left = burstMax;
  #atMs: Millis | undefined;

  /** Whether one more may be noted now; `nowMs` is monotonic. */
  take(nowMs: Millis): boolean {
    const spentMs = nowMs - (this.#atMs ?? nowMs);
    this.#atMs = nowMs;
    this.#left = Math.min(burstMax, this.#left + (spentMs * notesPerSecond) / secondMs);
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
