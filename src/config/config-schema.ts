// The schema of the config file: every key, its form, its default and its unit. The JSON Schema that editors use is
// made from it, and `conf/postern.yaml` shows each key.

import { isIP } from "node:net";
import { z } from "zod";
import { hourMs } from "../core/time.ts";
import { parseListen, parseNetwork, parseServer } from "./address.ts";
import {
  durationHelp,
  durationPattern,
  parseDuration,
  parseRate,
  parseSize,
  rateHelp,
  ratePattern,
  sizeHelp,
  sizePattern,
} from "./units.ts";

/** Names of streams, sources, pools, relays and sites: they appear in metrics, in the log and in URLs. */
export const namePattern = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;
const nameHelp = "a name of letters, digits, '.', '_' and '-' that begins with a letter (at most 64)";
const hostPattern =
  /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/;
/** A whole host name, or `*.` before a domain. */
const exchangerPattern =
  /^(?=.{1,253}$)(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$/;
const envPattern = /^[A-Za-z_][A-Za-z0-9_]*$/;
const scryptPattern = /^scrypt\$\d+\$\d+\$\d+\$[A-Za-z0-9+/]+={0,2}\$[A-Za-z0-9+/]+={0,2}$/;
const reversePathPattern = /^(\*|[^\s@<>*]+)@(\*\.)?[A-Za-z0-9.-]+$|^\*$/;

const expected = (help: string) => ({ error: `expected ${help}` });

function text(help: string, pattern: RegExp) {
  return z.string(expected(help)).regex(pattern, expected(help));
}

function name() {
  return text(nameHelp, namePattern);
}

function filePath(help: string) {
  return z.string(expected(help)).min(1, expected(help));
}

/** Read as milliseconds. */
function duration(minMs = 1) {
  const least = minMs > 1 ? `, at least ${minMs}ms` : "";
  return z
    .string(expected(durationHelp))
    .regex(durationPattern, expected(durationHelp))
    .transform((written, context) => {
      const ms = parseDuration(written);
      if (ms !== undefined && ms >= minMs) return ms;
      context.addIssue({ code: "custom", message: `expected ${durationHelp}${least}, more than 0 and at most 3650d` });
      return z.NEVER;
    });
}

/** Read as octets. */
function size(minBytes: number, maxBytes: number = 2 ** 50) {
  return z
    .string(expected(sizeHelp))
    .regex(sizePattern, expected(sizeHelp))
    .transform((written, context) => {
      const bytes = parseSize(written);
      if (bytes !== undefined && bytes >= minBytes && bytes <= maxBytes) return bytes;
      context.addIssue({
        code: "custom",
        message: `expected ${sizeHelp}, whole octets from ${minBytes} to ${maxBytes}`,
      });
      return z.NEVER;
    });
}

function rate() {
  return z
    .string(expected(rateHelp))
    .regex(ratePattern, expected(rateHelp))
    .transform((written, context) => {
      const parsed = parseRate(written);
      if (parsed.kind === "rate") return parsed;
      context.addIssue({ code: "custom", message: `expected ${rateHelp}; the count is from 1 to 1000000000` });
      return z.NEVER;
    });
}

function count(min: number, max: number) {
  const help = expected(`a whole number from ${min} to ${max}`);
  return z.int(help).min(min, help).max(max, help);
}

/** Text that `parse` understands, read as what it makes of it. */
function parsed<Value>(help: string, parse: (written: string) => Value | undefined) {
  return z.string(expected(help)).transform((written, context) => {
    const value = parse(written);
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message: `expected ${help}` });
    return z.NEVER;
  });
}

const listen = () => parsed('an address and port such as 127.0.0.1:2525 or "[::1]:2525"', parseListen);
const network = () => parsed('a network such as 192.0.2.0/24 or "2001:db8::/32", or one address', parseNetwork);
const port = () => count(1, 65_535);
const hostName = (help = "a host name such as mta1.example.com") => text(help, hostPattern);
const mailbox = () => text("an address such as bounces@example.com", /^[^\s@<>]+@[A-Za-z0-9.-]+$/);
const tlsPolicy = () => z.enum(["off", "opportunistic", "required"]);

