// Time as the product counts it. The real and the simulated clock implement `Clock`; nothing else reads time.

/** Wall-clock milliseconds since the Unix epoch, UTC. What is stored on disk and shown to people. */
export type Instant = number;

/** A span of time in milliseconds. */
export type Millis = number;

export interface Timer {
  /** Stops the timer. Calling it again, or after it fired, does nothing. */
  cancel(): void;
}

export interface Clock {
  /** The wall clock. It may jump: use it for what is stored (due times, receivedAt), never to measure a span. */
  now(): Instant;
  /** A clock that never goes back. Use it to measure spans and for deadlines inside the process. */
  monotonicMs(): Millis;
  /** Calls `callback` once after `delayMs` of monotonic time. A pending timer does not keep the process alive. */
  after(delayMs: Millis, callback: () => void): Timer;
}

export const secondMs: Millis = 1_000;
export const minuteMs: Millis = 60_000;
export const hourMs: Millis = 3_600_000;
export const dayMs: Millis = 86_400_000;
