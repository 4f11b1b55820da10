// What `postern top` shows, out of what the admin API says: rates and quantiles are differences between two looks.

import type { LaneSummary, QueueSummary } from "../queue/queue.ts";

/** The samples of /metrics that are wanted here, by name and labels. */
export type Samples = ReadonlyMap<string, Sample>;

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What one look found. `at` is our clock's, in ms since the Unix epoch; `steadyMs` is for the span between two looks. */
export interface Look {
  readonly at: number;
  readonly steadyMs: number;
  readonly samples: Samples;
  readonly lanes: readonly LaneSummary[];
  readonly queues: readonly QueueSummary[];
  /** How many queues there are; the answer holds the longest. */
  readonly queuesTotal: number;
}

/** Per second. Messages are accepted; recipients are delivered, deferred, failed. */
export interface Throughput {
  readonly accepted: number;
  readonly delivered: number;
  /** Attempts that leave the recipient waiting. */
  readonly deferred: number;
  /** Attempts that end in a final failure: a refusal for good, or the last one before the recipient expires. */
  readonly failed: number;
}

export interface StreamFigures {
  readonly stream: string;
  /** Recipients that wait, by state. */
  readonly waiting: Readonly<Record<string, number>>;
  /** Per second, and the seconds from acceptance to delivery; null when no two looks, or no delivery between them. */
  readonly accepted: number | null;
  readonly delivered: number | null;
  readonly p50Seconds: number | null;
  readonly p99Seconds: number | null;
}

export interface LaneFigures {
  readonly source: string;
  readonly site: string;
  readonly busy: number;
  readonly idle: number;
  readonly connecting: number;
  readonly max: number;
  readonly ready: number;
  readonly suspendedUntil: number | null;
  readonly suspendedBecause: string | null;
}

export interface QueueFigures {
  readonly stream: string;
  readonly domain: string;
  readonly site: string | null;
  readonly recipients: number;
  readonly inFlight: number;
  readonly waitsFor: string;
}

export interface Figures {
  readonly at: number;
  /** The span that rates and quantiles are about; null at the first look. */
  readonly overSeconds: number | null;
  readonly throughput: Throughput | null;
  /** All of them: the ones with most to do first. */
  readonly streams: readonly StreamFigures[];
  readonly lanes: readonly LaneFigures[];
  readonly queues: readonly QueueFigures[];
  readonly queuesTotal: number;
}

const accepted = "postern_ingest_messages_total";
const attempts = "postern_delivery_attempts_total";
const bounces = "postern_outcome_bounces_total";
const waiting = "postern_queue_recipients";
const delay = "postern_accept_to_delivery_seconds";
const wanted = [accepted, attempts, bounces, waiting, delay];

/** Reads the Prometheus text format 0.0.4, and of it what `top` shows. A line that is none is passed over. */
export function parseSamples(text: string): Samples {
  const samples = new Map<string, Sample>();
  for (const line of text.split("\n")) {
    if (!wanted.some((name) => line.startsWith(name))) continue;
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (match === null) continue;
    const [, name = "", labelText = "", valueText] = match;
    const labels: Record<string, string> = {};
    for (const [, label = "", escaped = ""] of labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[label] = escaped.replaceAll(/\\(.)/g, (_, sign: string) => (sign === "n" ? "\n" : sign));
    }
    const value = Number(valueText);
    if (Number.isFinite(value)) samples.set(`${name}{${labelText}}`, { name, labels, value });
  }
  return samples;
}

/** `before` is the look that went before, if there was one. */
export function figuresOf(now: Look, before: Look | undefined): Figures {
  const overSeconds = before === undefined ? null : Math.max(now.steadyMs - before.steadyMs, 1) / 1_000;
  const growth = before === undefined ? [] : growthOf(now.samples, before.samples);
  const queues = queuesOf(now.queues);
  return {
    at: now.at,
    overSeconds,
    throughput: overSeconds === null ? null : throughputOf(growth, overSeconds),
    streams: streamsOf(now.samples, growth, overSeconds),
    lanes: lanesOf(now.lanes, now.at),
    queues,
    queuesTotal: now.queuesTotal - now.queues.length + queues.length,
  };
}

/** How far each counter went. One that is smaller than before began anew: the server was started again. */
function growthOf(now: Samples, before: Samples): Sample[] {
  return [...now].map(([key, sample]) => {
    const earlier = before.get(key)?.value ?? 0;
    return { ...sample, value: sample.value >= earlier ? sample.value - earlier : sample.value };
  });
}