const spool = z
  .strictObject({
    path: filePath("a folder")
      .prefault("var/spool")
      .describe("Folder of the spool; each shard has its own folder in it"),
    free_space_min: size(0).prefault("1GiB").describe("Below this much free disk no new mail is taken"),
    map_size: size(2 ** 20, 2 ** 46)
      .prefault("64GiB")
      .describe("Address space reserved for each shard's database: the largest size of its file"),
    commit_latency_max: duration()
      .prefault("5s")
      .describe("While a commit takes longer than this no new mail is taken"),
  })
  .prefault({})
  .describe("Where accepted mail is kept");

const listenerTls = z
  .strictObject({
    cert: filePath("a PEM file").describe("PEM file of the certificate chain"),
    key: filePath("a PEM file").describe("PEM file of the private key"),
    mode: z.enum(["starttls", "implicit"]).prefault("starttls").describe("STARTTLS, or TLS from the first octet"),
  })
  .optional()
  .describe("TLS on this listener; without it there is none");

const smtpListener = z.strictObject({
  listen: listen().describe("Address and port; port 0 takes a free one"),
  trust: z.array(network()).prefault(["127.0.0.0/8", "::1/128"]).describe("Networks that may submit without AUTH"),
  auth: z.enum(["off", "optional", "required"]).prefault("optional").describe("SMTP AUTH (RFC 4954)"),
  tls: listenerTls,
  message_bytes_max: size(1024, 2 ** 31)
    .prefault("25MiB")
    .describe("Largest content taken (RFC 1870)"),
  recipients_max: count(1, 100_000).prefault(1000).describe("Most recipients of one transaction"),
  connections_max: count(1, 100_000).prefault(1000).describe("Most sessions at once, of each shard"),
  connections_per_address_max: count(1, 100_000)
    .prefault(500)
    .describe("Most sessions at once of one client address, of each shard"),
  header_section_bytes_max: size(1024, 2 ** 24)
    .prefault("256KiB")
    .describe("Largest header section taken"),
  line_bytes_max: size(1000, 2 ** 20)
    .prefault("1000B")
    .describe("Longest line taken, CRLF included (RFC 5321 section 4.5.3.1.6: 1000 octets)"),
  errors_max: count(1, 1000).prefault(10).describe("Refused commands in one session before it is closed"),
  idle_timeout: duration().prefault("5m").describe("Wait for the next command (RFC 5321 section 4.5.3.2.7: 5 minutes)"),
  data_rate_min: size(0, 2 ** 24)
    .prefault("256B")
    .describe("Least octets a second over a whole DATA"),
  auth_failures_max: count(1, 1000)
    .prefault(10)
    .describe("Failed AUTH attempts of one address in ten minutes before it is turned away, of each shard"),
});

const ingest = z
  .strictObject({
    smtp: z.array(smtpListener).min(1, expected("at least one listener")).describe("Listeners for submission"),
    memory_max: size(2 ** 20, 2 ** 40)
      .prefault("256MiB")
      .describe("Content that all sessions of a shard may hold before it is committed"),
  })
  .describe("Where mail comes in");

const user = z.strictObject({
  password_scrypt: text(
    "the line that `postern user password` prints (scrypt$N$r$p$salt$hash)",
    scryptPattern,
  ).describe("Hash made by `postern user password`"),
  streams: z.array(name()).prefault([]).describe("Streams that the user may choose; empty: all"),
  reverse_paths: z
    .array(text('a pattern such as "*@example.com"', reversePathPattern))
    .prefault([])
    .describe("Reverse-paths that the user may give; empty: all"),
});

const dns = z
  .strictObject({
    servers: z
      .array(parsed("the address of a DNS server, such as 127.0.0.1:53", parseServer))
      .min(1, expected("at least one server, or no key at all for the system's"))
      .optional()
      .describe("Default: those of the system"),
    timeout: duration().prefault("5s").describe("For one question to one server"),
  })
  .prefault({})
  .describe("How names are looked up");

// RFC 5321 section 4.5.3.2 gives the least values for banner, mail, rcpt, data, block and final_dot.
const timeouts = z
  .strictObject({
    connect: duration().prefault("30s").describe("TCP connect"),
    banner: duration().prefault("5m").describe("220 greeting"),
    ehlo: duration().prefault("5m").describe("Reply to EHLO"),
    starttls: duration().prefault("2m").describe("Reply to STARTTLS and the TLS handshake"),
    mail: duration().prefault("5m").describe("Reply to MAIL"),
    rcpt: duration().prefault("5m").describe("Reply to RCPT"),
    data: duration().prefault("2m").describe("354 after DATA"),
    block: duration().prefault("3m").describe("Progress while the content is sent"),
    final_dot: duration().prefault("10m").describe("Reply to the final dot"),
    idle: duration().prefault("10s").describe("An unused connection is kept for this long"),
  })
  .prefault({})
  .describe("Waits of an SMTP dialogue (RFC 5321 section 4.5.3.2)");

