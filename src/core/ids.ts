// Queue ids: unique over restarts, rising in time (so that new mail lands at the end of the spool's tree), and safe
// in a reply, a file name and a URL.

import { assert } from "./assert.ts";
import type { Random } from "./random.ts";
import type { Clock } from "./time.ts";

/** 16 characters of Crockford base 32: 9 for the millisecond of acceptance, 2 for the shard, 5 for a counter. */
export type QueueId = string;
export type StreamName = string;
export type SourceName = string;
export type SiteName = string;
export type PoolName = string;
/** A lower-case A-label domain without final dot, or an address literal in brackets (RFC 5321 section 4.1.3). */
export type Domain = string;

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const counterSpan = 32 ** 5;
export const shardsMax = 32 ** 2;

export function encodeBase32(value: number, width: number): string {
  let out = "";
  for (let rest = value, i = 0; i < width; i++) {
    out = alphabet[rest % 32] + out;
    rest = Math.floor(rest / 32);
  }
  return out;
}

/** True for a text that has the shape of a queue id. Ids from outside go through this before they become a key. */
export function isQueueId(text: string): boolean {
  return /^[0-9a-hjkmnp-tv-z]{16}$/.test(text);
}

/** The number of the shard that made the id. */
export function shardOfQueueId(queueId: QueueId): number {
  return alphabet.indexOf(queueId[9] as string) * 32 + alphabet.indexOf(queueId[10] as string);
}

/**
 * Makes queue ids for one shard. The counter starts at a random place and the time part never goes back, so a clock
 * set back does not repeat an id within the process, and a restart is very unlikely to.
 */
export class QueueIds {
  readonly #clock: Clock;
  readonly #shard: string;
  #lastMs = 0;
  #counter: number;

  constructor(clock: Clock, random: Random, shard: number) {
    assert(shard >= 0 && shard < shardsMax, "a queue id has room for the number of its shard");
    this.#clock = clock;
    this.#shard = encodeBase32(shard, 2);
    this.#counter = random.integer(counterSpan);
  }

  next(): QueueId {
    this.#lastMs = Math.max(this.#lastMs, this.#clock.now());
    this.#counter = (this.#counter + 1) % counterSpan;
    return encodeBase32(this.#lastMs, 9) + this.#shard + encodeBase32(this.#counter, 5);
  }
}
