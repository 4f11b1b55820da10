// One queue: what waits for one destination domain in one stream, with a bounded window of it in memory.
//
// The window holds the places that are due first; the rest stays on the disk and is read when the window runs empty.
// A place is known here while it stands in the window or is claimed (being attempted or acted upon); a claimed place is
// still on the disk under its old due time, so a scan may meet it again and must pass over it.

import type { QueueId } from "../core/ids.ts";
import type { QueueName, QueuePosition } from "../core/message.ts";
import { heldInstant } from "../core/message.ts";
import type { Instant } from "../core/time.ts";
import { Heap } from "./heap.ts";

/** Places read from the disk at once. */
export const windowMax = 64;
/** Places read the first time: after a restart every queue is looked at, and most of them have to wait anyway. */
const firstReadMax = 8;
/** The window may grow to this by new mail before its far end is left to the disk again. */
const windowGrowthMax = 4 * windowMax;

export type ScanQueue = (queue: QueueName, after: QueuePosition | undefined, limit: number) => QueuePosition[];

export function placeKey(queueId: QueueId, entryNo: number): string {
  return entryNo === 0 ? queueId : `${queueId}.${entryNo}`;
}

export function isBefore(a: QueuePosition, b: QueuePosition): boolean {
  if (a.dueAt !== b.dueAt) return a.dueAt < b.dueAt;
  if (a.queueId !== b.queueId) return a.queueId < b.queueId;
  return a.entryNo < b.entryNo;
}

export class DueQueue {
  readonly name: QueueName;
  readonly #scan: ScanQueue;
  readonly #window = new Heap<QueuePosition>(isBefore);
  /** Keys in the window (true) and claimed (false). */
  readonly #known = new Map<string, boolean>();
  /** Places after this one are on the disk only; undefined: the window holds all there is. */
  #diskAfter: QueuePosition | undefined;
  #onDisk: boolean;
  #readMax = firstReadMax;

  /** `onDisk`: the disk holds places that this object has not seen (a queue found at start). */
  constructor(name: QueueName, scan: ScanQueue, onDisk: boolean) {
    this.name = name;
    this.#scan = scan;
    this.#onDisk = onDisk;
  }

  /** Places that are known here: at least as many does the queue hold. */
  get known(): number {
    return this.#known.size;
  }

  get claimed(): number {
    return this.#known.size - this.#window.size;
  }

  /** Nothing waits, nothing is claimed, nothing but held entries can be on the disk. */
  get isEmpty(): boolean {
    this.#refill();
    return this.#known.size === 0 && !this.#onDisk;
  }

  /** Adds a place whose commit has resolved. */
  insert(position: QueuePosition): void {
    if (position.dueAt === heldInstant) return;
    if (this.#onDisk && (this.#diskAfter === undefined || isBefore(this.#diskAfter, position))) return;
    // A copy: whoever gives a whole entry is not to have it kept, with its recipients and replies, for days.
    const { dueAt, queueId, entryNo } = position;
    this.#push({ dueAt, queueId, entryNo });
    if (this.#window.size > windowGrowthMax) this.#trim();
  }

  /** The due time of the first place, or undefined when there is none. */
  headDueAt(): Instant | undefined {
    this.#refill();
    return this.#window.peek()?.dueAt;
  }

  /** The first place without taking it. */
  head(): QueuePosition | undefined {
    this.#refill();
    return this.#window.peek();
  }

  /** Takes the first place when it is due. It stays claimed until `release`. */
  takeDue(now: Instant): QueuePosition | undefined {
    this.#refill();
    const head = this.#window.peek();
    if (head === undefined || head.dueAt > now) return undefined;
    this.#window.pop();
    this.#known.set(placeKey(head.queueId, head.entryNo), false);
    return head;
  }

  /** Claims a place wherever it stands, for an operator's action; false when somebody else has it. */
  claim(queueId: QueueId, entryNo: number): boolean {
    const key = placeKey(queueId, entryNo);
    const inWindow = this.#known.get(key);
    if (inWindow === false) return false;
    if (inWindow === true) this.#remove(queueId, entryNo);
    this.#known.set(key, false);
    return true;
  }

  /** Ends a claim: the place is gone from the queue, or it is put back with `insert` afterwards. */
  release(queueId: QueueId, entryNo: number): void {
    this.#known.delete(placeKey(queueId, entryNo));
  }

  /** Puts a claimed place back where it was, since nothing happened to it: one behind the window stays on the disk. */
  putBack(position: QueuePosition): void {
    this.release(position.queueId, position.entryNo);
    this.insert(position);
  }

  #push(position: QueuePosition): void {
    const key = placeKey(position.queueId, position.entryNo);
    if (this.#known.has(key)) return;
    this.#known.set(key, true);
    this.#window.push(position);
  }

  #refill(): void {
    while (this.#window.size === 0 && this.#onDisk) {
      const limit = this.#readMax;
      this.#readMax = windowMax;
      const found = this.#scan(this.name, this.#diskAfter, limit);
      const last = found.at(-1);
      this.#onDisk = found.length === limit && last !== undefined && last.dueAt !== heldInstant;
      this.#diskAfter = this.#onDisk ? last : undefined;
      for (const position of found) {
        if (position.dueAt !== heldInstant) this.#push(position);
      }
    }
  }

  #trim(): void {
    const all = this.#window.drain().sort((a, b) => (isBefore(a, b) ? -1 : 1));
    const kept = all.slice(0, windowMax);
    for (const position of kept) this.#window.push(position);
    for (const position of all.slice(windowMax)) this.#known.delete(placeKey(position.queueId, position.entryNo));
    this.#onDisk = true;
    this.#diskAfter = kept.at(-1);
  }

  #remove(queueId: QueueId, entryNo: number): void {
    for (const position of this.#window.drain()) {
      if (position.queueId !== queueId || position.entryNo !== entryNo) this.#window.push(position);
    }
  }
}