const delivery = z
  .strictObject({
    port: port().prefault(25).describe("TCP port of exchangers"),
    tls: tlsPolicy().prefault("opportunistic").describe("TLS to receivers, where a site does not say otherwise"),
    internal_networks_allowed: z
      .array(network())
      .prefault([])
      .describe("Exchangers in loopback and private ranges are refused unless listed here"),
    ip: z
      .array(z.union([z.literal(4), z.literal(6)], expected("4 or 6")))
      .min(1, expected("4, 6 or both"))
      .max(2, expected("4, 6 or both"))
      .prefault([4, 6])
      .describe("Address families in the order of preference"),
    timeouts,
    unknown_outcome: z
      .enum(["retry", "bounce", "assume-delivered"])
      .prefault("retry")
      .describe("After the final dot without a reply (RFC 1047): retry may send twice, the others may lose"),
    unknown_retry_min: duration().prefault("30m").describe("Least wait after an unknown outcome"),
  })
  .prefault({})
  .describe("How mail goes out");

const source = z.strictObject({
  address: z
    .string(expected("an IP address of this machine"))
    .refine((written) => isIP(written) !== 0, expected("an IP address of this machine, such as 192.0.2.11"))
    .optional()
    .describe("Local address; default: the system chooses"),
  ehlo: hostName().optional().describe("Name in EHLO; default: hostname"),
});

const pool = z.strictObject({
  members: z
    .record(name(), z.number(expected("a weight above 0")).positive(expected("a weight above 0")).max(1_000_000))
    .describe("Sources with their weights"),
});

const stream = z.strictObject({
  pool: name().optional().describe("Default: the only pool, or the one named default"),
  class: z.enum(["realtime", "batch"]).prefault("batch").describe("realtime goes before batch"),
  share: z
    .number(expected("a number above 0"))
    .positive(expected("a number above 0"))
    .max(1_000_000)
    .prefault(1)
    .describe("Share among the streams of the same class at a site"),
  deadline: duration().optional().describe("Aim for the time from acceptance to delivery; default: none"),
  expire: duration().optional().describe("Age at which a recipient is given up; default: realtime 1h, batch 4d"),
  retry: z
    .array(duration())
    .min(1, expected("at least one wait"))
    .max(100, expected("at most 100 waits"))
    .optional()
    .describe(
      "Wait after the 1st, 2nd... attempt; the last repeats. Default: realtime [5s, 15s, 30s, 1m, 2m, 5m], batch [10m, 20m, 40m, 1h, 2h, 4h]",
    ),
  delay_dsn: z
    .union([z.literal("never"), duration()], expected(`${durationHelp}, or never`))
    .prefault("never")
    .describe("Age at which a delay DSN is sent (RFC 3464)"),
});

const siteKeys = {
  connections_max: count(1, 100_000)
    .optional()
    .describe("Connections at once of one source to the site, from all shards together"),
  connection_rate: rate().optional().describe("New connections of one source to the site, from all shards together"),
  messages_per_connection_max: count(1, 1_000_000).optional().describe("Then we QUIT and connect again"),
  rate: rate().optional().describe("Messages of one source to the site, from all shards together"),
  recipients_per_message_max: count(1, 1000).optional().describe("Recipients of one transaction"),
  tls: tlsPolicy().optional().describe("Default: delivery.tls"),
};

const siteDefaults = z
  .strictObject(siteKeys)
  .prefault({})
  .describe("For every site, where it does not say otherwise; default: 10, 100/m, 100, 100/s, 50");

const site = z.strictObject({
  exchangers: z
    .array(
      text(
        'a host pattern in lower case such as mx.example.com or "*.example.com" (a star only as the whole first label)',
        exchangerPattern,
      ),
    )
    .min(1, expected("at least one host pattern"))
    .optional()
    .describe("The site takes a domain when every exchanger of it matches one of these"),
  ...siteKeys,
});

/** An included file: the key `sites` with sites by name, and perhaps `defaults`. */
export const sitesFileSchema = z.strictObject({ sites: z.object({ defaults: siteDefaults }).catchall(site) });

