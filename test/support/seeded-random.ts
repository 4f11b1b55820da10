// Chance that a test can draw again: every draw follows from a 32-bit seed.

import type { Random } from "../../src/core/random.ts";

/** A Weyl sequence with a multiply-xorshift finish on 32-bit words. For tests only: not for secrets. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    return this.#word() / 2 ** 32;
  }

  integer(below: number): number {
    return Math.floor(this.next() * below);
  }

  bytes(count: number): Buffer {
    const out = Buffer.alloc(count);
    for (let i = 0; i < count; i++) out[i] = this.#word() >>> 24;
    return out;
  }

  #word(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let word = this.#state;
    word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
    return (word ^ (word >>> 16)) >>> 0;
  }
}
