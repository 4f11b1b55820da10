// What operators do to mail that waits: hold, release, cancel, retry. Each works through the queues on the disk in
// small changes, and leaves what is being attempted at the moment to the end of that attempt.

import { encodeBase32 } from "../core/ids.ts";
import { heldInstant, type Message, type QueueEntry, type QueueName, type QueuePosition } from "../core/message.ts";
import type { Instant, Millis } from "../core/time.ts";
import { DamagedRecordError, type HoldRecord, type Selection, type SpoolChange } from "../spool/spool.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { EventWriter } from "./event-writer.ts";
import { type Holds, holdsMax, isWholeQueue, matches, matchesQueue, sameSelection } from "./holds.ts";
import type { QueuePorts } from "./ports.ts";
import type { ActionResult } from "./queue.ts";
import { pendingIndexes } from "./settle.ts";
import type { Settlements } from "./settlements.ts";
import type { Waiting } from "./waiting.ts";

/** A place that is being signed or written has its claim for moments: an action that must not miss it looks again. */
const againMs: Millis = 20;
/** Looks at most. */
const againMax = 250;

/** Places read, and changes made, before others have their turn. */
const stepMax = 100;

export interface ActionDeps {
  readonly ports: QueuePorts;
  readonly dispatcher: Dispatcher;
  readonly settlements: Settlements;
  readonly holds: Holds;
  readonly events: EventWriter;
  /** Events were committed that belong to no message. */
  noted(): void;
  unknownRetryMinMs(): Millis;
  queueOf(name: QueueName): Waiting;
  known(): Iterable<Waiting>;
}

interface Found {
  readonly queue: Waiting;
  readonly position: QueuePosition;
  readonly message: Message;
  readonly entry: QueueEntry;
}

type Act = (found: Found) => Promise<void> | void;
/** What is done about a claimed place. */
type Busy = (position: QueuePosition) => "done" | "look-again";

export class Actions {
  readonly #deps: ActionDeps;

  constructor(deps: ActionDeps) {
    this.#deps = deps;
  }

