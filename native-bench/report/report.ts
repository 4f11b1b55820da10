// What a benchmark found, as data: the form of `--json`, and what the terminal and the page are made from.

import type { Latency } from "../audit.ts";
import type { Percentiles } from "../source/load-plan.ts";

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryMiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Processes that wanted to run before we began (1-minute load average): more than nought and others disturbed us. */
  readonly loadBefore: number;
}

/** Under which conditions the numbers hold. */
export interface Terms {
  readonly durable: string;
  readonly signed: string;
  readonly encrypted: string;
  readonly message: string;
  readonly load: string;
  readonly receivers: string;
}

/** One moment of a run. Counts are those since its start, shares of CPU those since the moment before. */
export interface Sample {
  readonly atMs: number;
  readonly accepted: number;
  readonly delivered: number;
  readonly deferrals: number;
  readonly connections: number;
  /** 1: one core busy. */
  readonly serverCpu: number;
  readonly sourceCpu: number;
  readonly receiversCpu: number;
  readonly serverPrivateMiB: number;
  readonly serverFileMiB: number;
  readonly sourceMiB: number;
  readonly receiversMiB: number;
  readonly loopLagMs?: number | undefined;
  readonly spoolFileMiB?: number | undefined;
  readonly spoolLiveMiB?: number | undefined;
}

export interface CpuReport {
  /** User and system together. */
  readonly serverUsPerMessage: number;
  readonly serverUserUsPerMessage: number;
  readonly serverSystemUsPerMessage: number;
  readonly sourceUsPerMessage: number;
  readonly receiversUsPerMessage: number;
  /** Without 1.3 bare signatures where Postern signs: what is left is to be no more than for mail that is not signed. */
  readonly serverUsBesideSignature: number;
  /** A bare RSA-2048 signature, measured before and after the run; only where mail is signed. */
  readonly bareSignatureUs?: number | undefined;
}

export interface MemoryReport {
  /** Private memory of the server: what it needs for itself. */
  readonly serverPrivateMiBMax: number;
  /** Pages of mapped files (the spool), which the system takes back when it needs them. */
  readonly serverFileMiBMax: number;
  /** Mean of the last fifth of the run against that of the second fifth. */
  readonly serverPrivateGrowthMiB: number;
}

/** How mail was dealt out over the source addresses. */
export interface SourcesReport {
  readonly addresses: number;
  /** Copies that came from another address than that of the source which the delivery log names, or that it does not name. */
  readonly wrongAddress: number;
  /** The largest distance of one address' share from that by its weight, in proportion to the latter. */
  readonly shareErrorMax: number;
}

/** The same server in another scenario, just before and just after this one. */
export interface BaselineReport {
  readonly scenario: string;
  readonly deliveredPerSecond: readonly number[];
  readonly serverUsPerMessage: readonly number[];
  /** Messages a second here against the mean there. */
  readonly deliveredShare: number;
}

/** What queues cost while they wait for their next attempt: see `idle-queues.ts`. */
export interface IdleQueueReport {
  readonly queues: number;
  readonly messages: number;
  /** JavaScript heap of all threads, after a full collection, against before; what DNS told of the domains is in it. */
  readonly bytesPerQueue: number;
  /** The same once all is delivered: what is left of a queue that is gone. */
  readonly bytesKeptPerEmptiedQueue: number;
  readonly heapMiBBefore: number;
  readonly heapMiBWaiting: number;
  readonly privateMiBBefore: number;
  readonly privateMiBWaiting: number;
}

