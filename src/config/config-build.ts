// From the checked text of the config to the `Config` that the rooms see: names joined, defaults that depend on other
// keys filled in.

import { resolve } from "node:path";
import { dayMs, hourMs, type Millis, minuteMs, secondMs } from "../core/time.ts";
import type { Config, PoolConfig, SiteConfig, SiteLimits, SourceConfig, StreamConfig } from "./config.ts";
import type { ConfigText, SiteDefaultsText, SiteText } from "./config-schema.ts";
import type { Path } from "./located-yaml.ts";

/** The one source, pool or stream that stands for a missing map. */
const defaultName = "default";

const realtimeRetryMs: readonly Millis[] = [5, 15, 30, 60, 120, 300].map((seconds) => seconds * secondMs);
const batchRetryMs: readonly Millis[] = [10, 20, 40, 60, 120, 240].map((minutes) => minutes * minuteMs);
const realtimeExpireMs: Millis = hourMs;
const batchExpireMs: Millis = 4 * dayMs;

const limitsOtherwise: SiteLimits = {
  connectionsMax: 10,
  connectionRate: { count: 100, perMs: minuteMs },
  messagesPerConnectionMax: 100,
  rate: { count: 100, perMs: secondMs },
  recipientsPerMessageMax: 50,
  tls: undefined,
};

/** A site as one file defines it. */
export interface SiteLayer {
  readonly name: string;
  readonly text: SiteText;
  /** `file:line`. */
  readonly where: string;
}

export interface SitesLayers {
  /** Strongest first. */
  readonly defaults: readonly SiteDefaultsText[];
  /** In the order of matching; a name may come again, the first one is the strongest. */
  readonly sites: readonly SiteLayer[];
}

/** `where` gives `file:line:column` of a path in the main file. */
export function buildConfig(text: ConfigText, sites: SitesLayers, where: (path: Path) => string): Config {
  const sources = buildSources(text);
  const pools = buildPools(text, sources);
  const streams = buildStreams(text, pools);
  return {
    hostname: text.hostname.toLowerCase(),
    shards: text.shards,
    spool: {
      path: resolve(text.spool.path),
      freeSpaceMinBytes: text.spool.free_space_min,
      mapSizeBytes: text.spool.map_size,
      commitLatencyMaxMs: text.spool.commit_latency_max,
    },
    ingest: {
      smtp: text.ingest.smtp.map((listener) => ({
        listen: listener.listen,
        trust: listener.trust,
        auth: listener.auth,
        tls: listener.tls && {
          certFile: resolve(listener.tls.cert),
          keyFile: resolve(listener.tls.key),
          mode: listener.tls.mode,
        },
        messageBytesMax: listener.message_bytes_max,
        recipientsMax: listener.recipients_max,
        connectionsMax: listener.connections_max,
        connectionsPerAddressMax: listener.connections_per_address_max,
        headerSectionBytesMax: listener.header_section_bytes_max,
        lineBytesMax: listener.line_bytes_max,
        errorsMax: listener.errors_max,
        idleTimeoutMs: listener.idle_timeout,
        dataRateMinBytesPerSecond: listener.data_rate_min,
        authFailuresMax: listener.auth_failures_max,
      })),
      memoryMaxBytes: text.ingest.memory_max,
    },
    users: new Map(
      Object.entries(text.users).map(([name, user]) => [
        name,
        { name, passwordScrypt: user.password_scrypt, streams: user.streams, reversePaths: user.reverse_paths },
      ]),
    ),
    dns: { servers: text.dns.servers ?? "system", timeoutMs: text.dns.timeout },
    delivery: {
      port: text.delivery.port,
      tls: text.delivery.tls,
      internalNetworksAllowed: text.delivery.internal_networks_allowed,
      ip: text.delivery.ip,
      timeouts: {
        connectMs: text.delivery.timeouts.connect,
        bannerMs: text.delivery.timeouts.banner,
        ehloMs: text.delivery.timeouts.ehlo,
        startTlsMs: text.delivery.timeouts.starttls,
        mailMs: text.delivery.timeouts.mail,
        rcptMs: text.delivery.timeouts.rcpt,
        dataMs: text.delivery.timeouts.data,
        blockMs: text.delivery.timeouts.block,
        finalDotMs: text.delivery.timeouts.final_dot,
        idleMs: text.delivery.timeouts.idle,
      },
      unknownOutcome: text.delivery.unknown_outcome,
      unknownRetryMinMs: text.delivery.unknown_retry_min,
    },
    sources,
    pools,
    streams,
    defaultStream: text.default_stream ?? nameOrDefault(streams),
    sites: buildSites(sites),
    relays: new Map(
      Object.entries(text.relays).map(([name, relay]) => [name, { name, host: relay.host, port: relay.port }]),
    ),
    signing: text.signing.map((entry, i) => ({
      domain: entry.domain.toLowerCase(),
      keys: entry.keys.map((key, j) => ({
        selector: key.selector,
        algorithm: key.algorithm,
        keyFile: resolve(key.key_file),
        where: where(["signing", i, "keys", j]),
      })),
      where: where(["signing", i]),
    })),
    bounces: {
      include: text.bounces.include.map((file) => resolve(file)),
      returnPath: text.bounces.return_path ?? `MAILER-DAEMON@${text.hostname.toLowerCase()}`,
    },
    events: {
      path: resolve(text.events.path),
      rotateBytes: text.events.rotate_bytes,
      keepMs: text.events.keep,
      headers: text.events.headers.map((name) => name.toLowerCase()),
    },
    admin: { listen: text.admin.listen, tokenEnv: text.admin.token_env },
    log: text.log,
    drainTimeoutMs: text.drain_timeout,
  };
}

