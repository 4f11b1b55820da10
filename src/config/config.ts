// The config as the rooms see it: every default filled in, every duration in milliseconds, every size in octets.
// The text of the file and its checks are in `config-file.ts` and `config-schema.ts`.

import { assert } from "../core/assert.ts";
import type { Domain, PoolName, SiteName, SourceName, StreamName } from "../core/ids.ts";
import type { Millis } from "../core/time.ts";

export interface Config {
  /** Our name where a source has none, in Received and in Message-ID. */
  readonly hostname: string;
  readonly shards: number | "auto";
  readonly spool: SpoolConfig;
  readonly ingest: IngestConfig;
  readonly users: ReadonlyMap<string, UserConfig>;
  readonly dns: DnsConfig;
  readonly delivery: DeliveryConfig;
  readonly sources: ReadonlyMap<SourceName, SourceConfig>;
  readonly pools: ReadonlyMap<PoolName, PoolConfig>;
  readonly streams: ReadonlyMap<StreamName, StreamConfig>;
  readonly defaultStream: StreamName;
  readonly sites: SitesConfig;
  readonly relays: ReadonlyMap<string, RelayConfig>;
  readonly signing: readonly SigningDomainConfig[];
  readonly bounces: BouncesConfig;
  readonly events: EventsConfig;
  readonly admin: AdminConfig;
  readonly log: { readonly level: "trace" | "debug" | "info" | "warn" | "error" | "silent" };
  /** How long SIGTERM waits for transactions in progress. */
  readonly drainTimeoutMs: Millis;
}

export interface SpoolConfig {
  /** Absolute. Each shard has a folder of its own in it. */
  readonly path: string;
  readonly freeSpaceMinBytes: number;
  /** The address space reserved for each shard's database; the file grows up to it. */
  readonly mapSizeBytes: number;
  /** Above this time for a commit no new mail is taken. */
  readonly commitLatencyMaxMs: Millis;
}