const sites = z
  .object({
    include: z.array(filePath("a YAML file of sites")).prefault([]).describe("Files of sites; what stands here wins"),
    defaults: siteDefaults,
  })
  .catchall(site)
  .prefault({})
  .describe("Governors by receiving operator; the first site that matches wins");

const relay = z.strictObject({
  host: hostName(),
  port: port().prefault(587),
  auth: z
    .strictObject({
      user: z.string(),
      password_env: text("the name of an environment variable", envPattern).describe(
        "Environment variable that holds the password",
      ),
    })
    .optional(),
  cost_per_1000: z.number().min(0).prefault(0),
  rate: rate().prefault("unlimited"),
});

const signingDomain = z.strictObject({
  domain: hostName("a domain such as example.com").describe("d=; it signs for itself and the domains below it"),
  keys: z
    .array(
      z.strictObject({
        selector: hostName("a selector such as s2026a").describe("s="),
        algorithm: z.enum(["rsa-sha256", "ed25519-sha256"]).describe("a= (RFC 6376, RFC 8463)"),
        key_file: filePath("a PEM file").describe("PEM file of the private key, made by `postern dkim keygen`"),
      }),
    )
    .min(1, expected("at least one key"))
    .describe("One signature is made with each"),
});

const bounces = z
  .strictObject({
    include: z.array(filePath("a YAML file of bounce rules")).prefault([]).describe("Rule files, first match wins"),
    return_path: mailbox().optional().describe("From of our DSNs; default: MAILER-DAEMON@hostname"),
  })
  .prefault({})
  .describe("How failures are classed and reported");

const events = z
  .strictObject({
    path: filePath("a folder").prefault("var/log/events").describe("Folder of the delivery log"),
    rotate_bytes: size(1024, 2 ** 40)
      .prefault("100MiB")
      .describe("A file is closed at this size"),
    keep: duration(hourMs).prefault("14d").describe("Closed files are deleted at this age"),
    headers: z
      .array(text("the name of a header field", /^[A-Za-z0-9-]+$/))
      .prefault([])
      .describe("Header fields copied into events"),
  })
  .prefault({})
  .describe("The delivery log");

const admin = z
  .strictObject({
    listen: listen().prefault("127.0.0.1:8080").describe("Address and port of the HTTP API and the metrics"),
    token_env: text("the name of an environment variable", envPattern)
      .optional()
      .describe("Environment variable that holds the bearer token; without it only loopback is served"),
  })
  .prefault({})
  .describe("The HTTP API");

export const configSchema = z.strictObject({
  $schema: z.string().optional().describe("For editors; ignored"),
  hostname: hostName().describe("Our name in EHLO (where a source has none), Received and Message-ID"),
  shards: z
    .union([z.literal("auto"), count(1, 64)], expected("auto, or a whole number from 1 to 64"))
    .prefault("auto")
    .describe("Engines, each with its own thread and spool; auto: by the number of cores"),
  spool,
  ingest,
  users: z
    .record(text("a user name without blanks", /^[^\s]{1,128}$/), user)
    .prefault({})
    .describe("Who may submit with AUTH"),
  dns,
  delivery,
  sources: z.record(name(), source).prefault({}).describe("Local addresses; default: one, chosen by the system"),
  pools: z.record(name(), pool).prefault({}).describe("Weighted sets of sources; default: one, of all sources"),
  streams: z.record(name(), stream).prefault({}).describe("Classes of traffic; default: one, named default"),
  default_stream: name().optional().describe("For mail that names none; default: the only stream"),
  sites,
  relays: z.record(name(), relay).prefault({}).describe("Kept for overflow routing; not used yet"),
  routes: z.array(z.unknown()).prefault([]).describe("Kept for overflow routing; not used yet"),
  signing: z.array(signingDomain).prefault([]).describe("DKIM keys by domain"),
  bounces,
  events,
  admin,
  log: z
    .strictObject({
      level: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).prefault("info"),
    })
    .prefault({})
    .describe("The log for operators, on standard error"),
  drain_timeout: duration().prefault("30s").describe("How long SIGTERM waits for transactions in progress"),
});

export type ConfigText = z.output<typeof configSchema>;
export type SiteText = z.output<typeof site>;
export type SiteDefaultsText = z.output<typeof siteDefaults>;

/** The JSON Schema of the file as it is written (`conf/postern.schema.json`). */
export function configJsonSchema(): Record<string, unknown> {
  return {
    ...z.toJSONSchema(configSchema, { io: "input" }),
    title: "Postern's config file",
  };
}
