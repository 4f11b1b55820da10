// Holds: what operators keep back, by domain, stream, job, tenant or queue id. They outlive a restart.

import type { Message, QueueEntry, QueueName } from "../core/message.ts";
import type { HoldRecord, Selection } from "../spool/spool.ts";

/** Each message is held against all of them. Far below what the spool reads back after a restart. */
export const holdsMax = 1_000;

export class Holds {
  readonly #records = new Map<string, HoldRecord>();

  constructor(records: readonly HoldRecord[]) {
    for (const record of records) this.#records.set(record.id, record);
  }

  get isEmpty(): boolean {
    return this.#records.size === 0;
  }

  get all(): HoldRecord[] {
    return [...this.#records.values()];
  }

  get isFull(): boolean {
    return this.#records.size >= holdsMax;
  }

  add(record: HoldRecord): void {
    this.#records.set(record.id, record);
  }

  remove(id: string): void {
    this.#records.delete(id);
  }

  /** The hold that covers the whole of a queue, so that nothing of it needs to be read. */
  ofQueue(queue: QueueName): HoldRecord | undefined {
    for (const record of this.#records.values()) {
      if (isWholeQueue(record.selection) && matchesQueue(record.selection, queue)) return record;
    }
    return undefined;
  }

  /** The hold that covers this message among those that look at messages. */
  ofMessage(message: Message, entry: QueueEntry): HoldRecord | undefined {
    if (this.#records.size === 0) return undefined;
    for (const record of this.#records.values()) {
      if (!isWholeQueue(record.selection) && matches(record.selection, message, entry)) return record;
    }
    return undefined;
  }
}

/** Whether a selection is about whole queues: it names nothing that only a message has. */
export function isWholeQueue(selection: Selection): boolean {
  return selection.job === undefined && selection.tenant === undefined && selection.queueId === undefined;
}

export function matchesQueue(selection: Selection, queue: QueueName): boolean {
  return (
    (selection.domain === undefined || selection.domain === queue.domain) &&
    (selection.stream === undefined || selection.stream === queue.stream)
  );
}

export function matches(selection: Selection, message: Message, entry: QueueEntry): boolean {
  return (
    matchesQueue(selection, entry) &&
    (selection.job === undefined || selection.job === message.job) &&
    (selection.tenant === undefined || selection.tenant === message.tenant) &&
    (selection.queueId === undefined || selection.queueId === message.queueId)
  );
}

export function sameSelection(a: Selection, b: Selection): boolean {
  return (
    a.domain === b.domain &&
    a.stream === b.stream &&
    a.job === b.job &&
    a.tenant === b.tenant &&
    a.queueId === b.queueId
  );
}
