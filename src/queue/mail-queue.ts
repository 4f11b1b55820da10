// The queue of one shard: takes mail into the spool, and lets the dispatcher deliver it.

import { type Config, streamOf } from "../config/config.ts";
import { type QueueId, QueueIds, type StreamName } from "../core/ids.ts";
import type { Message, QueueEntry, QueueName, QueuePosition } from "../core/message.ts";
import { hourMs, type Instant, type Millis } from "../core/time.ts";
import type { HoldRecord, IdempotencyRecord, Selection, SpoolOperation } from "../spool/spool.ts";
import { Actions } from "./actions.ts";
import { digestOf } from "./digest.ts";
import { Dispatcher } from "./dispatcher.ts";
import { DueQueue, type ScanQueue } from "./due-queue.ts";
import { EventWriter, messageFields } from "./event-writer.ts";
import { explainMessage, summarizeQueue } from "./explain.ts";
import { FreshMail, type Loaded } from "./fresh-mail.ts";
import { Holds } from "./holds.ts";
import { newMessage } from "./new-message.ts";
import { Outbox } from "./outbox.ts";
import type { QueuePorts } from "./ports.ts";
import { pressureOf } from "./pressure.ts";
import type {
  AcceptResult,
  ActionResult,
  Intake,
  LaneSummary,
  MessageExplanation,
  Operations,
  Pressure,
  QueueSummary,
  RejectionNote,
  Submission,
} from "./queue.ts";
import { Settlements } from "./settlements.ts";
import { idle, type Waiting } from "./waiting.ts";

/** An idempotency key answers a repeated submission for this long. */
const idempotencyMs: Millis = 48 * hourMs;
/** Queues looked at in one go while the spool is opened. */
const openAtOnceMax = 100;
/** How long after the start what the queues hold is counted, and how often meanwhile a stop is looked for. */
const countAfterMs: Millis = 2_000;
const countLookMs: Millis = 100;
/** Entries counted in one go. */
const countAtOnceMax = 1_000;

export class MailQueue implements Intake, Operations {
  readonly #ports: QueuePorts;
  readonly #fatal: (error: Error) => void;
  readonly #ids: QueueIds;
  readonly #events: EventWriter;
  readonly #holds: Holds;
  readonly #settlements: Settlements;
  readonly #dispatcher: Dispatcher;
  readonly #actions: Actions;
  readonly #outbox: Outbox;
  readonly #queues = new Map<string, Waiting>();
  /** One for all queues: there may be a hundred thousand. */
  readonly #scan: ScanQueue;
  readonly #fresh = new FreshMail();
  readonly #keysInFlight = new Map<string, Promise<AcceptResult>>();
  /** Queues found at start whose entries are not counted yet. */
  readonly #uncounted = new Set<Waiting>();
  #config: Config;
  #started = false;
  #stopping = false;
  #failed: Error | undefined;
  #opened: Promise<void> = Promise.resolve();

