// The world of a benchmark: exchangers on addresses of their own, the domains that lead to them, and Postern's config.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashPassword } from "../src/ingest/password.ts";
import { generatePrivateKey } from "../src/signing/signing.ts";
import type { ZoneEntry } from "./dns/zone.ts";
import type { Override } from "./run-config.ts";
import type { Scenario } from "./scenario/scenario.ts";
import { openOperator } from "./sink/operator.ts";
import { selfSigned } from "./sink/self-signed.ts";
import type { OperatorSetup } from "./sink/sink-server.ts";
import type { LoadPlan } from "./source/load-plan.ts";

export const senderDomain = "sender.example";
const login = { user: "bench", password: "correct horse battery staple" };

type World = Pick<Scenario, "domains" | "domainWeights" | "hosts">;

export function domainsOf(scenario: World): { readonly domain: string; readonly weight: number }[] {
  return Array.from({ length: scenario.domains }, (_, i) => ({
    domain: `d${i}.bench.example`,
    weight: scenario.domainWeights === "falling" ? 1 / (i + 1) : 1,
  }));
}

/** The exchanger of a domain, by the domain's place in `domainsOf`. */
export function hostOf(scenario: World, domainNo: number): { readonly name: string; readonly address: string } {
  return hostNo(domainNo % scenario.hosts);
}

function hostNo(i: number): { name: string; address: string } {
  return { name: `mx.h${i}.bench.example`, address: `127.30.${Math.floor(i / 250)}.${(i % 250) + 1}` };
}

export function operatorsOf(scenario: Scenario): OperatorSetup[] {
  return Array.from({ length: scenario.hosts }, (_, i) => ({
    // A connection more than Postern may have breaks a limit.
    profile: {
      ...openOperator,
      name: `h${i}`,
      connectionsPerAddressMax: scenario.connectionsMax,
      ...scenario.receiver,
    },
    hostName: hostNo(i).name,
    addresses: [hostNo(i).address],
    extensions: scenario.extensions,
    startTls: scenario.encrypted,
  }));
}

export function zoneOf(scenario: Scenario): Record<string, ZoneEntry> {
  const zone: Record<string, ZoneEntry> = {};
  for (let i = 0; i < scenario.hosts; i++) zone[hostNo(i).name] = { a: [hostNo(i).address] };
  for (const [i, { domain }] of domainsOf(scenario).entries()) {
    zone[domain] = { mx: [{ preference: 10, exchange: hostOf(scenario, i).name }] };
  }
  return zone;
}

export interface Source {
  readonly name: string;
  readonly address: string;
  readonly weight: number;
}

export function sourcesOf(scenario: Pick<Scenario, "sources">): Source[] {
  return Array.from({ length: scenario.sources }, (_, i) => ({
    name: `s${i}`,
    address: `127.20.${Math.floor(i / 250)}.${(i % 250) + 1}`,
    weight: scenario.sources === 1 ? 1 : (i % 4) + 1,
  }));
}

/** What the scenario changes in `conf/bench.yaml`. Keys and certificates are written to `folder`. */
export async function overridesOf(scenario: Scenario, folder: string): Promise<Override[]> {
  const overrides: Override[] = [
    [["shards"], scenario.shards],
    [["sites", "defaults", "connections_max"], scenario.connectionsMax],
  ];
  if (scenario.sources > 1) overrides.push(...sourceOverrides(scenario));
  if (scenario.signed) overrides.push(await signing(folder));
  if (scenario.encrypted) overrides.push(...encryption(folder));
  if (scenario.login) {
    const users = { [login.user]: { password_scrypt: await hashPassword(login.password) } };
    overrides.push([["users"], users], [["ingest", "smtp", 0, "auth"], "optional"]);
  }
  return [...overrides, ...scenario.overrides];
}

function sourceOverrides(scenario: Scenario): Override[] {
  const sources = sourcesOf(scenario);
  const entries = sources.map(({ name, address }) => [name, { address, ehlo: `${name}.${senderDomain}` }] as const);
  const members = Object.fromEntries(sources.map(({ name, weight }) => [name, weight]));
  return [
    [["sources"], Object.fromEntries(entries)],
    [["pools", "all", "members"], members],
  ];
}

async function signing(folder: string): Promise<Override> {
  const keyFile = join(folder, "bench.pem");
  writeFileSync(keyFile, await generatePrivateKey("rsa-2048"), { mode: 0o600 });
  return [
    ["signing"],
    [{ domain: senderDomain, keys: [{ selector: "b", algorithm: "rsa-sha256", key_file: keyFile }] }],
  ];
}

function encryption(folder: string): Override[] {
  const { keyPem, certPem } = selfSigned(["localhost"], new Date());
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  writeFileSync(cert, certPem);
  writeFileSync(key, keyPem, { mode: 0o600 });
  return [
    [["ingest", "smtp", 0, "tls"], { cert, key, mode: "starttls" }],
    // The receivers' certificates are nobody's, so that "required" would refuse them.
    [["delivery", "tls"], "opportunistic"],
  ];
}

const warmUpRunId = "warm";
const warmUpSessionsMax = 40;

/** What goes before: the same mail, flat out. */
export function warmUpPlanOf(scenario: Scenario, target: LoadPlan["target"]): LoadPlan {
  return {
    ...loadPlanOf(scenario, target),
    runId: warmUpRunId,
    messages: scenario.warmUpMessages,
    sessions: Math.min(warmUpSessionsMax, scenario.sessions),
    ratePerSecond: undefined,
    bursts: undefined,
  };
}

export function isWarmUp(recipient: string): boolean {
  return recipient.startsWith(`u${warmUpRunId}-`);
}

/** What the load source sends. */
export function loadPlanOf(scenario: Scenario, target: LoadPlan["target"]): LoadPlan {
  return {
    runId: scenario.name,
    target,
    messages: scenario.messages,
    sessions: scenario.sessions,
    messagesPerSession: scenario.messagesPerSession,
    ratePerSecond: scenario.ratePerSecond,
    bursts: scenario.bursts,
    bodyBytes: scenario.bodyBytes,
    recipientsPerMessage: scenario.recipientsPerMessage,
    reversePath: `bench@${senderDomain}`,
    domains: domainsOf(scenario),
    stream: undefined,
    dotLines: false,
    startTls: scenario.encrypted,
    login: scenario.login ? login : undefined,
    seed: 1,
  };
}
