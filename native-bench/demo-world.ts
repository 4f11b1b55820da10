// The world of the demo: receiving operators with their domains, hosts and tempers, and the mail that goes to them.

import type { ZoneEntry } from "./dns/zone.ts";
import { reverseName } from "./dns/zone.ts";
import { type OperatorProfile, openOperator } from "./sink/operator.ts";
import { appleTexts, gmailTexts, gmxTexts, microsoftTexts, mimecastTexts, yahooTexts } from "./sink/reply-texts.ts";
import type { OperatorSetup } from "./sink/sink-server.ts";

interface DemoOperator {
  readonly profile: OperatorProfile;
  /** What it is there to show. */
  readonly trait: string;
  readonly domains: readonly { readonly domain: string; readonly weight: number }[];
  readonly startTls: boolean;
}

/** Where bounces come back to: the senders' own domain. */
export const senderDomain = "shop.example";
export const returnsOperator = "returns";
/** The operator that is down when the demo begins, and the one that fails in the middle of it. */
export const downAtFirst = "sleepyish";
export const downLater = "appleish";

const deliverySpread = (medianMs: number) => ({ medianMs, sigma: 0.4, maxMs: medianMs * 10 });

const operators: readonly DemoOperator[] = [
  {
    profile: {
      ...openOperator,
      name: "gmailish",
      texts: gmailTexts,
      connectionsPerAddressMax: 20,
      messagesPerConnectionMax: 100,
      finalDotDelay: deliverySpread(20),
      roundTripMs: 2,
    },
    trait: "TLS, two exchangers, also hosts other domains",
    domains: [
      { domain: "gmailish.example", weight: 40 },
      { domain: "hosted-office.example", weight: 5 },
    ],
    startTls: true,
  },
  {
    profile: {
      ...openOperator,
      name: "hotmailish",
      texts: microsoftTexts,
      connectionsPerAddressMax: 50,
      messagesPerConnectionMax: 50,
      unknownUserShare: 0.05,
      finalDotDelay: deliverySpread(30),
      roundTripMs: 3,
    },
    trait: "refuses unknown users (5%)",
    domains: [{ domain: "hotmailish.example", weight: 14 }],
    startTls: false,
  },
  {
    profile: {
      ...openOperator,
      name: "yahooish",
      texts: yahooTexts,
      connectionsPerAddressMax: 30,
      messagesPerConnectionMax: 20,
      messagesEnd: "silent",
      finalDotDelay: deliverySpread(25),
      roundTripMs: 5,
    },
    trait: "hangs up without a word after 20 messages",
    domains: [{ domain: "yahooish.example", weight: 13 }],
    startTls: false,
  },
  {
    profile: {
      ...openOperator,
      name: downLater,
      texts: appleTexts,
      connectionsPerAddressMax: 10,
      messagesPerConnectionMax: 5,
      finalDotDelay: deliverySpread(20),
      roundTripMs: 5,
    },
    trait: "5 messages a connection; refuses all service for a while",
    domains: [{ domain: "appleish.example", weight: 6 }],
    startTls: false,
  },
  {
    profile: {
      ...openOperator,
      name: "gmxish",
      texts: gmxTexts,
      connectionsPerAddressMax: 4,
      messagesPerConnectionMax: 20,
      addressRate: { perSecond: 60, burst: 60 },
      refusedCount: true,
      block: { breachesMax: 5, windowMs: 10_000, blockMs: 5_000, penaltyMs: 500 },
      finalDotDelay: deliverySpread(15),
    },
    trait: "60 messages/s from a source; shuts out who goes past it",
    domains: [{ domain: "gmxish.example", weight: 6 }],
    startTls: false,
  },
  {
    profile: {
      ...openOperator,
      name: "gateway",
      texts: mimecastTexts,
      deferShare: 0.2,
      finalDotDelay: deliverySpread(25),
    },
    trait: "defers a fifth of all recipients",
    domains: [{ domain: "gateway.example", weight: 6 }],
    startTls: true,
  },
  {
    profile: { ...openOperator, name: "greyish", greylist: { delayMs: 1_500, expireMs: 600_000 } },
    trait: "greylists each first attempt",
    domains: [
      { domain: "greyish.example", weight: 3 },
      { domain: "small-town-post.example", weight: 2 },
    ],
    startTls: false,
  },
  {
    profile: { ...openOperator, name: downAtFirst },
    trait: "down when the demo begins",
    domains: [{ domain: "sleepyish.example", weight: 4 }],
    startTls: false,
  },
  {
    profile: { ...openOperator, name: returnsOperator },
    trait: "the senders' own: takes their bounces",
    domains: [{ domain: senderDomain, weight: 0 }],
    startTls: false,
  },
];

/** Recipients of domains that take no mail at all: a missing name and a null MX (RFC 7505). */
const deadDomains = [
  { domain: "no-such-domain.example", weight: 0.5 },
  { domain: "no-mail-here.example", weight: 0.5 },
];

/** A share of the mail goes to a long tail of small domains, hosted by the greylisting operator's kind neighbour. */
const tailDomains = 200;
const tailWeight = 5;
const tailOperator: DemoOperator = {
  profile: { ...openOperator, name: "longtail", finalDotDelay: deliverySpread(10) },
  trait: `${tailDomains} small domains`,
  domains: Array.from({ length: tailDomains }, (_, i) => ({
    domain: `shop${i}.tail.example`,
    weight: tailWeight / tailDomains,
  })),
  startTls: false,
};

const all: readonly DemoOperator[] = [...operators, tailOperator];

/** Each operator has two exchangers on addresses of its own. */
function exchangers(no: number): readonly { readonly host: string; readonly address: string }[] {
  const { name } = (all[no] as DemoOperator).profile;
  return [1, 2].map((host) => ({ host: `mx${host}.${name}.example`, address: `127.10.${no + 1}.${host}` }));
}

export function demoOperators(): OperatorSetup[] {
  return all.map(({ profile, startTls }, no) => ({
    profile,
    hostName: `mx1.${profile.name}.example`,
    addresses: exchangers(no).map(({ address }) => address),
    startTls,
  }));
}

export function demoTraits(): ReadonlyMap<string, string> {
  return new Map(all.map(({ profile, trait }) => [profile.name, trait]));
}

/** Recipient domains with their weights. */
export function demoDomains(): { readonly domain: string; readonly weight: number }[] {
  return [...all.flatMap(({ domains }) => domains), ...deadDomains].filter(({ weight }) => weight > 0);
}

/** `dkimRecords` are the TXT records of the senders' keys by name. */
export function demoZone(dkimRecords: ReadonlyMap<string, string>): Record<string, ZoneEntry> {
  const zone: Record<string, ZoneEntry> = {};
  for (const [no, { domains }] of all.entries()) {
    const hosts = exchangers(no);
    const mx = hosts.map(({ host }, i) => ({ preference: 10 + 10 * i, exchange: host }));
    for (const { domain } of domains) zone[domain] = { mx };
    for (const { host, address } of hosts) {
      zone[host] = { a: [address] };
      zone[reverseName(address)] = { ptr: [host] };
    }
  }
  zone["no-mail-here.example"] = { mx: [{ preference: 0, exchange: "." }] };
  zone[senderDomain] = { ...zone[senderDomain], txt: ["v=spf1 ip4:127.20.0.0/24 -all"] };
  for (const [name, text] of dkimRecords) zone[name] = { txt: [text] };
  return zone;
}
