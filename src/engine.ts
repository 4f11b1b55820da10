// One shard, put together: its spool, its queue, its listeners, its connections. Nothing in it is shared with another but
// the lanes' governors.

import { join } from "node:path";
import { Registry } from "prom-client";
import { formatHostPort } from "./config/address.ts";
import type { Config } from "./config/config.ts";
import type { Resolver } from "./core/dns.ts";
import { addressFilter } from "./core/ip-address.ts";
import { newQuirks, openConnection } from "./delivery/delivery.ts";
import { type Ingest, type IngestMeter, openIngest } from "./ingest/ingest.ts";
import {
  createDsnWriter,
  EventLog,
  formatEvent,
  isDsnDue,
  loadClassifier,
  type ReplyClassifier,
} from "./outcome/outcome.ts";
import { DnsResolver, systemDnsServers } from "./platform/dns-resolver.ts";
import { LoopWatch } from "./platform/loop-watch.ts";
import { OverloadWatch } from "./platform/overload-watch.ts";
import { SigningThreads } from "./platform/signing-threads.ts";
import { SystemClock } from "./platform/system-clock.ts";
import { SystemRandom } from "./platform/system-random.ts";
import { TcpNetwork } from "./platform/tcp-network.ts";
import { MailQueue } from "./queue/mail-queue.ts";
import type { Operations } from "./queue/queue.ts";
import { type ConfiguredPlanResolver, makePlanResolver, type ResolveConfig } from "./resolve/resolve.ts";
import { LaneTable } from "./shaping/shaping.ts";
import { loadKeySet } from "./signing/signing.ts";
import { openLmdbSpool, type Spool } from "./spool/spool.ts";
import type { Log } from "./telemetry/log.ts";
import { type Metrics, type MetricsJson, makeMetrics, readMetrics } from "./telemetry/metrics.ts";

/** For transactions that were broken off at the end of the drain time to be written down. */
const breakOffMs = 5_000;

export interface EngineOptions {
  readonly config: Config;
  readonly shard: number;
  /** How many shards share the processors and the listeners. */
  readonly shards: number;
  /** Shared by all of them: see `newLaneMemory` in the shaping room. */
  readonly laneMemory: SharedArrayBuffer;
  readonly log: Log;
  /** The shard can do nothing more: the process must end with an error. */
  readonly onFatal: (error: Error) => void;
}

export interface EngineHealth {
  readonly ready: boolean;
  readonly reasons: readonly string[];
}

/** What a config gives that can fail: built whole before anything of the old one is let go. */
interface Parts {
  readonly keySet: Awaited<ReturnType<typeof loadKeySet>>["keySet"];
  readonly classifier: ReplyClassifier;
}

export class Engine {
  readonly #options: EngineOptions;
  readonly #spool: Spool;
  readonly #queue: MailQueue;
  readonly #ingest: Ingest;
  readonly #signer: SigningThreads;
  readonly #planResolver: ConfiguredPlanResolver;
  readonly #eventLog: EventLog;
  readonly #metrics: Metrics;
  readonly #registry: Registry;
  readonly #loopWatch: LoopWatch;
  readonly #overload: OverloadWatch;
  readonly #current: CurrentParts;
  #depthSeen: ReturnType<Operations["depth"]> = [];
  #stopping = false;

