// The instruments of one shard (prom-client), and how the registries of all shards become one Prometheus text.
//
// Names are `postern_<room>_<noun>_<unit>`. Labels are few and bounded: never a recipient, a domain or a queue id.

import {
  AggregatorRegistry,
  Counter,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import { Tallies } from "./tallies.ts";

/** Distinct values that one label may take in one registry; further ones are counted as "other". */
export const labelValuesMax = 500;
const otherLabel = "other";
/** Stands for what is not known, such as the site of a domain that DNS does not find. */
const noLabel = "none";

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;

/** What `registry.getMetricsAsJSON()` resolves to. It survives `structuredClone`, so it can cross threads. */
export type MetricsJson = readonly MetricObjectWithValues<MetricValue<string>>[];

export interface SpoolFigures {
  readonly fileBytes: number;
  readonly liveBytes: number;
  readonly freeBytesOnDisk: number;
}

/** All spans are given in seconds, as Prometheus wants them; all sizes in octets. */
export interface Metrics {
  /** A message was accepted and is on the disk. */
  ingestMessage(stream: string, contentBytes: number): void;
  /** A transaction was refused. `reason` is one of a fixed set of words. */
  ingestRejection(reason: string): void;
  /** Sessions open now. */
  ingestConnections(count: number): void;
  /** Recipients that wait, by stream and state (ready, due, held...). */
  queueRecipients(stream: string, state: string, count: number): void;
  /** Age of the oldest recipient that is due. */
  queueOldestSeconds(seconds: number): void;
  /** From the `250` to the final dot's `250`, for one recipient. */
  acceptToDelivery(stream: string, seconds: number): void;
  /** One recipient's outcome. */
  deliveryAttempt(site: string, source: string, kind: "delivered" | "transient" | "permanent" | "unknown"): void;
  /** Connections open now, in any state. */
  deliveryConnections(site: string, source: string, count: number): void;
  /** A lane was suspended by feedback. */
  suspension(site: string, source: string): void;
  /** A final failure, by class of the bounce taxonomy. */
  bounce(bounceClass: string): void;
  spoolCommit(seconds: number): void;
  spoolFigures(figures: SpoolFigures): void;
  signing(seconds: number): void;
  signingFailure(): void;
  /** Octets of delivery events that are durable in the spool and not yet in the log. */
  eventsOutboxBytes(bytes: number): void;
  /** How late the shard's event loop ran at worst, lately. */
  eventLoopLag(seconds: number): void;
  /** How late it came to one of the looks that are taken all the time. */
  eventLoopDelay(seconds: number): void;
}

const commitBuckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const loopBuckets = [0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5];
const signingBuckets = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];
const deliveryBuckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400, 345_600];

