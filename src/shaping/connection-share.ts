// One shard's share of a lane's connections: how many all shards have together, and whose turn it is.
//
// There are no fixed parts. A shard takes what is free; one that finds none waits, and those that have more give one back
// at a time, between two messages. Of shards that wait, the one that has fewest goes first, then the one that waits
// longest. So shards with work come to equal numbers, and take turns where there are more shards than connections.

import type { Admission } from "../core/attempt.ts";
import type { Millis } from "../core/time.ts";
import { float, int, type LaneTable, shardFloat } from "./lane-table.ts";
import type { RateGovernor } from "./rate-governor.ts";

/** A shard that does not come for a free connection within this time has lost its turn: it may need none any more. */
const turnMs: Millis = 1_000;

/**
 * "full": all connections are in use; somebody will be told when that changes. `untilMs`: when the peer took no more, the
 * time from when on more are asked for, which nobody is told of.
 */
export type ConnectionAdmission = Admission | { readonly kind: "full"; readonly untilMs: Millis | undefined };

/** What a connection does that may be given back: idle for a moment, idle for long, or between two messages. */
export type Spare = "idle" | "rested" | "busy";

const go: ConnectionAdmission = { kind: "go" };
const full: ConnectionAdmission = { kind: "full", untilMs: undefined };

export class ConnectionShare {
  readonly #table: LaneTable;
  readonly #record: number;
  readonly #rate: RateGovernor;
  readonly #lockAt: number;
  readonly #waitingAt: number;
  readonly #changeAt: number;
  readonly #sinceAt: number;
  /** Connections of this shard that end because another waits. */
  #returning = 0;

  constructor(table: LaneTable, record: number, rate: RateGovernor) {
    this.#table = table;
    this.#record = record;
    this.#rate = rate;
    this.#lockAt = table.intAt(record, int.lock);
    this.#waitingAt = table.intAt(record, int.waiting);
    this.#changeAt = table.intAt(record, int.change);
    this.#sinceAt = table.shardFloatAt(record, table.shard, shardFloat.waitsSinceMs);
  }

  /**
   * Takes a connection when it answers "go". `max`: of all shards together. Unless it may go, the shard is noted as
   * waiting, but for `onlyIfFree`.
   */
  admit(max: number, onlyIfFree: boolean, nowMs: Millis): ConnectionAdmission {
    this.#lock();
    const answer = this.#admit(max, nowMs);
    if (answer.kind === "go") {
      this.#addInt(int.connections, 1);
      this.#addOwn(shardFloat.held, 1);
      this.#strikeOff(this.#table.shard);
    } else if (onlyIfFree) this.#strikeOff(this.#table.shard);
    else this.#noteWaiting(nowMs);
    this.#unlock();
    return answer;
  }

  /** The connection has become a session. */
  established(): void {
    this.#lock();
    this.#addInt(int.established, 1);
    this.#unlock();
  }

  /** The connection is over. `returned`: as agreed by `giveBack`. */
  release(wasEstablished: boolean, returned: boolean): void {
    this.#lock();
    this.#addInt(int.connections, -1);
    this.#addOwn(shardFloat.held, -1);
    if (wasEstablished) this.#addInt(int.established, -1);
    if (returned) {
      this.#addInt(int.returning, -1);
      this.#returning--;
    }
    this.#changed();
    this.#unlock();
  }

  /** This shard needs no further connection. */
  withdraw(): void {
    if (!this.isWaiting) return;
    this.#lock();
    this.#strikeOff(this.#table.shard);
    this.#unlock();
  }

  /** Whether this shard waits. */
  get isWaiting(): boolean {
    return this.#table.floats[this.#sinceAt] !== 0;
  }