  constructor(ports: QueuePorts, config: Config) {
    this.#fatal = ports.fatal;
    this.#ports = { ...ports, fatal: (error) => this.#fail(error) };
    this.#config = config;
    this.#scan = (name, after, limit) => ports.spool.scanQueue(name, after, limit);
    this.#ids = new QueueIds(ports.clock, ports.random, ports.shard);
    this.#events = new EventWriter(ports);
    this.#holds = new Holds(ports.spool.holds());
    const queue = this;
    const owner = {
      get config() {
        return queue.#config;
      },
      get settlements() {
        return queue.#settlements;
      },
      get failed() {
        return queue.#failed !== undefined;
      },
      noted: () => this.#outbox.signal(),
      events: this.#events,
      holds: this.#holds,
      load: (position: QueuePosition) => this.#load(position),
      unloaded: (position: QueuePosition) => this.#fresh.done(position),
      emptied: (waiting: Waiting) => this.#emptied(waiting),
      moved: (waiting: Waiting, from: QueuePosition, entry: QueueEntry | undefined, finished: number) =>
        this.#moved(waiting, from, entry, finished),
      accepted: (message: Message, entries: readonly QueueEntry[]) => this.#accepted(message, entries, undefined),
      uncongested: () => this.#dispatcher.uncongested(),
    };
    this.#settlements = new Settlements(this.#ports, owner, this.#events, this.#ids);
    this.#dispatcher = new Dispatcher(this.#ports, owner);
    this.#outbox = new Outbox(ports.clock, ports.spool, ports.sink, ports.log, this.#ports.fatal);
    this.#actions = new Actions({
      ports: this.#ports,
      dispatcher: this.#dispatcher,
      settlements: this.#settlements,
      holds: this.#holds,
      events: this.#events,
      noted: () => this.#outbox.signal(),
      unknownRetryMinMs: () => this.#config.delivery.unknownRetryMinMs,
      queueOf: (name) => this.#queueOf(name),
      known: () => this.#queues.values(),
    });
  }

  /**
   * Starts delivering what the spool holds. Returns when the names of its queues are known (no mail may be accepted
   * before that, and `pressure` says so); what lies in them is looked at in steps.
   */
  start(): void {
    this.#started = true;
    const found = [...this.#ports.spool.queues()].map((name) => this.#queueOf(name, true));
    for (const queue of found) this.#uncounted.add(queue);
    this.#opened = this.#open(found);
    this.#outbox.signal();
  }

  /** Resolves when every queue on the disk is known. */
  get opened(): Promise<void> {
    return this.#opened;
  }

  reconfigure(config: Config): void {
    this.#config = config;
    this.#dispatcher.reconfigure(config);
  }

  /** Stops delivery after the transactions under way, and writes what is known about them. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const stopped = this.#dispatcher.stop();
    await this.#opened;
    await stopped;
    if (this.#failed === undefined) await this.#settlements.idle();
    await this.#outbox.close();
  }

  /**
   * For a `stop` that takes too long: breaks off all connections. Transactions that had begun get their outcomes, which
   * is "unknown" where the final dot was sent; `stop` then ends soon. Returns the number of connections.
   */
  breakOff(): number {
    return this.#dispatcher.breakOff();
  }

  // ---- Intake

  reserveId(): QueueId {
    return this.#ids.next();
  }

  pressure(): Pressure {
    if (this.#failed !== undefined) return { kind: "refuse", text: "the spool has failed; the server is stopping" };
    if (this.#stopping) return { kind: "refuse", text: "the server is stopping" };
    if (!this.#started) return { kind: "refuse", text: "the server is starting" };
    return pressureOf(this.#ports.spool, this.#ports.overload());
  }

  async accept(submission: Submission): Promise<AcceptResult> {
    const pressure = this.pressure();
    if (pressure.kind === "refuse") return { kind: "refused", text: pressure.text };
    if (submission.idempotencyKey === undefined) return this.#accept(submission, undefined);
    // A blank in a user's name must not move it into the key.
    const key = `${encodeURIComponent(submission.user ?? "")} ${submission.idempotencyKey}`;
    // The same key may come twice at one moment: the second waits for what becomes of the first, and a third for both.
    for (let first = this.#keysInFlight.get(key); first !== undefined; first = this.#keysInFlight.get(key)) {
      await first.catch(() => undefined);
    }
    const digest = digestOf(submission);
    const known = this.#ports.spool.readIdempotency(key);
    if (known !== undefined && known.expiresAt > submission.receivedAt) {
      return { kind: known.digest === digest ? "replayed" : "conflict", queueId: known.queueId };
    }
    const accepting = this.#accept(submission, {
      key,
      digest,
      queueId: submission.queueId,
      expiresAt: submission.receivedAt + idempotencyMs,
    });
    this.#keysInFlight.set(key, accepting);
    try {
      return await accepting;
    } finally {
      if (this.#keysInFlight.get(key) === accepting) this.#keysInFlight.delete(key);
    }
  }

  rejected(note: RejectionNote): void {
    if (this.#failed !== undefined) return;
    const { reversePath, forwardPath, remote, sessionId, reply } = note;
    const lines = this.#events.line("rejection", { reversePath, forwardPath, remote, sessionId, reply });
    this.#ports.spool.commit([{ kind: "events", lines }]).then(
      () => this.#outbox.signal(),
      (error: Error) => this.#fail(error),
    );
  }

  async #accept(submission: Submission, idempotency: IdempotencyRecord | undefined): Promise<AcceptResult> {
    const { message, entries } = newMessage(submission, streamOf(this.#config, submission.stream), "submission");
    const { remote, sessionId } = submission;
    let lines = "";
    for (const { forwardPath } of submission.recipients) {
      lines += this.#events.line("reception", { ...messageFields(message), forwardPath, remote, sessionId });
    }
    const change: SpoolOperation[] = [
      { kind: "accept", message, entries, content: submission.content, idempotency },
      { kind: "events", lines },
    ];
    try {
      await this.#ports.spool.commit(change);
    } catch (error) {
      this.#fail(error as Error);
      throw error;
    }
    this.#ports.observer.ingestMessage(message.stream, message.contentBytes);
    this.#accepted(message, entries, submission.content);
    return { kind: "accepted", queueId: message.queueId };
  }

  // ---- Operations

  queues(filter: { readonly stream?: string | undefined; readonly domain?: string | undefined }): QueueSummary[] {
    const summaries: QueueSummary[] = [];
    for (const queue of this.#queues.values()) {
      if (filter.stream !== undefined && queue.name.stream !== filter.stream) continue;
      if (filter.domain !== undefined && queue.name.domain !== filter.domain) continue;
      if (queue.entries === 0 && queue.due.known === 0) continue;
      summaries.push(summarizeQueue(queue, this.#dispatcher, this.#ports.clock.now(), this.#holds));
    }
    return summaries;
  }

  lanes(): LaneSummary[] {
    return [...this.#dispatcher.lanes()].map((lane) => lane.summary());
  }

  explain(queueId: QueueId): MessageExplanation | undefined {
    return explainMessage(queueId, {
      spool: this.#ports.spool,
      dispatcher: this.#dispatcher,
      holds: this.#holds,
      config: this.#config,
      now: this.#ports.clock.now(),
      queueOf: (name) => this.#queues.get(queueKey(name)),
    });
  }

  hold(selection: Selection, reason: string, by: string): Promise<ActionResult> {
    return this.#actions.hold(selection, reason, by);
  }

  release(selection: Selection, by: string): Promise<ActionResult> {
    return this.#actions.release(selection, by);
  }

  cancel(selection: Selection, by: string): Promise<ActionResult> {
    return this.#actions.cancel(selection, by);
  }

  retry(selection: Selection, by: string): Promise<ActionResult> {
    return this.#actions.retry(selection, by);
  }

  holds(): HoldRecord[] {
    return this.#holds.all;
  }

  depth(): { stream: StreamName; state: string; recipients: number }[] {
    const counts = new Map<string, { stream: StreamName; state: string; recipients: number }>();
    for (const queue of this.#queues.values()) {
      const state = depthState(queue);
      const key = `${queue.name.stream} ${state}`;
      const count = counts.get(key);
      if (count === undefined) counts.set(key, { stream: queue.name.stream, state, recipients: queue.recipients });
      else count.recipients += queue.recipients;
    }
    return [...counts.values()];
  }

  get oldestAgeMs(): Millis {
    let oldest: Instant = this.#ports.clock.now();
    const now = oldest;
    for (const queue of this.#queues.values()) {
      const due = queue.due.headDueAt();
      if (due !== undefined && due < oldest) oldest = due;
    }
    return now - oldest;
  }

  // ---- inside

  /** Looks through the queues found on the disk, a few at a time, so that delivery starts with the first ones. */
  async #open(found: readonly Waiting[]): Promise<void> {
    for (let start = 0; start < found.length && !this.#stopping; start += openAtOnceMax) {
      for (const queue of found.slice(start, start + openAtOnceMax)) this.#dispatcher.schedule(queue);
      await this.#pause(0);
    }
    // Mail first: counting is for people, and reads every place of every queue.
    for (let waited = 0; waited < countAfterMs && !this.#stopping; waited += countLookMs)
      await this.#pause(countLookMs);
    let counted = 0;
    for (const queue of found) {
      if (this.#stopping) return;
      queue.entries = this.#ports.spool.countQueue(queue.name);
      // Nearly always one recipient each; the exact number would need every entry read.
      queue.recipients = queue.entries;
      this.#uncounted.delete(queue);
      if (queue.entries === 0) this.#dispatcher.schedule(queue);
      counted += queue.entries;
      if (counted < countAtOnceMax) continue;
      counted = 0;
      await this.#pause(0);
    }
  }

  /** Lets other events have their turn. */
  #pause(ms: Millis): Promise<void> {
    return new Promise((resolve) => this.#ports.clock.after(ms, resolve));
  }

  #load(position: QueuePosition): Loaded | undefined {
    const fresh = this.#fresh.take(position);
    if (fresh !== undefined) return fresh;
    const { spool } = this.#ports;
    const entry = spool.readEntry(position.queueId, position.entryNo);
    const message = entry === undefined ? undefined : spool.readMessage(position.queueId);
    return entry === undefined || message === undefined ? undefined : { message, entry, content: undefined };
  }

  /** New mail is on the disk: its queues take it up. */
  #accepted(message: Message, entries: readonly QueueEntry[], content: readonly Buffer[] | undefined): void {
    this.#fresh.keep(message, entries, content);
    for (const entry of entries) {
      const queue = this.#queueOf(entry);
      queue.entries++;
      queue.recipients += entry.recipients.length;
      queue.due.insert(entry);
      this.#dispatcher.schedule(queue);
    }
    this.#outbox.signal();
  }

  #moved(queue: Waiting, from: QueuePosition, entry: QueueEntry | undefined, finished: number): void {
    this.#fresh.done(from);
    queue.due.release(from.queueId, from.entryNo);
    queue.recipients = Math.max(0, queue.recipients - finished);
    if (entry === undefined) queue.entries = Math.max(0, queue.entries - 1);
    if (queue.entries === 0) queue.recipients = 0;
    if (entry !== undefined) queue.due.insert(entry);
    this.#outbox.signal();
    this.#dispatcher.schedule(queue);
  }

  #queueOf(name: QueueName, onDisk = false): Waiting {
    const key = queueKey(name);
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      const { stream, domain } = name;
      const ownName = { stream, domain };
      queue = {
        name: ownName,
        due: new DueQueue(ownName, this.#scan, onDisk),
        phase: idle,
        plan: undefined,
        route: undefined,
        wakeAt: undefined,
        wakeIndex: 0,
        entries: 0,
        recipients: 0,
        lastError: undefined,
      };
      this.#queues.set(key, queue);
    }
    return queue;
  }

  #emptied(queue: Waiting): void {
    if (queue.entries === 0 && !this.#uncounted.has(queue)) this.#queues.delete(queueKey(queue.name));
  }

  #fail(error: Error): void {
    if (this.#failed !== undefined) return;
    this.#failed = error;
    this.#fatal(error);
  }
}

function queueKey(name: QueueName): string {
  return `${name.stream} ${name.domain}`;
}

function depthState(queue: Waiting): string {
  return queue.phase.kind === "contending" ? "ready" : queue.phase.kind === "held" ? "held" : "due";
}
