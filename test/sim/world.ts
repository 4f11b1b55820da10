// A world drawn from a seed: domains, exchangers with moods, DNS, streams, and what is submitted when.

import type { Config, SiteLimits, StreamConfig } from "../../src/config/config.ts";
import type { Random } from "../../src/core/random.ts";
import { dayMs, hourMs, type Instant, minuteMs, secondMs } from "../../src/core/time.ts";
import type { Moods } from "./sim-exchanger.ts";

export interface WorldHost {
  readonly name: string;
  readonly address: string;
  readonly moods: Moods;
}

export type WorldDomain =
  | {
      readonly kind: "mail";
      readonly name: string;
      readonly mx: readonly { readonly preference: number; readonly host: string }[];
    }
  | { readonly kind: "null-mx"; readonly name: string }
  | { readonly kind: "no-name"; readonly name: string };

export interface WorldSubmission {
  readonly at: Instant;
  readonly stream: string;
  readonly reversePath: string;
  readonly forwardPaths: readonly string[];
  readonly body: Buffer;
}

export interface World {
  readonly seed: number;
  readonly start: Instant;
  /** From then on nothing fails any more. */
  readonly healthyAt: Instant;
  readonly hosts: readonly WorldHost[];
  readonly domains: readonly WorldDomain[];
  /** Spans in which DNS answers SERVFAIL. */
  readonly dnsOutages: readonly { readonly from: Instant; readonly until: Instant }[];
  readonly submissions: readonly WorldSubmission[];
  readonly crashes: readonly Instant[];
  readonly config: Config;
}

export const returnsDomain = "sender.example";

/** Unknown users are told by their name, so that every exchanger of a domain agrees. */
export function isKnown(forwardPath: string): boolean {
  return !forwardPath.startsWith("unknown");
}

export function drawWorld(seed: number, random: Random, start: Instant): World {
  const healthyAt = start + 6 * hourMs;
  const hosts = Array.from({ length: 2 + random.integer(7) }, (_, i) => ({
    name: `mx${i}.hosts.example`,
    address: `198.18.0.${i + 1}`,
    moods: drawMoods(random, start),
  }));
  const domains = Array.from({ length: 2 + random.integer(10) }, (_, i) => drawDomain(`d${i}.example`, hosts, random));
  domains.push({ kind: "mail", name: returnsDomain, mx: [{ preference: 10, host: hosts[0]?.name ?? "" }] });
  const submissions = Array.from({ length: 5 + random.integer(60) }, () => drawSubmission(domains, random, start)).sort(
    (a, b) => a.at - b.at,
  );
  const crashes = Array.from({ length: random.integer(4) }, () => start + random.integer(2 * hourMs)).sort(
    (a, b) => a - b,
  );
  const dnsOutages = Array.from({ length: random.integer(3) }, () => {
    const from = start + random.integer(2 * hourMs);
    return { from, until: from + random.integer(20 * minuteMs) };
  });
  return { seed, start, healthyAt, hosts, domains, dnsOutages, submissions, crashes, config: drawConfig(random) };
}

function drawMoods(random: Random, start: Instant): Moods {
  const sometimes = (share: number, most: number) => (random.next() < share ? random.next() * most : 0);
  const down = random.next() < 0.3;
  const downFrom = start + random.integer(hourMs);
  return {
    pipelining: random.next() < 0.8,
    chunking: random.next() < 0.5,
    eightBitMime: true,
    dsn: random.next() < 0.5,
    startTls: random.next() < 0.5,
    refuseConnectShare: sometimes(0.3, 0.3),
    hangConnectShare: sometimes(0.2, 0.2),
    banner421Share: sometimes(0.3, 0.3),
    mailTransientShare: sometimes(0.4, 0.3),
    rcptTransientShare: sometimes(0.4, 0.3),
    dataTransientShare: sometimes(0.3, 0.3),
    dotTransientShare: sometimes(0.3, 0.3),
    dotPermanentShare: sometimes(0.2, 0.2),
    breakShare: sometimes(0.4, 0.1),
    lostReplyShare: sometimes(0.3, 0.2),
    breakAtDotShare: sometimes(0.3, 0.2),
    greylistMs: random.next() < 0.3 ? minuteMs : 0,
    messagesPerConnection: 1 + random.integer(10),
    closeStyle: random.next() < 0.5 ? "421" : "silent",
    downFrom: down ? downFrom : 0,
    downUntil: down ? downFrom + random.integer(hourMs) : 0,
    replyDelayMs: random.integer(200),
  };
}