  /** Whether another shard waits. Cheap: it is asked before each message. */
  get isWanted(): boolean {
    const waiting = Atomics.load(this.#table.ints, this.#waitingAt);
    return waiting > 1 || (waiting === 1 && !this.isWaiting);
  }

  /** Whether a connection is to end because another shard needs it more. Then it must be released as returned. */
  giveBack(max: number, spare: Spare, nowMs: Millis): boolean {
    this.#lock();
    const gives = this.#gives(max, spare, nowMs);
    if (gives) {
      this.#addInt(int.returning, 1);
      this.#returning++;
    }
    this.#unlock();
    return gives;
  }

  /** Established connections of all shards. */
  get establishedCount(): number {
    return Atomics.load(this.#table.ints, this.#table.intAt(this.#record, int.established));
  }

  /** The peer takes no more than are established now: until `untilMs` nobody asks for more. */
  setCeiling(untilMs: Millis): void {
    this.#lock();
    this.#setInt(int.ceiling, Math.max(1, this.#int(int.established)));
    this.#table.floats[this.#table.floatAt(this.#record, float.ceilingUntilMs)] = untilMs;
    this.#unlock();
  }

  /** What all shards may have together at this moment. */
  effectiveMax(max: number, nowMs: Millis): number {
    const ceiling = this.#int(int.ceiling);
    if (ceiling === 0) return max;
    return nowMs < this.#ceilingUntilMs ? Math.min(max, ceiling) : max;
  }

  // ---- inside, under the lock

  get #ceilingUntilMs(): Millis {
    return this.#table.floats[this.#table.floatAt(this.#record, float.ceilingUntilMs)] as number;
  }

  #admit(max: number, nowMs: Millis): ConnectionAdmission {
    const connections = this.#int(int.connections);
    if (connections >= max) return full;
    if (connections >= this.effectiveMax(max, nowMs)) return { kind: "full", untilMs: this.#ceilingUntilMs };
    const untilMs = this.#rate.earliestMs;
    if (nowMs < untilMs) return { kind: "wait", untilMs };
    for (let other = this.#firstBefore(); other !== undefined; other = this.#firstBefore()) {
      const at = this.#table.shardFloatAt(this.#record, other, shardFloat.calledAtMs);
      const { floats } = this.#table;
      if (floats[at] === 0) {
        floats[at] = nowMs;
        // It may have waited for something that nobody tells, such as a ceiling's end.
        this.#changed();
      }
      const turnEndsMs = (floats[at] as number) + turnMs;
      if (nowMs < turnEndsMs) return { kind: "wait", untilMs: turnEndsMs };
      this.#strikeOff(other);
    }
    this.#rate.admit(nowMs);
    return go;
  }

  /** A shard that waits and goes before this one: it has fewer, or as many and waits for longer. */
  #firstBefore(): number | undefined {
    const { shard, shards } = this.#table;
    const held = this.#of(shard, shardFloat.held);
    const sinceMs = this.#of(shard, shardFloat.waitsSinceMs) || Number.POSITIVE_INFINITY;
    if (this.#int(int.waiting) === 0) return undefined;
    for (let other = 0; other < shards; other++) {
      if (other === shard) continue;
      const otherSinceMs = this.#of(other, shardFloat.waitsSinceMs);
      if (otherSinceMs === 0) continue;
      const otherHeld = this.#of(other, shardFloat.held);
      if (otherHeld < held) return other;
      if (otherHeld > held) continue;
      if (otherSinceMs < sinceMs || (otherSinceMs === sinceMs && other < shard)) return other;
    }
    return undefined;
  }

  #gives(max: number, spare: Spare, nowMs: Millis): boolean {
    const { shard, shards } = this.#table;
    if (this.#int(int.connections) < this.effectiveMax(max, nowMs)) return false;
    let waiting = 0;
    let least = Number.POSITIVE_INFINITY;
    for (let other = 0; other < shards; other++) {
      if (other === shard || this.#of(other, shardFloat.waitsSinceMs) === 0) continue;
      waiting++;
      least = Math.min(least, this.#of(other, shardFloat.held));
    }
    // One for each that waits is enough for now.
    if (waiting <= this.#int(int.returning)) return false;
    if (spare === "rested") return true;
    const held = this.#of(shard, shardFloat.held) - this.#returning;
    return spare === "idle" ? least < held : least === 0 || least + 1 < held;
  }

  #noteWaiting(nowMs: Millis): void {
    if (this.#table.shards === 1) return;
    if (this.isWaiting) return;
    // 0 would say that it does not wait.
    this.#table.floats[this.#sinceAt] = Math.max(nowMs, Number.MIN_VALUE);
    this.#addInt(int.waiting, 1);
    this.#changed();
  }

  #strikeOff(shard: number): void {
    const at = this.#table.shardFloatAt(this.#record, shard, shardFloat.waitsSinceMs);
    if (this.#table.floats[at] === 0) return;
    this.#table.floats[at] = 0;
    this.#table.floats[this.#table.shardFloatAt(this.#record, shard, shardFloat.calledAtMs)] = 0;
    this.#addInt(int.waiting, -1);
    // Who had to let it go first may be next; and one that lost its turn must hear of it, or it would wait for ever.
    if (shard === this.#table.shard) this.#changed();
    else this.#tell();
  }

  /** Tells the shards that use the record, where one of them waits. */
  #changed(): void {
    if (this.#table.shards === 1 || this.#int(int.waiting) === 0) return;
    this.#tell();
  }

  #tell(): void {
    Atomics.add(this.#table.ints, this.#changeAt, 1);
    Atomics.notify(this.#table.ints, this.#changeAt);
  }

  #lock(): void {
    this.#table.lock(this.#lockAt);
  }

  #unlock(): void {
    this.#table.unlock(this.#lockAt);
  }

  #int(field: (typeof int)[keyof typeof int]): number {
    return this.#table.ints[this.#table.intAt(this.#record, field)] as number;
  }

  #setInt(field: (typeof int)[keyof typeof int], value: number): void {
    // Atomic, since some are looked at without the lock.
    Atomics.store(this.#table.ints, this.#table.intAt(this.#record, field), value);
  }

  #addInt(field: (typeof int)[keyof typeof int], change: number): void {
    this.#setInt(field, this.#int(field) + change);
  }

  #of(shard: number, field: (typeof shardFloat)[keyof typeof shardFloat]): number {
    return this.#table.floats[this.#table.shardFloatAt(this.#record, shard, field)] as number;
  }

  #addOwn(field: (typeof shardFloat)[keyof typeof shardFloat], change: number): void {
    const at = this.#table.shardFloatAt(this.#record, this.#table.shard, field);
    this.#table.floats[at] = (this.#table.floats[at] as number) + change;
  }
}