/** Makes the instruments in `registry`, which must not hold any of these names yet. */
export function makeMetrics(registry: Registry): Metrics {
  const registers = [registry];
  const streams = new BoundedLabel(labelValuesMax);
  const sites = new BoundedLabel(labelValuesMax);
  const sources = new BoundedLabel(labelValuesMax);
  const words = new BoundedLabel(labelValuesMax);

  const ingestMessages = new Counter({
    name: "postern_ingest_messages_total",
    help: "Messages accepted: on the disk before the 250.",
    labelNames: ["stream"],
    registers,
    collect: () => messageTallies.tell(),
  });
  const messageTallies = new Tallies(([stream]: readonly string[]) => ingestMessages.labels(stream as string));
  const ingestBytes = new Counter({
    name: "postern_ingest_content_bytes_total",
    help: "Octets of content accepted.",
    registers,
    collect: () => byteTallies.tell(),
  });
  const byteTallies = new Tallies(() => ingestBytes);
  const ingestRejections = new Counter({
    name: "postern_ingest_rejections_total",
    help: "Submissions refused, by reason.",
    labelNames: ["reason"],
    registers,
  });
  const ingestConnections = new Gauge({
    name: "postern_ingest_connections",
    help: "Submission sessions open now.",
    registers,
  });
  const queueRecipients = new Gauge({
    name: "postern_queue_recipients",
    help: "Recipients that wait, by stream and state.",
    labelNames: ["stream", "state"],
    registers,
  });
  const queueOldest = new Gauge({
    name: "postern_queue_oldest_seconds",
    help: "Age of the oldest recipient that is due.",
    registers,
    aggregator: "max",
  });
  const acceptToDelivery = new Histogram({
    name: "postern_accept_to_delivery_seconds",
    help: "Time from acceptance to delivery of a recipient.",
    labelNames: ["stream"],
    buckets: deliveryBuckets,
    registers,
  });
  const attempts = new Counter({
    name: "postern_delivery_attempts_total",
    help: "Attempts at a recipient, by what they came to.",
    labelNames: ["site", "source", "kind"],
    registers,
    collect: () => attemptTallies.tell(),
  });
  const attemptTallies = new Tallies((labels) => attempts.labels(...(labels as [string, string, string])));
  const connections = new Gauge({
    name: "postern_delivery_connections",
    help: "Connections to receivers open now.",
    labelNames: ["site", "source"],
    registers,
  });
  const suspensions = new Counter({
    name: "postern_shaping_suspensions_total",
    help: "Times that a lane was suspended by feedback.",
    labelNames: ["site", "source"],
    registers,
  });
  const bounces = new Counter({
    name: "postern_outcome_bounces_total",
    help: "Recipients that failed for good, by class.",
    labelNames: ["class"],
    registers,
  });
  const spoolCommit = new Histogram({
    name: "postern_spool_commit_seconds",
    help: "Time of a commit, until it is on the disk.",
    buckets: commitBuckets,
    registers,
  });
  const spoolBytes = new Gauge({ name: "postern_spool_bytes", help: "Octets of the spool's files.", registers });
  const spoolLive = new Gauge({
    name: "postern_spool_live_bytes",
    help: "Octets of the spool that hold records; the rest is reused.",
    registers,
  });
  const spoolFree = new Gauge({
    name: "postern_spool_disk_free_bytes",
    help: "Octets free on the spool's disk.",
    registers,
    aggregator: "min",
  });
  const signing = new Histogram({
    name: "postern_signing_seconds",
    help: "Time to sign a message, waiting included.",
    buckets: signingBuckets,
    registers,
  });
  const signingFailures = new Counter({
    name: "postern_signing_failures_total",
    help: "Messages that could not be signed and were kept back.",
    registers,
  });
  const outbox = new Gauge({
    name: "postern_events_outbox_bytes",
    help: "Octets of delivery events that wait to be written to the log.",
    registers,
  });
  const lag = new Gauge({
    name: "postern_event_loop_lag_seconds",
    help: "Worst delay of a shard's event loop in the last 10 to 20 seconds.",
    registers,
    aggregator: "max",
  });
  const delays = new Histogram({
    name: "postern_event_loop_delay_seconds",
    help: "Delays of the shards' event loops, looked at every 10 ms.",
    buckets: loopBuckets,
    registers,
  });

  const delayByStream = children((stream) => acceptToDelivery.labels(stream));
  const connectionsByLane = children((site, source) => connections.labels(site, source));

  return {
    ingestMessage(stream, contentBytes) {
      messageTallies.of(streams.of(stream)).add(1);
      byteTallies.of().add(contentBytes);
    },
    ingestRejection: (reason) => ingestRejections.labels(words.of(reason)).inc(),
    ingestConnections: (count) => ingestConnections.set(count),
    queueRecipients: (stream, state, count) => queueRecipients.labels(streams.of(stream), words.of(state)).set(count),
    queueOldestSeconds: (seconds) => queueOldest.set(seconds),
    acceptToDelivery: (stream, seconds) => delayByStream(streams.of(stream)).observe(seconds),
    deliveryAttempt: (site, source, kind) => attemptTallies.of(sites.of(site), sources.of(source), kind).add(1),
    deliveryConnections: (site, source, count) => connectionsByLane(sites.of(site), sources.of(source)).set(count),
    suspension: (site, source) => suspensions.labels(sites.of(site), sources.of(source)).inc(),
    bounce: (bounceClass) => bounces.labels(words.of(bounceClass)).inc(),
    spoolCommit: (seconds) => spoolCommit.observe(seconds),
    spoolFigures(figures) {
      spoolBytes.set(figures.fileBytes);
      spoolLive.set(figures.liveBytes);
      spoolFree.set(figures.freeBytesOnDisk);
    },
    signing: (seconds) => signing.observe(seconds),
    signingFailure: () => signingFailures.inc(),
    eventsOutboxBytes: (bytes) => outbox.set(bytes),
    eventLoopLag: (seconds) => lag.set(seconds),
    eventLoopDelay: (seconds) => delays.observe(seconds),
  };
}

/** The metrics of these names, or all where none is named. One of many series costs as much as all others together. */
export async function readMetrics(registry: Registry, names: readonly string[]): Promise<MetricsJson> {
  if (names.length === 0) return registry.getMetricsAsJSON();
  const metrics = [...new Set(names)].map((name) => registry.getSingleMetric(name));
  return Promise.all(metrics.filter((metric) => metric !== undefined).map((metric) => metric.get()));
}

/** One Prometheus text out of the registries of all shards: counters are added up, and each gauge by its aggregator. */
export function mergeMetrics(registries: readonly MetricsJson[]): Promise<string> {
  return AggregatorRegistry.aggregate(registries.map((json) => [...json])).metrics();
}

/** The values of one label: the first `max` distinct ones are kept, all others become "other". */
class BoundedLabel {
  readonly #seen = new Set<string>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  of(value: string): string {
    if (value === "") return noLabel;
    if (this.#seen.has(value)) return value;
    if (this.#seen.size >= this.#max) return otherLabel;
    this.#seen.add(value);
    return value;
  }
}

/** Remembers the child instrument of each set of labels, which are bounded, so that a message makes no label object. */
function children<Labels extends string[], Child>(make: (...labels: Labels) => Child): (...labels: Labels) => Child {
  const known = new Map<string, Child>();
  return (...labels) => {
    const key = labels.length === 1 ? (labels[0] as string) : labels.join("\n");
    let child = known.get(key);
    if (child === undefined) {
      child = make(...labels);
      known.set(key, child);
    }
    return child;
  };
}
