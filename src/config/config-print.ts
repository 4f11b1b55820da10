// The config with all defaults, written as a config file again. Secrets are masked unless asked for.

import { relative } from "node:path";
import { stringify } from "yaml";
import { formatHostPort } from "./address.ts";
import type { Config, SiteLimits } from "./config.ts";
import { formatDuration, formatRate, formatSize } from "./units.ts";

const masked = "********";

/** YAML that `loadConfig` reads as the same config (where no secret is masked). Included files are written out in it. */
export function printConfig(config: Config, options: { readonly secrets: "masked" | "shown" } = { secrets: "masked" }) {
  return stringify(configText(config, options.secrets), { lineWidth: 120 });
}

/** The same as data, for `--json`. */
export function configText(config: Config, secrets: "masked" | "shown" = "masked"): Record<string, unknown> {
  return {
    hostname: config.hostname,
    shards: config.shards,
    spool: {
      path: shortPath(config.spool.path),
      free_space_min: formatSize(config.spool.freeSpaceMinBytes),
      map_size: formatSize(config.spool.mapSizeBytes),
      commit_latency_max: formatDuration(config.spool.commitLatencyMaxMs),
    },
    ingest: {
      smtp: config.ingest.smtp.map((listener) => ({
        listen: formatHostPort(listener.listen),
        trust: listener.trust,
        auth: listener.auth,
        tls: listener.tls && {
          cert: shortPath(listener.tls.certFile),
          key: shortPath(listener.tls.keyFile),
          mode: listener.tls.mode,
        },
        message_bytes_max: formatSize(listener.messageBytesMax),
        recipients_max: listener.recipientsMax,
        connections_max: listener.connectionsMax,
        connections_per_address_max: listener.connectionsPerAddressMax,
        header_section_bytes_max: formatSize(listener.headerSectionBytesMax),
        line_bytes_max: formatSize(listener.lineBytesMax),
        errors_max: listener.errorsMax,
        idle_timeout: formatDuration(listener.idleTimeoutMs),
        data_rate_min: formatSize(listener.dataRateMinBytesPerSecond),
        auth_failures_max: listener.authFailuresMax,
      })),
      memory_max: formatSize(config.ingest.memoryMaxBytes),
    },
    users: mapped(config.users, (user) => ({
      password_scrypt: secrets === "shown" ? user.passwordScrypt : masked,
      streams: user.streams,
      reverse_paths: user.reversePaths,
    })),
    dns: {
      servers: config.dns.servers === "system" ? undefined : config.dns.servers.map(formatHostPort),
      timeout: formatDuration(config.dns.timeoutMs),
    },
    delivery: {
      port: config.delivery.port,
      tls: config.delivery.tls,
      internal_networks_allowed: config.delivery.internalNetworksAllowed,
      ip: config.delivery.ip,
      timeouts: {
        connect: formatDuration(config.delivery.timeouts.connectMs),
        banner: formatDuration(config.delivery.timeouts.bannerMs),
        ehlo: formatDuration(config.delivery.timeouts.ehloMs),
        starttls: formatDuration(config.delivery.timeouts.startTlsMs),
        mail: formatDuration(config.delivery.timeouts.mailMs),
        rcpt: formatDuration(config.delivery.timeouts.rcptMs),
        data: formatDuration(config.delivery.timeouts.dataMs),
        block: formatDuration(config.delivery.timeouts.blockMs),
        final_dot: formatDuration(config.delivery.timeouts.finalDotMs),
        idle: formatDuration(config.delivery.timeouts.idleMs),
      },
      unknown_outcome: config.delivery.unknownOutcome,
      unknown_retry_min: formatDuration(config.delivery.unknownRetryMinMs),
    },
    sources: mapped(config.sources, (source) => ({ address: source.address, ehlo: source.ehlo })),
    pools: mapped(config.pools, (pool) => ({
      members: Object.fromEntries(pool.members.map(({ source, weight }) => [source, weight])),
    })),
    streams: mapped(config.streams, (stream) => ({
      pool: stream.pool,
      class: stream.class,
      share: stream.share,
      deadline: stream.deadlineMs === undefined ? undefined : formatDuration(stream.deadlineMs),
      expire: formatDuration(stream.expireMs),
      retry: stream.retryMs.map(formatDuration),
      delay_dsn: stream.delayDsnMs === undefined ? "never" : formatDuration(stream.delayDsnMs),
    })),
    default_stream: config.defaultStream,
    sites: {
      defaults: limitsText(config.sites.defaults),
      ...Object.fromEntries(
        config.sites.named.map((site) => [site.name, { exchangers: site.exchangers, ...limitsText(site) }]),
      ),
    },
    relays: mapped(config.relays, (relay) => ({ host: relay.host, port: relay.port })),
    signing: config.signing.map((entry) => ({
      domain: entry.domain,
      keys: entry.keys.map((key) => ({
        selector: key.selector,
        algorithm: key.algorithm,
        key_file: shortPath(key.keyFile),
      })),
    })),
    bounces: { include: config.bounces.include.map(shortPath), return_path: config.bounces.returnPath },
    events: {
      path: shortPath(config.events.path),
      rotate_bytes: formatSize(config.events.rotateBytes),
      keep: formatDuration(config.events.keepMs),
      headers: config.events.headers,
    },
    admin: { listen: formatHostPort(config.admin.listen), token_env: config.admin.tokenEnv },
    log: { level: config.log.level },
    drain_timeout: formatDuration(config.drainTimeoutMs),
  };
}

function limitsText(limits: SiteLimits): Record<string, unknown> {
  return {
    connections_max: limits.connectionsMax,
    connection_rate: formatRate(limits.connectionRate),
    messages_per_connection_max: limits.messagesPerConnectionMax,
    rate: formatRate(limits.rate),
    recipients_per_message_max: limits.recipientsPerMessageMax,
    tls: limits.tls,
  };
}

function mapped<Value>(map: ReadonlyMap<string, Value>, write: (value: Value) => unknown): Record<string, unknown> {
  return Object.fromEntries([...map].map(([name, value]) => [name, write(value)]));
}

/** Relative to the working directory where the path lies in it, as the operator wrote it. */
function shortPath(path: string): string {
  const short = relative("", path);
  return short === "" ? "." : short.startsWith("..") ? path : short;
}
