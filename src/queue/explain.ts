// Explains, for people: what a queue, a message or a recipient waits for, until when, and which config line decides.

import type { Config } from "../config/config.ts";
import { assertNever } from "../core/assert.ts";
import { rfc3339 } from "../core/civil-date.ts";
import type { QueueId } from "../core/ids.ts";
import { heldInstant, type Message, type QueuedRecipient, type QueueEntry, type QueueName } from "../core/message.ts";
import { describeFault, type Outcome } from "../core/outcome.ts";
import { formatReply } from "../core/reply.ts";
import type { Instant } from "../core/time.ts";
import type { Spool } from "../spool/spool.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Holds } from "./holds.ts";
import type { MessageExplanation, QueueSummary, RecipientExplanation } from "./queue.ts";
import type { Waiting } from "./waiting.ts";

export interface ExplainDeps {
  readonly spool: Spool;
  readonly dispatcher: Dispatcher;
  readonly holds: Holds;
  readonly config: Config;
  readonly now: Instant;
  queueOf(name: QueueName): Waiting | undefined;
}

export function explainMessage(queueId: QueueId, deps: ExplainDeps): MessageExplanation | undefined {
  const message = deps.spool.readMessage(queueId);
  if (message === undefined) return undefined;
  const { stream, tenant, job, contentBytes, receivedAt, expiresAt } = message;
  return {
    queueId,
    stream,
    tenant,
    job,
    reversePath: message.envelope.reversePath,
    contentBytes,
    receivedAt,
    expiresAt,
    entries: deps.spool.readEntries(queueId).map((entry) => ({
      domain: entry.domain,
      site: deps.queueOf(entry)?.plan?.site,
      attempts: entry.attempts,
      dueAt: entry.dueAt,
      waitsFor: entryWaitsFor(message, entry, deps),
      history: entry.history ?? [],
      recipients: entry.recipients.map(explainRecipient),
    })),
  };
}

export function summarizeQueue(queue: Waiting, dispatcher: Dispatcher, now: Instant, holds: Holds): QueueSummary {
  const head = queue.due.headDueAt();
  return {
    stream: queue.name.stream,
    domain: queue.name.domain,
    site: queue.plan?.site,
    // Just after a start what lies on the disk is not counted yet.
    entries: Math.max(queue.entries, queue.due.known),
    recipients: Math.max(queue.recipients, queue.due.known),
    held: holds.ofQueue(queue.name) !== undefined,
    oldestDueAt: head,
    nextDueAt: head !== undefined && head > now ? head : undefined,
    inFlight: queue.due.claimed,
    lastError: queue.lastError,
    waitsFor: queueWaitsFor(queue, dispatcher, now, holds),
  };
}

function queueWaitsFor(queue: Waiting, dispatcher: Dispatcher, now: Instant, holds: Holds): string {
  const hold = holds.ofQueue(queue.name);
  if (hold !== undefined) return `an operator's release (held by ${hold.by}: ${hold.reason})`;
  switch (queue.phase.kind) {
    case "held":
      return "an operator's release";
    case "resolving":
      return "DNS";
    case "backoff":
      return `another try at ${rfc3339(queue.phase.until)} (${queue.phase.because})`;
    case "contending":
      return siteWaitsFor(queue, dispatcher);
    case "idle": {
      const head = queue.due.headDueAt();
      if (head === undefined) return queue.due.claimed > 0 ? "attempts under way" : "nothing";
      return head > now ? `its due time ${rfc3339(head)}` : "its turn";
    }
    default:
      return assertNever(queue.phase);
  }
}

function siteWaitsFor(queue: Waiting, dispatcher: Dispatcher): string {
  const site = queue.plan === undefined ? undefined : dispatcher.siteNamed(queue.plan.site);
  if (site === undefined) return "its turn";
  const [first, ...others] = site.lanes.values();
  let next = first;
  for (const lane of others) if ((lane.suspendedUntil ?? 0) < (next?.suspendedUntil ?? 0)) next = lane;
  if (next?.suspendedUntil === undefined) return `a slot at ${site.name} (limits: ${site.limits.where})`;
  return `the end of a suspension at ${rfc3339(next.suspendedUntil)} (${next.suspendedBecause})`;
}

function entryWaitsFor(message: Message, entry: QueueEntry, deps: ExplainDeps): string {
  if (entry.recipients.every(({ state }) => state.kind !== "pending")) return "nothing: all its recipients are final";
  if (deps.dispatcher.inFlight(entry.queueId, entry.entryNo) !== undefined)
    return "the attempt under way, or a slot of its lane";
  const hold = deps.holds.ofMessage(message, entry);
  if (hold !== undefined) return `an operator's release (held by ${hold.by}: ${hold.reason})`;
  if (entry.dueAt === heldInstant) return "an operator's release";
  const queue = deps.queueOf(entry);
  if (entry.dueAt > deps.now && deps.holds.ofQueue(entry) === undefined) {
    return `its due time ${rfc3339(entry.dueAt)} (streams.${message.stream}.retry)`;
  }
  return queue === undefined ? "its turn" : queueWaitsFor(queue, deps.dispatcher, deps.now, deps.holds);
}

function explainRecipient({ forwardPath, state }: QueuedRecipient): RecipientExplanation {
  switch (state.kind) {
    case "pending":
      return {
        forwardPath,
        state: "pending",
        detail: state.last === undefined ? "not tried yet" : describe(state.last),
      };
    case "delivered":
    case "failed":
      return { forwardPath, state: state.kind, detail: describe(state.outcome) };
    case "expired":
      return { forwardPath, state: "expired", detail: state.last === undefined ? "never tried" : describe(state.last) };
    case "cancelled":
      return { forwardPath, state: "cancelled", detail: `by ${state.by} at ${rfc3339(state.at)}` };
    default:
      return assertNever(state);
  }
}

function describe(outcome: Outcome): string {
  const what = outcome.kind === "delivered" ? formatReply(outcome.reply) : describeFault(outcome.fault);
  return `${outcome.kind} at ${rfc3339(outcome.at)}: ${what}`;
}