  /** Opens everything, in the order in which it depends on each other. Throws with a message for the operator. */
  static async open(options: EngineOptions): Promise<Engine> {
    const { config, shard, shards, log } = options;
    const parts = await loadParts(config, log);
    const clock = new SystemClock();
    const random = new SystemRandom();
    const registry = new Registry();
    const metrics = makeMetrics(registry);
    const spoolPath = join(config.spool.path, `shard-${shard}`);
    const spool = await openLmdbSpool({
      path: spoolPath,
      mapSizeBytes: config.spool.mapSizeBytes,
      freeSpaceMinBytes: config.spool.freeSpaceMinBytes,
      commitLatencyMaxMs: config.spool.commitLatencyMaxMs,
      clock,
      log,
      onCommit: (ms) => metrics.spoolCommit(ms / 1000),
    });
    const closers: (() => unknown)[] = [() => spool.close()];
    try {
      const eventLog = new EventLog({
        path: config.events.path,
        stem: shard === 0 ? "events" : `shard-${shard}-events`,
        rotateBytes: config.events.rotateBytes,
        keepMs: config.events.keepMs,
        clock,
      });
      await eventLog.open();
      closers.push(() => eventLog.close());
      const signer = new SigningThreads({ keySet: parts.keySet, spoolPath, threads: signingThreads(shards), log });
      closers.push(() => signer.close());
      const planResolver = makePlanResolver(
        { resolver: makeResolver(config, clock, random), clock, log },
        resolveConfig(config),
      );
      const network = new TcpNetwork();
      const quirks = newQuirks(clock);
      const current = new CurrentParts(config, parts);
      const overload = new OverloadWatch();
      closers.push(() => overload.close());
      const queue = new MailQueue(
        {
          clock,
          random,
          spool,
          signer,
          planResolver,
          openConnection: (spec, feed) =>
            openConnection(
              { clock, random, network, log },
              { timeouts: current.config.delivery.timeouts, isAllowedAddress: current.isAllowedAddress, quirks },
              spec,
              feed,
            ),
          sink: eventLog,
          classifier: { classify: (fault, site) => current.parts.classifier.classify(fault, site) },
          dsnWriter: {
            write: (request) =>
              createDsnWriter({
                hostname: current.config.hostname,
                returnPath: current.config.bounces.returnPath,
                random,
              }).write(request),
          },
          dsnDue: isDsnDue,
          formatEvent,
          observer: metrics,
          log,
          node: config.hostname,
          shard,
          laneTable: new LaneTable(options.laneMemory, shard, shards),
          overload: () => overload.overload,
          fatal: options.onFatal,
        },
        config,
      );
      // The ports first: a start that fails at a port that is taken must not have sent anything.
      const ingest = await openIngest({
        config,
        intake: queue,
        clock,
        random,
        log,
        meter: meterOf(metrics),
        reusePort: shards > 1,
      });
      closers.push(() => ingest.close());
      queue.start();
      return new Engine(options, {
        spool,
        queue,
        ingest,
        signer,
        planResolver,
        eventLog,
        metrics,
        registry,
        overload,
        current,
      });
    } catch (error) {
      for (const close of closers.reverse()) await close();
      throw error;
    }
  }

  private constructor(
    options: EngineOptions,
    rooms: {
      spool: Spool;
      queue: MailQueue;
      ingest: Ingest;
      signer: SigningThreads;
      planResolver: ConfiguredPlanResolver;
      eventLog: EventLog;
      metrics: Metrics;
      registry: Registry;
      overload: OverloadWatch;
      current: CurrentParts;
    },
  ) {
    this.#options = options;
    this.#spool = rooms.spool;
    this.#queue = rooms.queue;
    this.#ingest = rooms.ingest;
    this.#signer = rooms.signer;
    this.#planResolver = rooms.planResolver;
    this.#eventLog = rooms.eventLog;
    this.#metrics = rooms.metrics;
    this.#registry = rooms.registry;
    this.#overload = rooms.overload;
    this.#current = rooms.current;
    this.#loopWatch = new LoopWatch((seconds) => rooms.metrics.eventLoopDelay(seconds));
  }

  get operations(): Operations {
    return this.#queue;
  }

  /** `host:port` of each listener, as it was bound. */
  get addresses(): readonly string[] {
    return this.#ingest.addresses.map(formatHostPort);
  }

  health(): EngineHealth {
    const pressure = this.#queue.pressure();
    return pressure.kind === "ok" ? { ready: true, reasons: [] } : { ready: false, reasons: [pressure.text] };
  }