export interface IngestConfig {
  readonly smtp: readonly SmtpListenerConfig[];
  /** Octets of content that all sessions of a shard may hold before they are committed. */
  readonly memoryMaxBytes: number;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface SmtpListenerConfig {
  readonly listen: HostPort;
  /** Networks in CIDR form that may submit without AUTH. */
  readonly trust: readonly string[];
  readonly auth: "off" | "optional" | "required";
  readonly tls:
    | { readonly certFile: string; readonly keyFile: string; readonly mode: "starttls" | "implicit" }
    | undefined;
  readonly messageBytesMax: number;
  readonly recipientsMax: number;
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  readonly headerSectionBytesMax: number;
  /** Longest line taken, in octets with CRLF. */
  readonly lineBytesMax: number;
  readonly errorsMax: number;
  readonly idleTimeoutMs: Millis;
  /** Least octets a second over a whole DATA. */
  readonly dataRateMinBytesPerSecond: number;
  /** Failed AUTH attempts of one address within ten minutes before it is turned away. */
  readonly authFailuresMax: number;
}

export interface UserConfig {
  readonly name: string;
  /** `scrypt$N$r$p$salt$hash`, salt and hash in base64. */
  readonly passwordScrypt: string;
  /** Empty: all streams. */
  readonly streams: readonly StreamName[];
  /** Patterns such as `*@example.com`; empty: none but the null reverse-path is limited, so all are allowed. */
  readonly reversePaths: readonly string[];
}

export interface DnsConfig {
  /** "system": those of the system's resolver configuration. */
  readonly servers: readonly HostPort[] | "system";
  readonly timeoutMs: Millis;
}

export interface DeliveryConfig {
  readonly port: number;
  readonly tls: "off" | "opportunistic" | "required";
  /** CIDR ranges of internal addresses that may be connected to all the same. */
  readonly internalNetworksAllowed: readonly string[];
  /** Address families in the order of preference. */
  readonly ip: readonly (4 | 6)[];
  readonly timeouts: DeliveryTimeouts;
  /** What becomes of a recipient after an unknown outcome (RFC 1047). */
  readonly unknownOutcome: "retry" | "bounce" | "assume-delivered";
  /** Least wait after an unknown outcome. */
  readonly unknownRetryMinMs: Millis;
}

/** RFC 5321 section 4.5.3.2. */
export interface DeliveryTimeouts {
  readonly connectMs: Millis;
  readonly bannerMs: Millis;
  readonly ehloMs: Millis;
  readonly startTlsMs: Millis;
  readonly mailMs: Millis;
  readonly rcptMs: Millis;
  readonly dataMs: Millis;
  readonly blockMs: Millis;
  readonly finalDotMs: Millis;
  readonly idleMs: Millis;
}

export interface SourceConfig {
  readonly name: SourceName;
  /** undefined lets the system choose. */
  readonly address: string | undefined;
  readonly ehlo: string;
}

export interface PoolConfig {
  readonly name: PoolName;
  readonly members: readonly { readonly source: SourceName; readonly weight: number }[];
}

export interface StreamConfig {
  readonly name: StreamName;
  readonly pool: PoolName;
  readonly class: "realtime" | "batch";
  /** Share among streams of the same class at a site. */
  readonly share: number;
  readonly deadlineMs: Millis | undefined;
  readonly expireMs: Millis;
  /** Wait after the 1st, 2nd... attempt; the last one repeats. Never empty. */
  readonly retryMs: readonly Millis[];
  /** Age at which a delay DSN is sent; undefined: never. */
  readonly delayDsnMs: Millis | undefined;
}

/** The stream of that name, or the default one: a stream may be taken out of the config while its mail still waits. */
export function streamOf({ streams, defaultStream }: Config, name: StreamName): StreamConfig {
  const stream = streams.get(name) ?? streams.get(defaultStream);
  assert(stream !== undefined, "the default stream is in the config");
  return stream;
}

/** `count` per `perMs`; undefined stands for unlimited. */
export type Rate = { readonly count: number; readonly perMs: Millis } | undefined;

export interface SiteLimits {
  /** Connections at once of one source to the site. */
  readonly connectionsMax: number;
  readonly connectionRate: Rate;
  readonly messagesPerConnectionMax: number;
  readonly rate: Rate;
  readonly recipientsPerMessageMax: number;
  readonly tls: "off" | "opportunistic" | "required" | undefined;
}

export interface SitesConfig {
  readonly defaults: SiteLimits;
  /** First match wins. */
  readonly named: readonly SiteConfig[];
}

export interface SiteConfig extends SiteLimits {
  readonly name: SiteName;
  /** Host patterns such as `*.google.com`. The site takes a domain when every exchanger matches one of them. */
  readonly exchangers: readonly string[];
  /** `file:line` of the definition, for `explain`. */
  readonly where: string;
}

export interface RelayConfig {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

export interface SigningDomainConfig {
  readonly domain: Domain;
  readonly keys: readonly SigningKeyConfig[];
  readonly where: string;
}

export interface SigningKeyConfig {
  readonly selector: string;
  readonly algorithm: "rsa-sha256" | "ed25519-sha256";
  /** Absolute. */
  readonly keyFile: string;
  /** `file:line:column` of the entry, so that a bad key is found. */
  readonly where: string;
}

export interface BouncesConfig {
  /** Absolute paths of rule files, in order. */
  readonly include: readonly string[];
  /** The From and, unless null, the address of our DSNs; default `MAILER-DAEMON@hostname`. */
  readonly returnPath: string;
}

export interface EventsConfig {
  /** Absolute folder. */
  readonly path: string;
  readonly rotateBytes: number;
  readonly keepMs: Millis;
  /** Header fields (lower case) copied into events. */
  readonly headers: readonly string[];
}

export interface AdminConfig {
  readonly listen: HostPort;
  /** Name of the environment variable that holds the bearer token; undefined: only loopback is served, without one. */
  readonly tokenEnv: string | undefined;
}
