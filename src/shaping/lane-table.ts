// The memory that all shards of the process share: one record for each lane that any of them uses.
//
// A shard that fails ends the process, so nobody ever has to find out what a dead shard held. With one shard it is the
// same memory and the same code, and no lock is ever waited for.

import { assert } from "../core/assert.ts";
import type { Lane as LaneName } from "../core/plan.ts";
import type { Millis } from "../core/time.ts";

/** Lanes in use at one moment. A lane beyond that waits. Memory is only taken for those that are used. */
export const lanesMax = 262_144;
/** Tries for a lock before the thread sleeps. It is held for well under a microsecond, unless its holder is off the CPU. */
const spinsMax = 100;
const lockLookMs: Millis = 10;

/** Fields of 4 octets. */
export const int = {
  lock: 0,
  /** Counts up when a shard that waits, or that another waits for, should look again. */
  change: 1,
  /** Shards that wait for a connection. */
  waiting: 2,
  /** Connections open or opening, and those of them that are past their greeting. */
  connections: 3,
  established: 4,
  /** Connections that end because another shard waits. */
  returning: 5,
  /** The most connections that the peer was seen to take, until `ceilingUntilMs`; 0: nothing was seen. */
  ceiling: 6,
  /** The shard that took the last message token, from 1, and whether another was refused since. */
  lastTaker: 7,
  othersRefused: 8,
  // What the table itself needs.
  keyLow: 9,
  keyHigh: 10,
  users: 11,
  next: 12,
} as const;

/** Fields of 8 octets, behind those. */
export const float = {
  messageArrivalMs: 7,
  messageIntervalMs: 8,
  connectionArrivalMs: 9,
  connectionIntervalMs: 10,
  ceilingUntilMs: 11,
} as const;

/** Fields of 8 octets for each shard, behind those. */
export const shardFloat = {
  /** Connections that the shard has. */
  held: 0,
  /** Since when it waits for one; 0: it does not. */
  waitsSinceMs: 1,
  /** When it was first passed by for one that was free; 0: it was not. */
  calledAtMs: 2,
} as const;

const commonFloats = 12;
const floatsOfShard = 3;

const head = { lock: 0, free: 1, used: 2, seed: 3 } as const;
const headInts = 16;
/** Lists of lanes, by their names' hash. */
const lists = 65_536;
const none = -1;

function strideOf(shards: number): number {
  return commonFloats + floatsOfShard * shards;
}

/** Fresh memory for the lanes of so many shards. `seed`: any whole number; it keeps others from choosing the hashes. */
export function newLaneMemory(shards: number, seed: number, max: number = lanesMax): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(4 * (headInts + lists) + 8 * strideOf(shards) * max);
  const ints = new Int32Array(memory);
  ints[head.free] = none;
  ints[head.seed] = seed;
  ints.fill(none, headInts, headInts + lists);
  return memory;
}

/** One shard's view of the memory. A record is named by its number, from 0. */
export class LaneTable {
  readonly ints: Int32Array;
  readonly floats: Float64Array;
  readonly shard: number;
  readonly shards: number;
  readonly #stride: number;
  readonly #base: number;
  readonly #max: number;