  /** Metrics of these names; none: all. */
  async metrics(names: readonly string[]): Promise<MetricsJson> {
    const usage = this.#spool.usage();
    this.#metrics.spoolFigures(usage);
    // A state that the last look found and this one does not is empty now; the gauge would keep its old value.
    for (const { stream, state } of this.#depthSeen) this.#metrics.queueRecipients(stream, state, 0);
    this.#depthSeen = this.#queue.depth();
    for (const { stream, state, recipients } of this.#depthSeen)
      this.#metrics.queueRecipients(stream, state, recipients);
    this.#metrics.queueOldestSeconds(this.#queue.oldestAgeMs / 1000);
    this.#metrics.eventLoopLag(this.#loopWatch.worstSeconds);
    return readMetrics(this.#registry, names);
  }

  /** Swaps a new config in, whole. Throws when a part of it cannot be had; the old one then stays in use. */
  async reload(config: Config): Promise<void> {
    const parts = await loadParts(config, this.#options.log);
    await this.#ingest.reconfigure(config);
    await this.#signer.reload(parts.keySet);
    this.#current.set(config, parts);
    this.#planResolver.reconfigure(resolveConfig(config));
    this.#queue.reconfigure(config);
    await this.#eventLog.reopen();
  }

  /** Lets transactions under way end, for at most the config's drain time, and writes what is known. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const limit = this.#current.config.drainTimeoutMs;
    const queueStopped = this.#queue.stop();
    const drained = Promise.all([this.#ingest.drain(), queueStopped]);
    if (!(await endsWithin(drained, limit))) {
      const connections = this.#queue.breakOff();
      this.#options.log.warn(
        { limit, connections },
        "not all transactions ended in time: what is open is broken off; the delivery log has each unknown outcome",
      );
      await this.#ingest.close();
      // So that it is known at the next start what may have been delivered already (RFC 1047).
      if (!(await endsWithin(queueStopped, breakOffMs))) {
        this.#options.log.error({ limit: breakOffMs }, "not all outcomes could be written down");
      }
    }
    await this.#ingest.close();
    await this.#signer.close();
    await this.#eventLog.close();
    await this.#spool.close();
    this.#overload.close();
    this.#loopWatch.close();
  }
}

/** The config in force, for what is asked for it at each use. */
class CurrentParts {
  config: Config;
  parts: Parts;
  isAllowedAddress: (address: string) => boolean;

  constructor(config: Config, parts: Parts) {
    this.config = config;
    this.parts = parts;
    this.isAllowedAddress = addressFilter(config.delivery.internalNetworksAllowed);
  }

  set(config: Config, parts: Parts): void {
    this.config = config;
    this.parts = parts;
    this.isAllowedAddress = addressFilter(config.delivery.internalNetworksAllowed);
  }
}

/** What ingest counts, as metrics. */
function meterOf(metrics: Metrics): IngestMeter {
  let sessions = 0;
  return {
    sessionOpened: () => metrics.ingestConnections(++sessions),
    sessionClosed: () => metrics.ingestConnections(--sessions),
    refused: (code) => metrics.ingestRejection(String(code)),
    authFailed: () => metrics.ingestRejection("auth"),
  };
}

async function endsWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), limitMs);
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function loadParts(config: Config, log: Log): Promise<Parts> {
  const { keySet, warnings } = await loadKeySet(config.signing);
  for (const { where, file, message } of warnings) log.warn({ where, file }, message);
  return { keySet, classifier: loadClassifier(config.bounces.include) };
}

function resolveConfig(config: Config): ResolveConfig {
  const sources = [...config.sources.values()];
  return {
    ownNames: [config.hostname, ...sources.map(({ ehlo }) => ehlo)],
    ownAddresses:
      config.delivery.port === 25 ? sources.flatMap(({ address }) => (address === undefined ? [] : [address])) : [],
    sites: config.sites,
    ip: config.delivery.ip,
    internalNetworksAllowed: config.delivery.internalNetworksAllowed,
  };
}

function makeResolver(config: Config, clock: SystemClock, random: SystemRandom): Resolver {
  const servers = config.dns.servers === "system" ? systemDnsServers() : config.dns.servers;
  return new DnsResolver({ servers, timeoutMs: config.dns.timeoutMs, clock, random });
}

/** Threads for signatures: one for each processor that no shard takes, at least one. */
function signingThreads(shards: number): number {
  return Math.max(1, Math.floor(navigator.hardwareConcurrency / shards) - 1);
}