export interface RunReport {
  readonly server: string;
  readonly notes: readonly string[];
  readonly messages: number;
  readonly recipientsPerMessage: number;
  /** Messages. */
  readonly accepted: number;
  /** Copies, one for each recipient. */
  readonly delivered: number;
  readonly refused: number;
  /** Recipients whose receiver refused them for good, by the delivery log: they count as neither delivered nor lost. */
  readonly bounced: number;
  readonly lost: number;
  /** Recipients with more than one copy, without those of the next line. */
  readonly duplicates: number;
  /** Recipients with more than one copy because a receiver took one and its 250 was lost (RFC 1047). */
  readonly repeatsAfterLostReply: number;
  readonly damaged: number;
  /** Limits of receivers that were not kept. */
  readonly breaches: number;
  /** From the start of the load to the last copy. */
  readonly seconds: number;
  readonly acceptedPerSecond: number;
  readonly deliveredPerSecond: number;
  /** Without the first and the last tenth of the copies. */
  readonly deliveredPerSecondSteady: number;
  readonly deliveredMiBPerSecond: number;
  readonly cpu: CpuReport;
  readonly memory: MemoryReport;
  readonly greeting: Percentiles;
  /** From the final dot to its 250. */
  readonly finalDot: Percentiles;
  /** From connect to the 250 of the connection's first message. */
  readonly connectTo250: Percentiles;
  /** From the sender's 250 to the receiver's. */
  readonly acceptToDelivery: Latency;
  /** Delays of the event loops of all shards; bounds of buckets make the figures, the last one upwards. */
  readonly eventLoopLagMs?: { readonly p50: number; readonly p99: number; readonly max: number } | undefined;
  readonly commitMs?: { readonly p50: number; readonly p99: number; readonly max: number } | undefined;
  readonly spool?:
    | {
        readonly fileMiB: number;
        readonly liveMiBMax: number;
        /** The file at its end against the most that it held. */
        readonly fileToLiveMax: number;
      }
    | undefined;
  readonly sources?: SourcesReport | undefined;
  readonly deferralsByOperator: readonly { readonly operator: string; readonly deferrals: number }[];
  readonly samples: readonly Sample[];
  readonly problem: string | undefined;
}

export interface RestartReport {
  readonly server: string;
  readonly queuedRecipients: number;
  readonly domains: number;
  readonly fillSeconds: number;
  readonly spoolMiB: number;
  /** From the start of the process. */
  readonly readySeconds: number;
  readonly firstDeliverySeconds: number;
  readonly drainSeconds: number;
  readonly deliveredPerSecond: number;
  readonly memory: {
    readonly serverPrivateMiBAtFirst: number;
    readonly serverFileMiBAtFirst: number;
    readonly serverPrivateMiBMax: number;
    readonly serverFileMiBMax: number;
    /** Private and mapped together, at one moment. */
    readonly serverResidentMiBMax: number;
  };
  readonly lost: number;
  readonly duplicates: number;
  readonly damaged: number;
  readonly breaches: number;
  /** Deliveries of a domain that came before one that was queued earlier. One connection to a site: 0 is right. */
  readonly outOfOrder: number;
  /** About one a second, from the first delivery to the last. */
  readonly samples: readonly RestartSample[];
}

/** One moment after the restart. Rates and shares of CPU are those since the moment before; 1: one core busy. */
export interface RestartSample {
  /** Since the start of the process. */
  readonly atMs: number;
  readonly delivered: number;
  readonly deliveredPerSecond: number;
  readonly connections: number;
  readonly serverCpu: number;
  readonly receiversCpu: number;
  readonly serverPrivateMiB: number;
  readonly serverFileMiB: number;
}

/** One run of Postern beside one of the peer, one after the other. */
export interface Pair {
  readonly delivered: number;
  readonly accepted: number;
  /** The peer's CPU time for each message against Postern's. */
  readonly cpu: number;
}

export interface Check {
  readonly server: string;
  readonly value: string;
  readonly bound: string;
  readonly found: number | undefined;
  readonly met: boolean;
}

export interface BenchReport {
  readonly scenario: string;
  readonly about: string;
  /** What the command line changed of the scenario; its targets are those of the scenario as it stands. */
  readonly changed: readonly string[];
  readonly at: string;
  readonly machine: Machine;
  readonly terms: Terms;
  readonly runs: readonly RunReport[];
  readonly baseline?: BaselineReport | undefined;
  readonly idleQueues?: IdleQueueReport | undefined;
  readonly restart?: RestartReport | undefined;
  /** Postern against the peer, pair by pair: above 1, Postern does more. */
  readonly pairs: readonly Pair[];
  readonly checks: readonly Check[];
}
