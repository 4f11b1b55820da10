// What an attempt came to, made durable: the entry's next state, its events and the DSNs it calls for, in one change.

import { type Config, type StreamConfig, streamOf } from "../config/config.ts";
import { assert, assertNever } from "../core/assert.ts";
import type { EventKind } from "../core/event.ts";
import type { QueueIds } from "../core/ids.ts";
import type {
  AttemptNote,
  Message,
  QueuedRecipient,
  QueueEntry,
  QueuePosition,
  RecipientState,
} from "../core/message.ts";
import { historyMax, isFinal } from "../core/message.ts";
import { describeFault, type Outcome } from "../core/outcome.ts";
import type { Instant } from "../core/time.ts";
import { actionOnSuccess, type DsnRecipient } from "../outcome/outcome.ts";
import type { SpoolOperation } from "../spool/spool.ts";
import type { EventContext, EventWriter } from "./event-writer.ts";
import { newMessage } from "./new-message.ts";
import type { QueuePorts } from "./ports.ts";
import { endEntry, pendingIndexes, settle } from "./settle.ts";
import type { Waiting } from "./waiting.ts";

/** Settlements that may wait for the disk before no further message is started. */
const uncommittedMax = 2_000;

export interface Attempted {
  readonly queue: Waiting;
  readonly position: QueuePosition;
  readonly message: Message;
  readonly entry: QueueEntry;
  readonly pending: readonly number[];
  readonly outcomes: readonly Outcome[];
  readonly context: Omit<EventContext, "attempts">;
  readonly cancelledBy: string | undefined;
}

export interface SettlementsOwner {
  readonly config: Config;
  /**
   * After the commit: the claim on `position` ends, and the entry waits at its new place unless it is done.
   * `finished`: recipients that became final.
   */
  moved(queue: Waiting, position: QueuePosition, entry: QueueEntry | undefined, finished: number): void;
  /** After the commit: a DSN of ours is in its queues. */
  accepted(message: Message, entries: readonly QueueEntry[]): void;
  /** The number of uncommitted settlements fell below the limit again. */
  uncongested(): void;
}

export class Settlements {
  readonly #ports: QueuePorts;
  readonly #owner: SettlementsOwner;
  readonly #events: EventWriter;
  readonly #ids: QueueIds;
  #uncommitted = 0;
  #idle: (() => void)[] = [];

  constructor(ports: QueuePorts, owner: SettlementsOwner, events: EventWriter, ids: QueueIds) {
    this.#ports = ports;
    this.#owner = owner;
    this.#events = events;
    this.#ids = ids;
  }

  get congested(): boolean {
    return this.#uncommitted >= uncommittedMax;
  }

