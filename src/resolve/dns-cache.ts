// Keeps answers for as long as they may be used, and makes one of several lookups for the same thing at one time.

import type { Answer, MxRecord, Resolver } from "../core/dns.ts";
import { type Clock, type Instant, type Millis, secondMs } from "../core/time.ts";

/** A value that may be used until an instant. */
export interface Kept<Value> {
  readonly value: Value;
  readonly until: Instant;
}

interface Entry<Value> {
  readonly value: Value;
  /** On the monotonic clock: a wall clock set back must not keep an answer for ever. */
  readonly untilMs: Millis;
}

/** Entries kept; the one that was used longest ago gives way. */
export class LookupCache<Value> {
  readonly #clock: Clock;
  readonly #entriesMax: number;
  /** Least recently used first. */
  readonly #kept = new Map<string, Entry<Value>>();
  readonly #underWay = new Map<string, Promise<Value>>();
  #generation = 0;

  constructor(clock: Clock, entriesMax: number) {
    this.#clock = clock;
    this.#entriesMax = entriesMax;
  }

  /** The kept value, or what `look` finds. Rejects only if `look` does; nothing is kept then. */
  get(key: string, look: () => Promise<Kept<Value>>): Promise<Value> {
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      this.#kept.delete(key);
      if (this.#clock.monotonicMs() < kept.untilMs) {
        this.#kept.set(key, kept);
        return Promise.resolve(kept.value);
      }
    }
    const other = this.#underWay.get(key);
    if (other !== undefined) return other;
    const looking = this.#look(key, look);
    this.#underWay.set(key, looking);
    return looking;
  }

  /** Forgets everything; lookups under way are not kept any more. */
  clear(): void {
    this.#generation++;
    this.#kept.clear();
    this.#underWay.clear();
  }

  get size(): number {
    return this.#kept.size;
  }

  async #look(key: string, look: () => Promise<Kept<Value>>): Promise<Value> {
    const generation = this.#generation;
    try {
      const kept = await look();
      if (generation === this.#generation) this.#keep(key, kept);
      return kept.value;
    } finally {
      if (generation === this.#generation) this.#underWay.delete(key);
    }
  }

  #keep(key: string, { value, until }: Kept<Value>): void {
    const leftMs = until - this.#clock.now();
    if (leftMs <= 0) return;
    this.#kept.delete(key);
    this.#kept.set(key, { value, untilMs: this.#clock.monotonicMs() + leftMs });
    if (this.#kept.size <= this.#entriesMax) return;
    const oldest = this.#kept.keys().next();
    if (!oldest.done) this.#kept.delete(oldest.value);
  }
}

/** Answers kept for each record type. */
const answersMax = 20_000;
/** Records kept of one answer. */
export const recordsMax = 128;
/** RFC 2308 section 7: a failure may be kept for up to five minutes. This spares a resolver in trouble, no more. */
export const failureTtlMs: Millis = 3 * secondMs;

/** A resolver over another one that remembers what it was told, negative answers too, until their time is over. */
export function cachedResolver(inner: Resolver, clock: Clock, entriesMax: number = answersMax): Resolver {
  const keep = <Value>(answer: Answer<Value>): Kept<Answer<Value>> => ({
    value: answer.kind === "found" ? { ...answer, records: answer.records.slice(0, recordsMax) } : answer,
    until: answer.kind === "failed" ? clock.now() + failureTtlMs : answer.until,
  });
  const mx = new LookupCache<Answer<MxRecord>>(clock, entriesMax);
  const a = new LookupCache<Answer<string>>(clock, entriesMax);
  const aaaa = new LookupCache<Answer<string>>(clock, entriesMax);
  const txt = new LookupCache<Answer<string>>(clock, entriesMax);
  return {
    mx: (name) => mx.get(name, async () => keep(lowestFirst(await inner.mx(name)))),
    a: (name) => a.get(name, async () => keep(await inner.a(name))),
    aaaa: (name) => aaaa.get(name, async () => keep(await inner.aaaa(name))),
    txt: (name) => txt.get(name, async () => keep(await inner.txt(name))),
  };
}

/** So that a cut leaves the exchangers that are tried first. */
function lowestFirst(answer: Answer<MxRecord>): Answer<MxRecord> {
  if (answer.kind !== "found") return answer;
  return { ...answer, records: answer.records.toSorted((left, right) => left.preference - right.preference) };
}
