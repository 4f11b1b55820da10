// What was accepted a moment ago, kept in memory, so that the first attempt need not read it back from the disk.

import type { Message, QueueEntry, QueuePosition } from "../core/message.ts";
import type { Millis } from "../core/time.ts";
import { placeKey } from "./due-queue.ts";

/** An entry with its message, and its content where that is still in memory. */
export interface Loaded {
  readonly message: Message;
  readonly entry: QueueEntry;
  readonly content: readonly Buffer[] | undefined;
}

const entriesMax = 5_000;
/** Octets of all contents, those of attempts under way included, and of one. */
const contentBytesMax = 32 * 1024 * 1024;
const oneContentBytesMax = 256 * 1024;
/** What was not asked for within this time is let go: its queue has other worries. */
const staleMs: Millis = 10_000;

export class FreshMail {
  readonly #kept = new Map<string, Loaded>();
  /** Octets of contents that an attempt has. */
  readonly #lent = new Map<string, number>();
  #contentBytes = 0;

  get contentBytes(): number {
    return this.#contentBytes;
  }

  /** The message is on the disk. Keeps as much of it as there is room for. */
  keep(message: Message, entries: readonly QueueEntry[], content: readonly Buffer[] | undefined): void {
    const bytes = message.contentBytes;
    this.#dropStale(message);
    for (const entry of entries) {
      if (this.#kept.size >= entriesMax) return;
      const hasRoom = bytes <= oneContentBytesMax && this.#contentBytes + bytes <= contentBytesMax;
      const loaded = { message, entry, content: hasRoom ? content : undefined };
      this.#contentBytes += contentBytesOf(loaded);
      this.#kept.set(placeKey(entry.queueId, entry.entryNo), loaded);
    }
  }

  /** For an attempt; `done` must follow when it is over. undefined: to be read from the disk. */
  take({ queueId, entryNo }: QueuePosition): Loaded | undefined {
    const key = placeKey(queueId, entryNo);
    const loaded = this.#kept.get(key);
    if (loaded === undefined) return undefined;
    this.#kept.delete(key);
    if (loaded.content !== undefined) this.#lent.set(key, contentBytesOf(loaded));
    return loaded;
  }

  /** The entry is finished, stands somewhere else now, or is no longer to be sent at once. */
  done({ queueId, entryNo }: QueuePosition): void {
    const key = placeKey(queueId, entryNo);
    this.#contentBytes -= this.#lent.get(key) ?? 0;
    this.#lent.delete(key);
    this.#drop(key);
  }

  #dropStale(latest: Message): void {
    for (const [key, { message }] of this.#kept) {
      if (message.receivedAt + staleMs > latest.receivedAt) return;
      this.#drop(key);
    }
  }

  #drop(key: string): void {
    const loaded = this.#kept.get(key);
    if (loaded === undefined) return;
    this.#contentBytes -= contentBytesOf(loaded);
    this.#kept.delete(key);
  }
}

function contentBytesOf({ message, content }: Loaded): number {
  return content === undefined ? 0 : message.contentBytes;
}
