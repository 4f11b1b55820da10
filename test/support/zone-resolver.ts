// A resolver over zones written as data, for tests.

import type { Answer, MxRecord, Resolver } from "../../src/core/dns.ts";
import { type Clock, hourMs, type Millis } from "../../src/core/time.ts";

/** What one name holds. A type that is left out has no data; a name that is left out does not exist. */
export interface ZoneName {
  readonly mx?: readonly (readonly [preference: number, exchange: string])[] | Trouble;
  readonly a?: readonly string[] | Trouble;
  readonly aaaa?: readonly string[] | Trouble;
  readonly txt?: readonly string[] | Trouble;
  readonly ttlMs?: Millis;
}

/** "silent" never answers. */
export type Trouble = "timeout" | "servfail" | "bogus" | "silent";

export class ZoneResolver implements Resolver {
  /** Each query as `TYPE name`, in order. */
  readonly queries: string[] = [];
  zones: Readonly<Record<string, ZoneName>>;
  readonly #clock: Clock;

  constructor(clock: Clock, zones: Readonly<Record<string, ZoneName>>) {
    this.#clock = clock;
    this.zones = zones;
  }

  mx(name: string): Promise<Answer<MxRecord>> {
    return this.#answer("MX", name, this.zones[name]?.mx, ([preference, exchange]) => ({ preference, exchange }));
  }

  a(name: string): Promise<Answer<string>> {
    return this.#answer("A", name, this.zones[name]?.a, (address) => address);
  }

  aaaa(name: string): Promise<Answer<string>> {
    return this.#answer("AAAA", name, this.zones[name]?.aaaa, (address) => address);
  }

  txt(name: string): Promise<Answer<string>> {
    return this.#answer("TXT", name, this.zones[name]?.txt, (text) => text);
  }

  async #answer<Datum, Value>(
    type: string,
    name: string,
    data: readonly Datum[] | Trouble | undefined,
    toValue: (datum: Datum) => Value,
  ): Promise<Answer<Value>> {
    this.queries.push(`${type} ${name}`);
    if (data === "silent") return new Promise(() => {});
    if (typeof data === "string") return { kind: "failed", reason: data };
    const zone = this.zones[name];
    const until = this.#clock.now() + (zone?.ttlMs ?? hourMs);
    if (zone === undefined) return { kind: "no-name", authentic: false, until };
    if (data === undefined || data.length === 0) return { kind: "no-data", authentic: false, until };
    return { kind: "found", records: data.map(toValue), authentic: false, until };
  }
}
