// The world of a benchmark: exchangers on addresses of their own, and the domains that lead to them.

import type { ZoneEntry } from "./dns/zone.ts";
import type { Scenario } from "./scenario/scenario.ts";
import { openOperator } from "./sink/operator.ts";
import type { OperatorSetup } from "./sink/sink-server.ts";

export const senderDomain = "sender.example";

export function domainsOf(scenario: Scenario): string[] {
  return Array.from({ length: scenario.domains }, (_, i) => `d${i}.bench.example`);
}

function hostOf(i: number): { name: string; address: string } {
  return { name: `mx.h${i}.bench.example`, address: `127.30.${Math.floor(i / 250)}.${(i % 250) + 1}` };
}

export function operatorsOf(scenario: Scenario): OperatorSetup[] {
  return Array.from({ length: scenario.hosts }, (_, i) => ({
    profile: { ...openOperator, name: `h${i}`, ...scenario.receiver },
    hostName: hostOf(i).name,
    addresses: [hostOf(i).address],
    extensions: scenario.extensions,
  }));
}

export function zoneOf(scenario: Scenario): Record<string, ZoneEntry> {
  const zone: Record<string, ZoneEntry> = {};
  for (let i = 0; i < scenario.hosts; i++) zone[hostOf(i).name] = { a: [hostOf(i).address] };
  for (const [i, domain] of domainsOf(scenario).entries()) {
    zone[domain] = { mx: [{ preference: 10, exchange: hostOf(i % scenario.hosts).name }] };
  }
  return zone;
}
