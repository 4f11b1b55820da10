// What is known about reaching a set of exchangers, whichever source or domain asks.
//
// A set that cannot be reached rests: nobody knocks at it meanwhile, and everybody who waits for it costs nothing. Other
// sets of the same site go on.

import type { Clock, Instant, Millis } from "../core/time.ts";
import { suspensionMs } from "../shaping/shaping.ts";

export interface Rest {
  readonly until: Instant;
  readonly because: string;
}

interface Known {
  failures: number;
  /** Monotonic, so that a clock that is set neither cuts a rest short nor draws it out. */
  rest: { readonly untilMs: Millis; readonly because: string } | undefined;
  /** When a session was last opened with one of the exchangers, monotonic. */
  reachedAtMs: Millis | undefined;
  touchedAtMs: Millis;
}

/** A set that was reached within this time is taken to be reachable: connections need not be tried one by one. */
const reachedMs: Millis = 600_000;
/** What nothing happened to for this long is forgotten; longer than any rest. */
const forgetMs: Millis = 1_800_000;
/** Sets remembered at most; beyond it the one that is known longest is forgotten, and may be knocked at once too often. */
const knownMax = 100_000;

export class Routes {
  readonly #clock: Clock;
  readonly #known = new Map<string, Known>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The set cannot be reached: it rests, longer each time in a row. */
  rest(key: string, because: string): Rest {
    const known = this.#of(key);
    known.failures++;
    known.reachedAtMs = undefined;
    const forMs = suspensionMs(known.failures);
    known.rest = { untilMs: this.#clock.monotonicMs() + forMs, because };
    return { until: this.#clock.now() + forMs, because };
  }

  /** undefined when the set may be tried. */
  restOf(key: string): Rest | undefined {
    const known = this.#known.get(key);
    if (known?.rest === undefined) return undefined;
    const { untilMs, because } = known.rest;
    // In whole milliseconds, as due times are: who comes back at `until` must find the rest over.
    const leftMs = Math.floor(untilMs - this.#clock.monotonicMs());
    if (leftMs > 0) return { until: this.#clock.now() + leftMs, because };
    known.rest = undefined;
    return undefined;
  }

  /** A session was opened. True when the set could not be reached before. */
  reached(key: string): boolean {
    const known = this.#of(key);
    const recovered = known.failures > 0;
    known.failures = 0;
    known.rest = undefined;
    known.reachedAtMs = this.#clock.monotonicMs();
    return recovered;
  }

  isReached(key: string): boolean {
    const at = this.#known.get(key)?.reachedAtMs;
    return at !== undefined && this.#clock.monotonicMs() - at < reachedMs;
  }

  /** An operator wants it tried now. */
  wake(key: string): void {
    const known = this.#known.get(key);
    if (known !== undefined) known.rest = undefined;
  }

  /** Forgets what is of no use any more. */
  sweep(): void {
    const latest = this.#clock.monotonicMs() - forgetMs;
    for (const [key, { touchedAtMs }] of this.#known) if (touchedAtMs < latest) this.#known.delete(key);
  }

  #of(key: string): Known {
    let known = this.#known.get(key);
    if (known === undefined) {
      const [oldest] = this.#known.size >= knownMax ? this.#known.keys() : [];
      if (oldest !== undefined) this.#known.delete(oldest);
      known = { failures: 0, rest: undefined, reachedAtMs: undefined, touchedAtMs: 0 };
      this.#known.set(key, known);
    }
    known.touchedAtMs = this.#clock.monotonicMs();
    return known;
  }
}