  /** Resolves when no settlement waits for the disk, or when the disk failed. */
  async idle(): Promise<void> {
    if (this.#uncommitted === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Settles one attempt. Returns at once; what follows the commit is done by the owner. */
  attempted(attempt: Attempted): void {
    const { queue, message, entry, pending, outcomes, cancelledBy } = attempt;
    const stream = this.#stream(message);
    const now = this.#ports.clock.now();
    const damaged = outcomes.some((outcome) => isDamage(outcome));
    if (damaged) {
      this.quarantine(queue, attempt.position, message.queueId, "damaged content", pending.length);
      return;
    }
    const policy = this.#owner.config.delivery;
    const settled = settle({ message, entry, pending, outcomes, now, stream, policy }, this.#ports.random);
    const cancelled =
      cancelledBy === undefined || settled.done
        ? undefined
        : endEntry(settled.entry, () => ({ kind: "cancelled", by: cancelledBy, at: now }));
    const next = withHistory(cancelled?.entry ?? settled.entry, outcomes, attempt.context, now);
    const context: EventContext = { ...attempt.context, attempts: next.attempts };

    let lines = "";
    pending.forEach((index, position) => {
      const recipient = next.recipients[index] as QueuedRecipient;
      const outcome = outcomes[position] as Outcome;
      lines += this.#events.ofRecipient(
        eventOf(outcome, recipient.state),
        message,
        recipient.forwardPath,
        context,
        outcome,
      );
      if (outcome.kind === "unknown" && (recipient.state.kind === "failed" || recipient.state.kind === "delivered")) {
        const final = recipient.state.kind === "failed" ? "bounce" : "delivery";
        lines += this.#events.ofRecipient(final, message, recipient.forwardPath, context, outcome);
      } else if (recipient.state.kind === "expired") {
        lines += this.#events.ofRecipient("expiration", message, recipient.forwardPath, context, outcome);
      } else if (recipient.state.kind === "cancelled") {
        const { forwardPath, state } = recipient;
        lines += this.#events.ofRecipient("cancellation", message, forwardPath, context, undefined, state.by);
      }
      this.#observe(message, recipient, outcome, context);
      if (outcome.kind !== "delivered") {
        queue.lastError = { at: now, text: describeFault(outcome.fault) };
      }
    });
    const reports = [
      ...settled.finished.map((index) => this.#report(next.recipients[index] as QueuedRecipient, context)),
      ...(cancelled === undefined ? settled.delayed : []).map((index) =>
        this.#delayReport(next.recipients[index] as QueuedRecipient, message, context),
      ),
    ];
    void this.#commit(
      queue,
      attempt.position,
      message,
      next,
      pending.length - pendingIndexes(next).length,
      lines,
      reports,
    );
  }

  /** Ends all pending recipients without an attempt: expired, or cancelled by an operator. */
  ended(
    queue: Waiting,
    position: QueuePosition,
    message: Message,
    entry: QueueEntry,
    state: { readonly kind: "expired" } | { readonly kind: "cancelled"; readonly by: string },
  ): Promise<void> {
    const now = this.#ports.clock.now();
    const { entry: next, finished } = endEntry(entry, (last) =>
      state.kind === "expired" ? { kind: "expired", last } : { kind: "cancelled", by: state.by, at: now },
    );
    const context: EventContext = {
      site: queue.plan?.site,
      source: undefined,
      pool: this.#stream(message).pool,
      attempts: entry.attempts,
      info: undefined,
      signedBy: [],
    };
    const kind: EventKind = state.kind === "expired" ? "expiration" : "cancellation";
    let lines = "";
    const reports: (DsnRecipient | undefined)[] = [];
    for (const index of finished) {
      const recipient = next.recipients[index] as QueuedRecipient;
      const last = recipient.state.kind === "expired" ? recipient.state.last : undefined;
      const by = state.kind === "cancelled" ? state.by : undefined;
      lines += this.#events.ofRecipient(kind, message, recipient.forwardPath, context, last, by);
      if (state.kind === "expired") reports.push(this.#report(recipient, context));
    }
    return this.#commit(queue, position, message, next, finished.length, lines, reports);
  }

  /** Takes a damaged message out of the queues; it stays on the disk for a person to look at. `recipients`: if known. */
  quarantine(queue: Waiting, position: QueuePosition, queueId: string, reason: string, recipients = 1): void {
    this.#ports.log.error({ queueId, reason }, "message quarantined: it will not be sent; see `postern spool check`");
    const at = this.#ports.clock.now();
    void this.#track(queueId, [{ kind: "quarantine", queueId, reason, at }], () =>
      this.#owner.moved(queue, position, undefined, recipients),
    );
  }

  /** Moves an entry to another due time without an attempt: an operator's hold, release or retry. */
  moved(queue: Waiting, position: QueuePosition, entry: QueueEntry): Promise<void> {
    return this.#track(position.queueId, [{ kind: "reschedule", entry, from: position.dueAt }], () =>
      this.#owner.moved(queue, position, entry, 0),
    );
  }

  #commit(
    queue: Waiting,
    position: QueuePosition,
    message: Message,
    entry: QueueEntry,
    finished: number,
    lines: string,
    reports: readonly (DsnRecipient | undefined)[],
  ): Promise<void> {
    const done = pendingIndexes(entry).length === 0;
    const operations: SpoolOperation[] = [{ kind: done ? "finish" : "reschedule", entry, from: position.dueAt }];
    const dsns = this.#dsns(message, reports, operations);
    const allLines = dsns.reduce((text, dsn) => text + dsn.lines, lines);
    if (allLines !== "") operations.push({ kind: "events", lines: allLines });
    return this.#track(position.queueId, operations, () => {
      this.#owner.moved(queue, position, done ? undefined : entry, finished);
      for (const dsn of dsns) this.#owner.accepted(dsn.message, dsn.entries);
    });
  }

  #track(queueId: string, operations: readonly SpoolOperation[], then: () => void): Promise<void> {
    this.#uncommitted++;
    const { spool, fatal } = this.#ports;
    return spool.commit(operations).then(
      () => this.#ended(then),
      (error: unknown) => {
        // The claim stays: nothing is tried again by this process.
        const reason = error instanceof Error ? error : new Error(String(error));
        if (spool.health().kind !== "failed") {
          this.#ended(() => this.#refused(queueId, operations, reason));
          return;
        }
        // The next process finds the old state on the disk.
        for (const resolve of this.#idle.splice(0)) resolve();
        fatal(reason);
      },
    );
  }

  #ended(then: () => void): void {
    const wasCongested = this.congested;
    this.#uncommitted--;
    then();
    if (wasCongested && !this.congested) this.#owner.uncongested();
    if (this.#uncommitted === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /**
   * The spool is well and cannot apply this one change: the message's records contradict each other. It leaves its queues,
   * since after each restart it would be sent again, and the other mail goes on.
   */
  #refused(queueId: string, operations: readonly SpoolOperation[], error: Error): void {
    const { log, clock } = this.#ports;
    if (operations.some(({ kind }) => kind === "quarantine")) {
      log.error(
        { err: error, queueId },
        "not quarantined: it may be sent again after a restart; see `postern spool check`",
      );
      return;
    }
    log.error(
      { err: error, queueId },
      "what became of a message cannot be recorded: quarantined; see `postern spool check`",
    );
    const note: SpoolOperation = { kind: "quarantine", queueId, reason: error.message, at: clock.now() };
    const events = operations.filter(({ kind }) => kind === "events");
    void this.#track(queueId, [note, ...events], () => undefined);
  }

  #dsns(message: Message, reports: readonly (DsnRecipient | undefined)[], operations: SpoolOperation[]) {
    const due = reports.filter(
      (report): report is DsnRecipient =>
        report !== undefined && this.#ports.dsnDue(report.recipient.notify, report.action),
    );
    if (due.length === 0) return [];
    const at = this.#ports.clock.now();
    const dsn = this.#ports.dsnWriter.write({
      message,
      recipients: due,
      content: () => this.#ports.spool.readContent(message.queueId),
      at,
    });
    if (dsn === undefined) return [];
    const headerEnd = dsn.content.indexOf("\r\n\r\n");
    assert(headerEnd !== -1, "a DSN has a header section");
    const accepted = newMessage(
      {
        stream: message.stream,
        tenant: message.tenant,
        job: message.job,
        envelope: {
          reversePath: "",
          envid: undefined,
          ret: undefined,
          body: dsn.body,
          smtpUtf8: dsn.smtpUtf8,
          requireTls: false,
        },
        recipients: [{ forwardPath: dsn.to, orcpt: undefined, notify: [] }],
        content: [dsn.content],
        contentBytes: dsn.content.length,
        headerBytes: headerEnd + 4,
        hasDotLines: dsn.content.indexOf("\r\n.") !== -1,
        fromDomain: this.#owner.config.bounces.returnPath.split("@").at(-1),
        messageIdHeader: undefined,
        loggedHeaders: {},
        user: undefined,
        queueId: this.#ids.next(),
        receivedAt: at,
        sessionId: "",
        remote: { name: "", address: "" },
        idempotencyKey: undefined,
      },
      this.#stream(message),
      "dsn",
    );
    operations.push({ kind: "accept", ...accepted, content: [dsn.content], idempotency: undefined });
    const context: EventContext = {
      site: undefined,
      source: undefined,
      pool: undefined,
      attempts: 0,
      info: undefined,
      signedBy: [],
    };
    return [
      { ...accepted, lines: this.#events.ofRecipient("reception", accepted.message, dsn.to, context, undefined) },
    ];
  }

  /** What is to be told of a recipient that is final now, to those who want to know; undefined: nothing. */
  #report(recipient: QueuedRecipient, context: EventContext): DsnRecipient | undefined {
    const { state } = recipient;
    const remoteName = context.info?.remote?.name;
    switch (state.kind) {
      case "delivered": {
        const action = actionOnSuccess(context.info?.peerDsn);
        return action && { recipient, action, outcome: state.outcome, remoteName, willRetryUntil: undefined };
      }
      case "failed":
        return { recipient, action: "failed", outcome: state.outcome, remoteName, willRetryUntil: undefined };
      case "expired":
        return { recipient, action: "failed", outcome: state.last, remoteName, willRetryUntil: undefined };
      case "pending":
      case "cancelled":
        return undefined;
      default:
        return assertNever(state);
    }
  }

  #delayReport(recipient: QueuedRecipient, message: Message, context: EventContext): DsnRecipient {
    const outcome = recipient.state.kind === "pending" ? recipient.state.last : undefined;
    const remoteName = context.info?.remote?.name;
    return { recipient, action: "delayed", outcome, remoteName, willRetryUntil: message.expiresAt };
  }

  #observe(message: Message, recipient: QueuedRecipient, outcome: Outcome, context: EventContext): void {
    const { observer, clock } = this.#ports;
    observer.deliveryAttempt(context.site ?? "", context.source ?? "", outcome.kind);
    if (outcome.kind === "delivered")
      observer.acceptToDelivery(message.stream, (clock.now() - message.receivedAt) / 1000);
    else if (isFinal(recipient.state)) observer.bounce(this.#events.classOf(outcome.fault, context.site));
  }

  #stream(message: Message): StreamConfig {
    return streamOf(this.#owner.config, message.stream);
  }
}