  constructor(memory: SharedArrayBuffer, shard: number, shards: number) {
    this.ints = new Int32Array(memory);
    this.floats = new Float64Array(memory);
    this.shard = shard;
    this.shards = shards;
    this.#stride = strideOf(shards);
    this.#base = (headInts + lists) / 2;
    this.#max = (this.floats.length - this.#base) / this.#stride;
    assert(Number.isInteger(this.#max), "the memory was made for as many shards");
  }

  /** Where a record's field of 4 octets stands in `ints`. */
  intAt(record: number, field: (typeof int)[keyof typeof int]): number {
    return 2 * (this.#base + record * this.#stride) + field;
  }

  /** Where a record's field of 8 octets stands in `floats`. */
  floatAt(record: number, field: (typeof float)[keyof typeof float]): number {
    return this.#base + record * this.#stride + field;
  }

  shardFloatAt(record: number, shard: number, field: (typeof shardFloat)[keyof typeof shardFloat]): number {
    return this.#base + record * this.#stride + commonFloats + shard * floatsOfShard + field;
  }

  /** The record of a lane, made if no shard uses it yet. undefined: there is no room. Follow with `give`. */
  take({ source, site }: LaneName): number | undefined {
    const { ints } = this;
    const [low, high] = hashOf(`${source}\n${site}`, ints[head.seed] as number);
    this.lock(head.lock);
    const list = listAt(low);
    let record = ints[list] as number;
    while (record !== none && !this.#isOf(record, low, high)) record = ints[this.intAt(record, int.next)] as number;
    if (record === none) {
      record = this.#allot();
      if (record !== none) {
        ints[this.intAt(record, int.keyLow)] = low;
        ints[this.intAt(record, int.keyHigh)] = high;
        ints[this.intAt(record, int.next)] = ints[list] as number;
        ints[list] = record;
      }
    }
    if (record !== none) (ints[this.intAt(record, int.users)] as number)++;
    this.unlock(head.lock);
    return record === none ? undefined : record;
  }

  /** The shard uses the record no longer. With the last one what was known is forgotten. */
  give(record: number): void {
    const { ints } = this;
    this.lock(head.lock);
    const users = --(ints[this.intAt(record, int.users)] as number);
    if (users === 0) {
      const next = this.intAt(record, int.next);
      let link = listAt(ints[this.intAt(record, int.keyLow)] as number);
      while (ints[link] !== record) link = this.intAt(ints[link] as number, int.next);
      ints[link] = ints[next] as number;
      ints[next] = ints[head.free] as number;
      ints[head.free] = record;
    }
    this.unlock(head.lock);
  }

  /** `at`: the place of the lock in `ints`. Not to be taken twice, and not to be kept over anything that waits. */
  lock(at: number): void {
    const { ints } = this;
    for (let spins = 0; spins < spinsMax; spins++) if (Atomics.compareExchange(ints, at, 0, 1) === 0) return;
    // 2: somebody sleeps, so that whoever unlocks wakes one.
    while (Atomics.exchange(ints, at, 2) !== 0) Atomics.wait(ints, at, 2, lockLookMs);
  }

  unlock(at: number): void {
    if (Atomics.exchange(this.ints, at, 0) === 2) Atomics.notify(this.ints, at, 1);
  }

  #isOf(record: number, low: number, high: number): boolean {
    const { ints } = this;
    return ints[this.intAt(record, int.keyLow)] === low && ints[this.intAt(record, int.keyHigh)] === high;
  }

  /** An empty record, or `none`. */
  #allot(): number {
    const { ints } = this;
    let record = ints[head.free] as number;
    if (record !== none) ints[head.free] = ints[this.intAt(record, int.next)] as number;
    else if ((ints[head.used] as number) < this.#max) record = (ints[head.used] as number)++;
    if (record !== none) {
      const from = this.#base + record * this.#stride;
      this.floats.fill(0, from, from + this.#stride);
    }
    return record;
  }
}

function listAt(low: number): number {
  return headInts + (low & (lists - 1));
}

/** 64 bits of a name, in two whole numbers of 32. Two lanes with the same would share their limits. */
function hashOf(name: string, seed: number): readonly [low: number, high: number] {
  let low = seed ^ 0x51ed270b;
  let high = ~seed ^ 0x2f0b4a27;
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul((high << 7) ^ (high >>> 11) ^ code, 0x9e3779b1);
  }
  return [mixed(low ^ (high >>> 16)), mixed(high ^ (low >>> 15))];
}

function mixed(value: number): number {
  let bits = Math.imul(value ^ (value >>> 16), 0x7feb352d);
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
  return bits ^ (bits >>> 16);
}
