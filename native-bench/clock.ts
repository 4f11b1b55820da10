// Wall-clock time with fractions of a millisecond, comparable between the processes of one machine.

import { performance } from "node:perf_hooks";

/** Milliseconds since the Unix epoch; the fraction is that of the monotonic clock of this process. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Resolves after `delayMs`. */
export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}