/** Remembers the attempt when something is left to do: a message that ends with its first attempt costs nothing. */
function withHistory(
  entry: QueueEntry,
  outcomes: readonly Outcome[],
  context: Attempted["context"],
  at: Instant,
): QueueEntry {
  const failure = outcomes.find((outcome) => outcome.kind !== "delivered");
  if (failure === undefined || pendingIndexes(entry).length === 0) return entry;
  const delivered = outcomes.filter(({ kind }) => kind === "delivered").length;
  const remote = context.info?.remote;
  const note: AttemptNote = {
    at,
    source: context.source,
    remote: remote === undefined ? undefined : `${remote.name} [${remote.address}]`,
    result: `${delivered > 0 ? `${delivered} of ${outcomes.length} delivered; ` : ""}${failure.kind}: ${describeFault(failure.fault)}`,
  };
  return { ...entry, history: [...(entry.history ?? []), note].slice(-historyMax) };
}

function eventOf(outcome: Outcome, state: RecipientState): EventKind {
  if (outcome.kind === "unknown") return "unknown-outcome";
  if (state.kind === "delivered") return "delivery";
  return state.kind === "failed" ? "bounce" : "transient-failure";
}

function isDamage(outcome: Outcome): boolean {
  return outcome.kind !== "delivered" && outcome.fault.kind === "policy" && outcome.fault.rule === "damaged-content";
}
