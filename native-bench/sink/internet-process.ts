// The process that holds the internet in a box: the receivers and the DNS that leads to them.

import { answerCalls } from "../control.ts";
import { DnsServer } from "../dns/dns-server.ts";
import { type ZoneEntry, zoneOf } from "../dns/zone.ts";
import { type Breach, Ledger, type Receipt } from "./ledger.ts";
import type { OperatorProfile } from "./operator.ts";
import { type OperatorCounts, type OperatorSetup, SinkServer } from "./sink-server.ts";

export interface InternetPlan {
  readonly operators: readonly OperatorSetup[];
  /** The port of all receivers; another is taken where it is busy. 0: any. */
  readonly smtpPort: number;
  readonly dnsHost: string;
  readonly dnsPort: number;
  readonly zone: Readonly<Record<string, ZoneEntry>>;
  readonly seed: number;
  readonly ledgerFile?: string | undefined;
  readonly samplesMax?: number | undefined;
}

export interface InternetCounts {
  readonly operators: readonly OperatorCounts[];
  readonly receipts: number;
  readonly breaches: number;
  readonly questions: number;
  /** CPU time of this process so far. */
  readonly cpuMs: number;
}

/** What can be asked often. */
export interface InternetTotals {
  readonly receipts: number;
  readonly breaches: number;
  /** Recipients and messages told to come later: greylisted, deferred, over a rate, down. */
  readonly deferrals: number;
  readonly connectionsOpen: number;
}

/** What `Remote` may call. */
export interface InternetApi {
  readonly [method: string]: (argument: never) => unknown;
  readonly start: (plan: InternetPlan) => Promise<{ readonly smtpPort: number; readonly dnsPort: number }>;
  /** New receipts from an index on, at most `receiptsPerCallMax`. */
  readonly receipts: (from: number) => readonly Receipt[];
  readonly breaches: () => readonly Breach[];
  readonly samples: () => readonly Uint8Array[];
  readonly counts: () => InternetCounts;
  readonly totals: () => InternetTotals;
  readonly change: (change: { readonly operator: string; readonly patch: Partial<OperatorProfile> }) => void;
  readonly close: () => Promise<void>;
}

export const receiptsPerCallMax = 20_000;

interface Running {
  readonly ledger: Ledger;
  readonly sink: SinkServer;
  readonly dns: DnsServer;
}

function internetApi(): InternetApi {
  let running: Running | undefined;
  const use = (): Running => {
    if (running === undefined) throw new Error("not started");
    return running;
  };
  return {
    async start(plan) {
      const ledger = new Ledger({ file: plan.ledgerFile, samplesMax: plan.samplesMax });
      const sink = new SinkServer(plan.operators, ledger, plan.seed);
      const dns = new DnsServer(zoneOf(plan.zone));
      running = { ledger, sink, dns };
      const smtpPort = await sink.listen(plan.smtpPort);
      const dnsPort = await dns.listen(plan.dnsHost, plan.dnsPort);
      return { smtpPort, dnsPort };
    },
    receipts: (from) => use().ledger.receipts(from, receiptsPerCallMax),
    breaches: () => use().ledger.breaches,
    samples: () => use().ledger.samples,
    counts() {
      const { ledger, sink, dns } = use();
      const cpu = process.cpuUsage();
      return {
        operators: sink.counts(),
        receipts: ledger.receiptCount,
        breaches: ledger.breachCount,
        questions: dns.questions,
        cpuMs: (cpu.user + cpu.system) / 1_000,
      };
    },
    totals() {
      const { ledger, sink } = use();
      return { receipts: ledger.receiptCount, breaches: ledger.breachCount, ...sink.totals() };
    },
    change: ({ operator, patch }) => use().sink.change(operator, patch),
    async close() {
      const { sink, dns } = use();
      await Promise.all([sink.close(), dns.close()]);
    },
  };
}

if (import.meta.main) answerCalls(internetApi());
