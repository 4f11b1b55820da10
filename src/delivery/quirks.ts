// What we remember of exchangers that offer an extension and break it: it is done without for a while.

import { type Clock, hourMs, type Instant, type Millis } from "../core/time.ts";

export type Feature = "pipelining" | "chunking";

export const quirkHostsMax = 10_000;
/** How long a feature is done without. */
export const quirkMs: Millis = 6 * hourMs;
/** One broken connection may be chance; so many in a row, without a success between them, are a habit. */
const strikesMax = 2;

interface Quirk {
  strikes: number;
  /** Monotonic. */
  avoidUntilMs: Instant;
}

/** One per shard. The memory is bounded; the host told longest ago is forgotten first. */
export class Quirks {
  readonly #clock: Clock;
  readonly #quirks = new Map<string, Quirk>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the feature is to be done without at that exchanger now. */
  avoids(host: string, feature: Feature): boolean {
    const quirk = this.#quirks.get(key(host, feature));
    return quirk !== undefined && this.#clock.monotonicMs() < quirk.avoidUntilMs;
  }

  /** The peer itself refused what it offers. */
  proven(host: string, feature: Feature): void {
    this.#keep(key(host, feature), { strikes: 0, avoidUntilMs: this.#clock.monotonicMs() + quirkMs });
  }

  /** The session broke or stalled in a way that the feature may be the reason of. */
  strike(host: string, feature: Feature): void {
    const known = this.#quirks.get(key(host, feature));
    const strikes = (known?.strikes ?? 0) + 1;
    if (strikes >= strikesMax) this.proven(host, feature);
    else this.#keep(key(host, feature), { strikes, avoidUntilMs: known?.avoidUntilMs ?? 0 });
  }

  /** The feature did its work. */
  worked(host: string, feature: Feature): void {
    if (this.#quirks.size > 0) this.#quirks.delete(key(host, feature));
  }

  #keep(name: string, quirk: Quirk): void {
    this.#quirks.delete(name);
    this.#quirks.set(name, quirk);
    if (this.#quirks.size <= quirkHostsMax) return;
    const oldest = this.#quirks.keys().next();
    if (!oldest.done) this.#quirks.delete(oldest.value);
  }
}

function key(host: string, feature: Feature): string {
  return `${feature} ${host}`;
}
