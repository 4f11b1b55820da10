// From the outcomes of an attempt to the next state of its recipients: a pure function.

import type { StreamConfig } from "../config/config.ts";
import { assert, assertNever } from "../core/assert.ts";
import type { Message, QueuedRecipient, QueueEntry, RecipientState } from "../core/message.ts";
import { isFinal } from "../core/message.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Random } from "../core/random.ts";
import type { Instant, Millis } from "../core/time.ts";
import { nextDueAt } from "../shaping/shaping.ts";

export interface SettlePolicy {
  readonly unknownOutcome: "retry" | "bounce" | "assume-delivered";
  readonly unknownRetryMinMs: Millis;
}

export interface SettleInput {
  readonly message: Message;
  readonly entry: QueueEntry;
  /** Indexes into `entry.recipients`, and the outcome of each. */
  readonly pending: readonly number[];
  readonly outcomes: readonly Outcome[];
  readonly now: Instant;
  readonly stream: StreamConfig;
  readonly policy: SettlePolicy;
}

export interface Settlement {
  /** The entry to keep. All recipients are final when `done`. */
  readonly entry: QueueEntry;
  readonly done: boolean;
  /** Indexes of recipients that became final now. */
  readonly finished: readonly number[];
  /** Indexes of recipients that wait and may now be told so, once (RFC 3461 section 4.1). */
  readonly delayed: readonly number[];
}

/** What becomes of the recipients of an entry after one attempt. */
export function settle(input: SettleInput, random: Random): Settlement {
  const { message, entry, pending, outcomes, now, stream, policy } = input;
  assert(pending.length === outcomes.length, "each pending recipient has one outcome");
  const attempts = entry.attempts + 1;
  // Most mail is delivered at the first attempt, and needs no further due time.
  const retries = outcomes.some(({ kind }) => kind === "transient" || kind === "unknown");
  const unknown = policy.unknownOutcome === "retry" && outcomes.some((outcome) => outcome.kind === "unknown");
  // Recipients of an entry share the due time: the one that must wait longest decides.
  const waitMinMs = unknown ? policy.unknownRetryMinMs : 0;
  const dueAt = retries
    ? nextDueAt({ now, attempts, retryMs: stream.retryMs, expiresAt: message.expiresAt, waitMinMs }, random)
    : undefined;

  const recipients = entry.recipients.slice();
  const finished: number[] = [];
  const waiting: number[] = [];
  pending.forEach((index, position) => {
    const recipient = recipients[index] as QueuedRecipient;
    assert(!isFinal(recipient.state), "a final recipient is not attempted again");
    const state = stateAfter(outcomes[position] as Outcome, dueAt !== undefined, policy);
    recipients[index] = { ...recipient, state };
    (isFinal(state) ? finished : waiting).push(index);
  });

  const delayDue =
    stream.delayDsnMs !== undefined &&
    entry.delayNotifiedAt === undefined &&
    now - message.receivedAt >= stream.delayDsnMs;
  const delayed = delayDue ? waiting : [];
  return {
    entry: {
      ...entry,
      attempts,
      dueAt: dueAt ?? entry.dueAt,
      delayNotifiedAt: delayed.length > 0 ? now : entry.delayNotifiedAt,
      recipients,
    },
    done: recipients.every((recipient) => isFinal(recipient.state)),
    finished,
    delayed,
  };
}

function stateAfter(outcome: Outcome, anotherAttempt: boolean, policy: SettlePolicy): RecipientState {
  switch (outcome.kind) {
    case "delivered":
      return { kind: "delivered", outcome };
    case "permanent":
      return { kind: "failed", outcome };
    case "transient":
      return anotherAttempt ? { kind: "pending", last: outcome } : { kind: "expired", last: outcome };
    case "unknown":
      if (policy.unknownOutcome === "bounce") return { kind: "failed", outcome };
      if (policy.unknownOutcome === "assume-delivered") return { kind: "delivered", outcome };
      return anotherAttempt ? { kind: "pending", last: outcome } : { kind: "expired", last: outcome };
    default:
      return assertNever(outcome);
  }
}

/** All pending recipients of an entry end in the given state, without an attempt. */
export function endEntry(
  entry: QueueEntry,
  stateOf: (last: Outcome | undefined) => RecipientState,
): { readonly entry: QueueEntry; readonly finished: readonly number[] } {
  const finished: number[] = [];
  const recipients = entry.recipients.map((recipient, index) => {
    if (recipient.state.kind !== "pending") return recipient;
    finished.push(index);
    return { ...recipient, state: stateOf(recipient.state.last) };
  });
  return { entry: { ...entry, recipients }, finished };
}

export function pendingIndexes(entry: QueueEntry): number[] {
  const indexes: number[] = [];
  entry.recipients.forEach((recipient, index) => {
    if (!isFinal(recipient.state)) indexes.push(index);
  });
  return indexes;
}