function sumOf(samples: Iterable<Sample>, name: string, labels: Readonly<Record<string, string>> = {}): number {
  let sum = 0;
  for (const sample of samples) {
    if (sample.name !== name) continue;
    if (Object.entries(labels).every(([label, value]) => sample.labels[label] === value)) sum += sample.value;
  }
  return sum;
}

function throughputOf(growth: readonly Sample[], seconds: number): Throughput {
  const delivered = sumOf(growth, attempts, { kind: "delivered" });
  const failed = sumOf(growth, bounces);
  return {
    accepted: sumOf(growth, accepted) / seconds,
    delivered: delivered / seconds,
    deferred: Math.max(0, sumOf(growth, attempts) - delivered - failed) / seconds,
    failed: failed / seconds,
  };
}

function streamsOf(samples: Samples, growth: readonly Sample[], seconds: number | null): StreamFigures[] {
  const names = new Set<string>();
  for (const { labels } of samples.values()) if (labels.stream !== undefined) names.add(labels.stream);
  const streams = [...names].map((stream): StreamFigures => {
    const waits: Record<string, number> = { ready: 0, due: 0, held: 0 };
    for (const { name, labels, value } of samples.values()) {
      if (name === waiting && labels.stream === stream && labels.state !== undefined) waits[labels.state] = value;
    }
    const buckets = growth
      .filter(({ name, labels }) => name === `${delay}_bucket` && labels.stream === stream)
      .map(({ labels, value }) => ({ upTo: labels.le === "+Inf" ? Infinity : Number(labels.le), count: value }));
    return {
      stream,
      waiting: waits,
      accepted: seconds === null ? null : sumOf(growth, accepted, { stream }) / seconds,
      delivered: seconds === null ? null : sumOf(growth, `${delay}_count`, { stream }) / seconds,
      p50Seconds: quantileOf(buckets, 0.5),
      p99Seconds: quantileOf(buckets, 0.99),
    };
  });
  const work = (figures: StreamFigures) => waitingOf(figures) + (figures.accepted ?? 0) + (figures.delivered ?? 0);
  return streams.sort((a, b) => work(b) - work(a) || (a.stream < b.stream ? -1 : 1));
}

export function waitingOf({ waiting }: StreamFigures): number {
  return Object.values(waiting).reduce((sum, count) => sum + count, 0);
}

/**
 * The value below which the share `q` lies, in a bucket taken to be evenly filled; null when nothing was counted. Counts are
 * cumulative, as Prometheus has them. In the last bucket, which has no end, its beginning.
 */
export function quantileOf(
  buckets: readonly { readonly upTo: number; readonly count: number }[],
  q: number,
): number | null {
  const sorted = [...buckets].sort((a, b) => a.upTo - b.upTo);
  const rank = q * (sorted.at(-1)?.count ?? 0);
  if (rank === 0) return null;
  let from = 0;
  let below = 0;
  for (const { upTo, count } of sorted) {
    if (count >= rank) return upTo === Infinity ? from : from + ((upTo - from) * (rank - below)) / (count - below);
    from = upTo;
    below = count;
  }
  return from;
}

function lanesOf(lanes: readonly LaneSummary[], now: number): LaneFigures[] {
  const figures = lanes.map(({ source, site, ready, connections, suspendedUntil, suspendedBecause }): LaneFigures => {
    const rests = suspendedUntil !== undefined && suspendedUntil > now;
    return {
      source,
      site,
      ...connections,
      ready,
      suspendedUntil: rests ? suspendedUntil : null,
      suspendedBecause: rests ? (suspendedBecause ?? null) : null,
    };
  });
  const order = (a: LaneFigures, b: LaneFigures) =>
    b.busy + b.connecting - (a.busy + a.connecting) || b.ready - a.ready || b.idle - a.idle;
  return figures.sort(order);
}

/** Each shard has queues of its own: here a stream, a domain and a site are one queue, with the words of the longest. */
function queuesOf(queues: readonly QueueSummary[]): QueueFigures[] {
  const merged = new Map<string, QueueFigures>();
  for (const { stream, domain, site = null, recipients, inFlight, held, waitsFor } of queues) {
    const key = JSON.stringify([stream, domain, site]);
    const sum = merged.get(key);
    merged.set(key, {
      stream,
      domain,
      site,
      recipients: recipients + (sum?.recipients ?? 0),
      inFlight: inFlight + (sum?.inFlight ?? 0),
      waitsFor: sum?.waitsFor ?? (held ? "a hold" : waitsFor),
    });
  }
  return [...merged.values()].sort((a, b) => b.recipients - a.recipients);
}
