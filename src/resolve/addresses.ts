// From exchangers to the addresses that may be connected to.

import type { Resolver } from "../core/dns.ts";
import { canonicalIp } from "../core/ip-address.ts";
import { type Clock, type Instant, type Millis, minuteMs } from "../core/time.ts";
import type { MxHost } from "./mx.ts";

/** Addresses that are considered, over all exchangers of a domain. */
export const addressesMax = 100;
/** A plan that lacks an answer is made again after this time at the latest. */
const partialPlanTtlMs: Millis = minuteMs;

export interface HostAddresses extends MxHost {
  /** Canonical, each once, in the order of the families asked for. */
  readonly addresses: readonly string[];
  /** undefined when every family was answered, with addresses or with none. */
  readonly failure: "timeout" | "servfail" | "bogus" | undefined;
  readonly until: Instant;
}

/** Looks up all hosts in all families at one time. Keeps the order of the hosts. */
export async function lookUpAddresses(
  hosts: readonly MxHost[],
  families: readonly (4 | 6)[],
  resolver: Pick<Resolver, "a" | "aaaa">,
  clock: Clock,
): Promise<HostAddresses[]> {
  const found = await Promise.all(hosts.map((host) => lookUpHost(host, families, resolver, clock)));
  let left = addressesMax;
  return found.map((host) => {
    const addresses = host.addresses.slice(0, left);
    left -= addresses.length;
    return { ...host, addresses };
  });
}

async function lookUpHost(
  { host, preference }: MxHost,
  families: readonly (4 | 6)[],
  resolver: Pick<Resolver, "a" | "aaaa">,
  clock: Clock,
): Promise<HostAddresses> {
  const answers = await Promise.all(families.map((family) => (family === 4 ? resolver.a(host) : resolver.aaaa(host))));
  const addresses = new Set<string>();
  let failure: HostAddresses["failure"];
  let until = Number.POSITIVE_INFINITY;
  for (const answer of answers) {
    if (answer.kind === "failed") {
      failure = answer.reason;
      until = Math.min(until, clock.now() + partialPlanTtlMs);
      continue;
    }
    until = Math.min(until, answer.until);
    if (answer.kind !== "found") continue;
    for (const record of answer.records) {
      const address = canonicalIp(record);
      if (address !== undefined) addresses.add(address);
    }
  }
  return { host, preference, addresses: [...addresses], failure, until };
}