  /** Keeps matching mail back, what comes later included, until a release of the same selection. */
  async hold(selection: Selection, reason: string, by: string): Promise<ActionResult> {
    const { ports, holds, dispatcher } = this.#deps;
    const standing = holds.all.find((record) => sameSelection(record.selection, selection));
    if (standing === undefined && holds.isFull) {
      return {
        recipients: 0,
        refused: `${holdsMax} holds are in force already: release some, or hold by domain or stream`,
      };
    }
    const at = ports.clock.now();
    const id = standing?.id ?? `h${encodeBase32(at, 9)}${encodeBase32(ports.random.integer(32 ** 3), 3)}`;
    const hold: HoldRecord = { id, selection, reason, by, at };
    await this.#record([
      { kind: "put-hold", hold },
      { kind: "events", lines: this.#deps.events.line("hold", { ...selection, reason: `${by}: ${reason}` }) },
    ]);
    holds.add(hold);
    let recipients = 0;
    if (isWholeQueue(selection)) {
      for (const queue of this.#deps.known()) {
        if (!matchesQueue(selection, queue.name)) continue;
        recipients += queue.recipients;
        dispatcher.withdraw(queue);
      }
      return { recipients, hold };
    }
    await this.#each(selection, async (found) => {
      // On a long queue the scan comes upon those that it has moved.
      if (found.entry.dueAt === heldInstant) return this.#unclaim(found);
      recipients += pendingIndexes(found.entry).length;
      return this.#deps.settlements.moved(found.queue, found.position, { ...found.entry, dueAt: heldInstant });
    });
    return { recipients, hold };
  }

  /** Lifts the holds of exactly this selection, and lets what they kept go on at once. */
  async release(selection: Selection, by: string): Promise<ActionResult> {
    const { ports, holds, dispatcher, settlements } = this.#deps;
    const lifted = holds.all.filter((record) => sameSelection(record.selection, selection));
    if (lifted.length === 0) return { recipients: 0 };
    for (const { id } of lifted) holds.remove(id);
    const record = () =>
      this.#record([
        ...lifted.map(({ id }) => ({ kind: "drop-hold" as const, id })),
        { kind: "events", lines: this.#deps.events.line("release", { ...selection, reason: by }) },
      ]);
    let recipients = 0;
    if (isWholeQueue(selection)) {
      await record();
      for (const queue of this.#deps.known()) {
        if (!matchesQueue(selection, queue.name)) continue;
        recipients += queue.recipients;
        dispatcher.schedule(queue);
      }
      return { recipients };
    }
    await this.#each(selection, async (found) => {
      const { entry, message } = found;
      if (entry.dueAt !== heldInstant || holds.ofMessage(message, entry) !== undefined) return this.#unclaim(found);
      recipients += pendingIndexes(entry).length;
      const dueAt = Math.max(ports.clock.now(), unknownUntil(entry, this.#deps.unknownRetryMinMs()));
      return settlements.moved(found.queue, found.position, { ...entry, dueAt });
    });
    // The hold goes last: a crash on the way leaves it standing, so that what it still keeps can be released again.
    await record();
    return { recipients };
  }

  /** Ends matching recipients without a further attempt. One on its way now ends so if that attempt fails. */
  async cancel(selection: Selection, by: string): Promise<ActionResult> {
    let recipients = 0;
    await this.#each(
      selection,
      async ({ queue, position, message, entry }) => {
        recipients += pendingIndexes(entry).length;
        await this.#deps.settlements.ended(queue, position, message, entry, { kind: "cancelled", by });
      },
      (found) => {
        const work = this.#deps.dispatcher.inFlight(found.queueId, found.entryNo);
        if (work === undefined) return "look-again";
        if (work.cancelledBy === undefined) recipients += work.pending.length;
        work.cancelledBy = by;
        return "done";
      },
    );
    return { recipients };
  }

  /** Makes matching mail due now and ends the suspensions that it waits for. Held mail stays held. */
  async retry(selection: Selection, _by: string): Promise<ActionResult> {
    const { dispatcher, ports, settlements } = this.#deps;
    let recipients = 0;
    const queues = new Set<Waiting>();
    await this.#each(selection, async (found) => {
      const now = ports.clock.now();
      queues.add(found.queue);
      if (found.entry.dueAt === heldInstant) return this.#unclaim(found);
      recipients += pendingIndexes(found.entry).length;
      if (found.entry.dueAt <= now) return this.#unclaim(found);
      return settlements.moved(found.queue, found.position, { ...found.entry, dueAt: now });
    });
    for (const queue of queues) dispatcher.resume(queue);
    return { recipients };
  }

  /** Puts a claimed place back untouched. */
  #unclaim({ queue, position }: Found): void {
    if (position.dueAt === heldInstant) queue.due.release(position.queueId, position.entryNo);
    else queue.due.putBack(position);
    this.#deps.dispatcher.schedule(queue);
  }

  /** Commits what belongs to no message. */
  async #record(change: SpoolChange): Promise<void> {
    const { ports, noted } = this.#deps;
    try {
      await ports.spool.commit(change);
    } catch (error) {
      ports.fatal(error as Error);
      throw error;
    }
    noted();
  }

  /**
   * Claims each matching entry on the disk and hands it to `act`, which ends the claim. Entries that are claimed
   * already go to `busy`.
   */
  async #each(selection: Selection, act: Act, busy: Busy = () => "done"): Promise<void> {
    let again: { readonly name: QueueName; readonly position: QueuePosition }[] = [];
    for (const name of this.#names(selection)) {
      for (let after: QueuePosition | undefined; ; ) {
        const positions = this.#deps.ports.spool.scanQueue(name, after, stepMax);
        const acting: (Promise<void> | void)[] = [];
        for (const position of positions) {
          if (selection.queueId !== undefined && position.queueId !== selection.queueId) continue;
          const found = this.#claim(name, position, selection, busy);
          if (found === "look-again") again.push({ name, position });
          else if (found !== undefined) acting.push(act(found));
        }
        await Promise.all(acting);
        after = positions.at(-1);
        if (positions.length < stepMax) break;
        await this.#pause(0);
      }
    }
    for (let looks = 0; looks < againMax && again.length > 0; looks++) {
      await this.#pause(againMs);
      const missed = again;
      again = [];
      for (const { name, position } of missed) {
        // It may stand elsewhere by now.
        const dueAt = this.#dueAt(position);
        if (dueAt === undefined) continue;
        const found = this.#claim(name, { ...position, dueAt }, selection, busy);
        if (found === "look-again") again.push({ name, position });
        else if (found !== undefined) await act(found);
      }
    }
  }

  /** Where an entry stands; undefined when nothing of it waits any more. */
  #dueAt({ queueId, entryNo }: QueuePosition): Instant | undefined {
    try {
      const entry = this.#deps.ports.spool.readEntry(queueId, entryNo);
      return entry === undefined || pendingIndexes(entry).length === 0 ? undefined : entry.dueAt;
    } catch (error) {
      if (error instanceof DamagedRecordError) return undefined;
      throw error;
    }
  }

  #pause(ms: Millis): Promise<void> {
    return new Promise((resolve) => this.#deps.ports.clock.after(ms, resolve));
  }

  #names(selection: Selection): QueueName[] {
    const { spool } = this.#deps.ports;
    if (selection.queueId === undefined) return [...spool.queues()].filter((name) => matchesQueue(selection, name));
    const names = new Map(
      spool.readEntries(selection.queueId).map((entry) => [`${entry.stream} ${entry.domain}`, entry]),
    );
    return [...names.values()].filter((name) => matchesQueue(selection, name));
  }

  #claim(name: QueueName, position: QueuePosition, selection: Selection, busy: Busy): Found | "look-again" | undefined {
    const { spool } = this.#deps.ports;
    const { queueId, entryNo } = position;
    try {
      const entry = spool.readEntry(queueId, entryNo);
      const message = entry === undefined ? undefined : spool.readMessage(queueId);
      if (entry === undefined || message === undefined || !matches(selection, message, entry)) return undefined;
      const queue = this.#deps.queueOf(name);
      if (!queue.due.claim(queueId, entryNo)) return busy(position) === "look-again" ? "look-again" : undefined;
      return { queue, position, message, entry };
    } catch (error) {
      if (error instanceof DamagedRecordError) return undefined;
      throw error;
    }
  }
}

/** A recipient whose last outcome is unknown is not asked about again before this, hold or no hold (RFC 1047). */
function unknownUntil(entry: QueueEntry, waitMinMs: Millis): Instant {
  let until: Instant = 0;
  for (const { state } of entry.recipients) {
    if (state.kind === "pending" && state.last?.kind === "unknown") until = Math.max(until, state.last.at + waitMinMs);
  }
  return until;
}