function drawDomain(name: string, hosts: readonly WorldHost[], random: Random): WorldDomain {
  const kind = random.next();
  if (kind < 0.05) return { kind: "null-mx", name };
  if (kind < 0.1) return { kind: "no-name", name };
  const mx = Array.from({ length: 1 + random.integer(3) }, () => ({
    preference: 10 * (1 + random.integer(2)),
    host: hosts[random.integer(hosts.length)]?.name ?? "",
  }));
  return { kind: "mail", name, mx: mx.filter((record, i) => mx.findIndex(({ host }) => host === record.host) === i) };
}

function drawSubmission(domains: readonly WorldDomain[], random: Random, start: Instant): WorldSubmission {
  const forwardPaths = new Set<string>();
  for (let count = 1 + random.integer(6); count > 0; count--) {
    const domain = domains[random.integer(domains.length - 1)]?.name ?? "";
    forwardPaths.add(`${random.next() < 0.1 ? "unknown" : "user"}${random.integer(20)}@${domain}`);
  }
  const lines = Array.from(
    { length: random.integer(20) },
    () => ".".repeat(random.integer(4)) + "x".repeat(random.integer(70)),
  );
  return {
    at: start + random.integer(2 * hourMs),
    stream: random.next() < 0.3 ? "receipts" : "news",
    reversePath: random.next() < 0.2 ? "" : `app@${returnsDomain}`,
    forwardPaths: [...forwardPaths],
    body: Buffer.from(lines.map((line) => `${line}\r\n`).join("")),
  };
}

function drawConfig(random: Random): Config {
  const limits: SiteLimits = {
    connectionsMax: 1 + random.integer(5),
    connectionRate: random.next() < 0.5 ? undefined : { count: 20, perMs: minuteMs },
    messagesPerConnectionMax: 1 + random.integer(20),
    rate: random.next() < 0.5 ? undefined : { count: 1 + random.integer(10), perMs: secondMs },
    recipientsPerMessageMax: 1 + random.integer(5),
    tls: undefined,
  };
  const sources = new Map(
    Array.from({ length: 1 + random.integer(3) }, (_, i) => {
      const name = `s${i}`;
      return [name, { name, address: `198.51.100.${i + 1}`, ehlo: `${name}.mta.example` }] as const;
    }),
  );
  const members = [...sources.keys()].map((source) => ({ source, weight: 1 + random.integer(3) }));
  const stream = (name: string, rest: Partial<StreamConfig>): StreamConfig => ({
    name,
    pool: "all",
    class: "batch",
    share: 1,
    deadlineMs: undefined,
    expireMs: 4 * dayMs,
    retryMs: [minuteMs, 5 * minuteMs, 20 * minuteMs, hourMs],
    delayDsnMs: random.next() < 0.5 ? 4 * hourMs : undefined,
    ...rest,
  });
  return {
    hostname: "mta.example",
    shards: 1,
    spool: { path: "/sim", freeSpaceMinBytes: 0, mapSizeBytes: 0, commitLatencyMaxMs: 5_000 },
    ingest: { smtp: [], memoryMaxBytes: 1 << 28 },
    users: new Map(),
    dns: { servers: "system", timeoutMs: 5_000 },
    delivery: {
      port: 25,
      tls: "opportunistic",
      internalNetworksAllowed: ["198.18.0.0/15"],
      ip: [4, 6],
      timeouts: {
        connectMs: 30_000,
        bannerMs: 5 * minuteMs,
        ehloMs: 5 * minuteMs,
        startTlsMs: minuteMs,
        mailMs: 5 * minuteMs,
        rcptMs: 5 * minuteMs,
        dataMs: 2 * minuteMs,
        blockMs: 3 * minuteMs,
        finalDotMs: 10 * minuteMs,
        idleMs: random.integer(10) * secondMs,
      },
      unknownOutcome: "retry",
      unknownRetryMinMs: 15 * minuteMs,
    },
    sources,
    pools: new Map([["all", { name: "all", members }]]),
    streams: new Map([
      ["news", stream("news", {})],
      ["receipts", stream("receipts", { class: "realtime", expireMs: hourMs, retryMs: [5_000, 15_000, minuteMs] })],
    ]),
    defaultStream: "news",
    sites: { defaults: limits, named: [] },
    relays: new Map(),
    signing: [],
    bounces: { include: [], returnPath: `bounces@${returnsDomain}` },
    events: { path: "/sim", rotateBytes: 1, keepMs: 1, headers: [] },
    admin: { listen: { host: "127.0.0.1", port: 0 }, tokenEnv: undefined },
    log: { level: "silent" },
    drainTimeoutMs: minuteMs,
  };
}
