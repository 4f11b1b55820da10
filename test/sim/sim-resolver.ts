// DNS of a simulated world: literal answers, and outages.

import type { Answer, MxRecord, Resolver } from "../../src/core/dns.ts";
import { type Clock, minuteMs } from "../../src/core/time.ts";
import type { World } from "./world.ts";

export class SimResolver implements Resolver {
  readonly #world: World;
  readonly #clock: Clock;

  constructor(world: World, clock: Clock) {
    this.#world = world;
    this.#clock = clock;
  }

  mx(name: string): Promise<Answer<MxRecord>> {
    const domain = this.#world.domains.find((candidate) => candidate.name === name);
    if (domain === undefined || domain.kind === "no-name") return this.#answer(undefined, "no-name");
    if (domain.kind === "null-mx") return this.#answer([{ preference: 0, exchange: "" }], "no-data");
    return this.#answer(
      domain.mx.map(({ preference, host }) => ({ preference, exchange: host })),
      "no-data",
    );
  }

  a(name: string): Promise<Answer<string>> {
    const host = this.#world.hosts.find((candidate) => candidate.name === name);
    return this.#answer(host === undefined ? undefined : [host.address], "no-name");
  }

  aaaa(): Promise<Answer<string>> {
    return this.#answer(undefined, "no-data");
  }

  txt(): Promise<Answer<string>> {
    return this.#answer(undefined, "no-data");
  }

  #answer<Value>(records: readonly Value[] | undefined, missing: "no-name" | "no-data"): Promise<Answer<Value>> {
    const now = this.#clock.now();
    const outage = this.#world.dnsOutages.some(({ from, until }) => now >= from && now < until);
    const until = now + 5 * minuteMs;
    const answer: Answer<Value> = outage
      ? { kind: "failed", reason: "servfail" }
      : records === undefined
        ? { kind: missing, authentic: false, until }
        : { kind: "found", records, authentic: false, until };
    return new Promise((resolve) => this.#clock.after(5, () => resolve(answer)));
  }
}