function buildSources(text: ConfigText): Map<string, SourceConfig> {
  const ehlo = text.hostname.toLowerCase();
  const entries = Object.entries(text.sources);
  if (entries.length === 0) return new Map([[defaultName, { name: defaultName, address: undefined, ehlo }]]);
  return new Map(
    entries.map(([name, source]) => [
      name,
      { name, address: source.address, ehlo: source.ehlo?.toLowerCase() ?? ehlo },
    ]),
  );
}

function buildPools(text: ConfigText, sources: ReadonlyMap<string, SourceConfig>): Map<string, PoolConfig> {
  const entries = Object.entries(text.pools);
  if (entries.length === 0) {
    const members = [...sources.keys()].map((source) => ({ source, weight: 1 }));
    return new Map([[defaultName, { name: defaultName, members }]]);
  }
  return new Map(
    entries.map(([name, pool]) => [
      name,
      { name, members: Object.entries(pool.members).map(([source, weight]) => ({ source, weight })) },
    ]),
  );
}

function buildStreams(text: ConfigText, pools: ReadonlyMap<string, PoolConfig>): Map<string, StreamConfig> {
  const pool = nameOrDefault(pools);
  const written = Object.entries(text.streams);
  if (written.length === 0) return new Map([[defaultName, buildStream(defaultName, pool, undefined)]]);
  return new Map(written.map(([name, stream]) => [name, buildStream(name, pool, stream)]));
}

function buildStream(name: string, pool: string, text: ConfigText["streams"][string] | undefined): StreamConfig {
  const realtime = text?.class === "realtime";
  return {
    name,
    pool: text?.pool ?? pool,
    class: text?.class ?? "batch",
    share: text?.share ?? 1,
    deadlineMs: text?.deadline,
    expireMs: text?.expire ?? (realtime ? realtimeExpireMs : batchExpireMs),
    retryMs: text?.retry ?? (realtime ? realtimeRetryMs : batchRetryMs),
    delayDsnMs: text?.delay_dsn === "never" ? undefined : text?.delay_dsn,
  };
}

/** The only name of the map, or "default" where there are several. */
function nameOrDefault(map: ReadonlyMap<string, unknown>): string {
  return map.size === 1 ? (map.keys().next().value as string) : defaultName;
}

function buildSites(layers: SitesLayers): Config["sites"] {
  const defaults = layers.defaults.reduceRight(overlay, limitsOtherwise);
  const byName = new Map<string, SiteLayer[]>();
  for (const layer of layers.sites) byName.set(layer.name, [...(byName.get(layer.name) ?? []), layer]);
  const named = [...byName.values()].map((found): SiteConfig => {
    const first = found[0] as SiteLayer;
    return {
      ...found.reduceRight<SiteLimits>((limits, layer) => overlay(limits, layer.text), defaults),
      name: first.name,
      exchangers: found.find((layer) => layer.text.exchangers !== undefined)?.text.exchangers ?? [],
      where: first.where,
    };
  });
  return { defaults, named };
}

function overlay(under: SiteLimits, over: SiteDefaultsText): SiteLimits {
  return {
    connectionsMax: over.connections_max ?? under.connectionsMax,
    connectionRate: over.connection_rate === undefined ? under.connectionRate : over.connection_rate.rate,
    messagesPerConnectionMax: over.messages_per_connection_max ?? under.messagesPerConnectionMax,
    rate: over.rate === undefined ? under.rate : over.rate.rate,
    recipientsPerMessageMax: over.recipients_per_message_max ?? under.recipientsPerMessageMax,
    tls: over.tls ?? under.tls,
  };
}
