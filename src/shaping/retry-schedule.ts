// When to try again (RFC 5321 section 4.5.4.1).

import type { Random } from "../core/random.ts";
import type { Instant, Millis } from "../core/time.ts";

/** Retries of mail that was deferred together are spread over this share of the wait, so that they do not come back as one. */
const jitterShare = 0.1;
/** Before the end of its life a message gets one more attempt, this long ahead, when a whole first wait fits before it. */
const lastAttemptLeadMs: Millis = 1_000;

export interface RetryInput {
  readonly now: Instant;
  /** Attempts made, the one that just failed included. */
  readonly attempts: number;
  /** Waits after the 1st, 2nd... attempt; the last repeats. Never empty. */
  readonly retryMs: readonly Millis[];
  readonly expiresAt: Instant;
  /** Never sooner than this, whatever the schedule says. */
  readonly waitMinMs: Millis;
}

/** The next due time, or undefined when there is no further attempt before the message expires. */
export function nextDueAt(input: RetryInput, random: Random): Instant | undefined {
  const step = Math.min(Math.max(input.attempts, 1), input.retryMs.length) - 1;
  const wait = Math.max(input.retryMs[step] as number, input.waitMinMs);
  const due = input.now + Math.round(wait * (1 + jitterShare * random.next()));
  if (due < input.expiresAt) return due;
  const last = input.expiresAt - lastAttemptLeadMs;
  const firstWait = Math.max(input.retryMs[0] as number, input.waitMinMs);
  return last - input.now >= firstWait ? last : undefined;
}
