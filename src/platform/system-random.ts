// Chance from the system's secure source.

import { randomBytes, randomFillSync } from "node:crypto";
import { assert } from "../core/assert.ts";
import type { Random } from "../core/random.ts";

/** Words drawn at once, so that a draw seldom costs a call into the crypto library. */
const poolWords = 1_024;

export class SystemRandom implements Random {
  readonly #pool = new Uint32Array(poolWords);
  #used = poolWords;

  /** 53 random bits as a fraction. */
  next(): number {
    if (this.#used + 2 > poolWords) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const high = (this.#pool[this.#used++] as number) >>> 5;
    const low = (this.#pool[this.#used++] as number) >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  integer(below: number): number {
    assert(below > 0, "integer() needs a positive bound");
    return Math.floor(this.next() * below);
  }

  bytes(count: number): Buffer {
    return randomBytes(count);
  }
}
