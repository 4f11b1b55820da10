// Config files as operators write them: what a short one becomes, and what is said about wrong ones.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import type { Config } from "../../src/config/config.ts";
import { formatConfigError, loadConfig } from "../../src/config/config-file.ts";
import { printConfig } from "../../src/config/config-print.ts";

const head = "hostname: mta1.example.com\ningest: { smtp: [{ listen: 127.0.0.1:2525 }] }\n";

/** Writes files into a folder of their own and loads `postern.yaml`; errors come without the folder's name. */
function load(t: Test, text: string, others: Readonly<Record<string, string>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "postern-config-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(others)) writeFileSync(join(folder, name), content);
  const file = join(folder, "postern.yaml");
  writeFileSync(file, text.replaceAll("$DIR", folder));
  const loaded = loadConfig(file);
  const plain = (line: string) => line.replaceAll(`${folder}/`, "");
  return loaded.kind === "ok"
    ? { config: loaded.config, warnings: loaded.warnings.map(plain), errors: [] }
    : { config: undefined, warnings: [], errors: loaded.errors.map((error) => plain(formatConfigError(error))) };
}

function valid(t: Test, text: string, others: Readonly<Record<string, string>> = {}): Config {
  const { config, errors } = load(t, text, others);
  if (config === undefined) throw new Error(`the config should be valid: ${errors.join("; ")}`);
  return config;
}

test("a hostname and a listener are enough: one source, one pool, one stream", async (t) => {
  const config = valid(t, head);
  t.same([...config.sources.values()], [{ name: "default", address: undefined, ehlo: "mta1.example.com" }]);
  t.same([...config.pools.values()], [{ name: "default", members: [{ source: "default", weight: 1 }] }]);
  t.equal(config.defaultStream, "default");
  t.equal(config.streams.get("default")?.class, "batch");
  t.equal(config.streams.get("default")?.expireMs, 4 * 86_400_000);
  t.equal(config.delivery.timeouts.finalDotMs, 600_000);
  t.equal(config.delivery.timeouts.bannerMs, 300_000);
  t.equal(config.delivery.timeouts.dataMs, 120_000);
  t.equal(config.delivery.timeouts.blockMs, 180_000);
  t.equal(config.dns.servers, "system");
  t.equal(config.bounces.returnPath, "MAILER-DAEMON@mta1.example.com");
  t.equal(config.admin.tokenEnv, undefined);
});

test("the class of a stream brings its retry schedule and its expiry", async (t) => {
  const config = valid(t, `${head}streams: { receipts: { class: realtime }, news: {} }\ndefault_stream: news\n`);
  t.same(config.streams.get("receipts")?.retryMs, [5_000, 15_000, 30_000, 60_000, 120_000, 300_000]);
  t.equal(config.streams.get("receipts")?.expireMs, 3_600_000);
  t.same(config.streams.get("news")?.retryMs, [600_000, 1_200_000, 2_400_000, 3_600_000, 7_200_000, 14_400_000]);
  t.equal(config.streams.get("news")?.delayDsnMs, undefined);
});

test("the only pool and the only stream need not be named again", async (t) => {
  const config = valid(
    t,
    `${head}sources: { a1: {}, a2: {} }\npools: { bulk: { members: { a1: 3, a2: 1 } } }\nstreams: { news: {} }\n`,
  );
  t.equal(config.streams.get("news")?.pool, "bulk");
  t.equal(config.defaultStream, "news");
  t.same(config.pools.get("bulk")?.members, [
    { source: "a1", weight: 3 },
    { source: "a2", weight: 1 },
  ]);
});

test("a file with many faults is told all of them, each at its place", async (t) => {
  const { errors } = load(
    t,
    `hostname: mta1 example
ingets: {}
ingest:
  smtp:
    - listen: 127.0.0.1:2525
      trust: [10.0.0.0/99]
      messages_bytes_max: 25MB
streams:
  news: { pool: buk, retry: [5s, 10] }
  fast: { pool: bulk, deadline: 2h, expire: 1h }
pools:
  bulk: { members: { a1: 0, a2: 1 } }
sources: { a1: { address: 1.2.3 } }
users:
  app1: { password_scrypt: secret, streams: [mews] }
sites:
  google: { rate: 3 }
spool:
default_stream: nws
`,
  );
  t.same(errors, [
    'postern.yaml:1:11: expected a host name such as mta1.example.com, found "mta1 example"',
    'postern.yaml:2:1: unknown key "ingets"; did you mean "ingest"?',
    'postern.yaml:6:15: expected a network such as 192.0.2.0/24 or "2001:db8::/32", or one address, found "10.0.0.0/99"',
    'postern.yaml:7:7: unknown key "messages_bytes_max"; did you mean "message_bytes_max"?',
    'postern.yaml:9:17: no pool "buk"; did you mean "bulk"?',
    "postern.yaml:9:34: expected a duration such as 30s, 10m or 4d12h (units d, h, m, s, ms), found 10",
    "postern.yaml:10:33: the deadline is after expire: the mail would be given up before",
    "postern.yaml:12:26: expected a weight above 0, found 0",
    'postern.yaml:12:29: no source "a2"; did you mean "a1"?',
    'postern.yaml:13:27: expected an IP address of this machine, such as 192.0.2.11, found "1.2.3"',
    "postern.yaml:15:28: expected the line that `postern user password` prints (scrypt$N$r$p$salt$hash)",
    'postern.yaml:15:46: no stream "mews"; did you mean "news"?',
    'postern.yaml:17:3: site "google" has no exchangers, here or in an included file: no mail would ever match it',
    "postern.yaml:17:19: expected a rate such as 100/s, 83/10m, 5000/d, or unlimited, found 3",
    "postern.yaml:18:7: expected a map of keys, found nothing",
    'postern.yaml:19:17: no stream "nws"; did you mean "news"?',
  ]);
});

test("a missing hostname, a missing file and text that is not YAML are said as such", async (t) => {
  t.same(load(t, "ingest: { smtp: [{ listen: 127.0.0.1:2525 }] }\n").errors, [
    'postern.yaml:1:1: missing key "hostname"',
  ]);
  t.same(load(t, "").errors, ["postern.yaml:1:1: the file is empty"]);
  t.match(load(t, "hostname: [a\n").errors[0], /^postern\.yaml:\d+:\d+: not YAML: /);
  t.same(load(t, `${head}hostname: again.example.com\n`).errors, ["postern.yaml:3:1: this key stands here twice"]);
  t.match(loadConfig("/nonexistent/postern.yaml"), {
    kind: "invalid",
    errors: [{ line: 1, column: 1, message: "cannot read /nonexistent/postern.yaml (ENOENT)" }],
  });
});

test("what a file says cannot split the line that tells its fault, nor reach a terminal", async (t) => {
  const { errors } = load(t, `${head}"\\e[31mk\\nl": 1\ndefault_stream: "\\e[31m\\n\\0x\\u2028"\n`);
  t.ok(errors.length >= 2);
  for (const error of errors) t.match(error, /^postern\.yaml:\d+:\d+: [ -~]+$/);
  t.match(errors.join("\n"), 'unknown key "\\u001b[31mk\\u000al"');
});

test("a name that a plain object would swallow is told, not dropped", async (t) => {
  t.same(load(t, `${head}sources: { a: {}, __proto__: { ehlo: x.test } }\n`).errors, [
    'postern.yaml:3:19: the key "__proto__" cannot be used',
  ]);
  t.same(load(t, `${head}sources: { constructor: { ehlo: x.test } }\n`).errors, []);
});

test("thousands of faults are told within seconds", async (t) => {
  const lines = Array.from({ length: 4_000 }, (_, i) => `k${i}: 1\n`).join("");
  const { errors } = load(t, head + lines);
  t.equal(errors.length, 4_000);
  t.equal(errors[3_999], 'postern.yaml:4002:1: unknown key "k3999"');
});

test("several streams or pools without a default must be told apart", async (t) => {
  t.same(load(t, `${head}streams: { a: {}, b: {} }\n`).errors, [
    'postern.yaml:3:1: add the key "default_stream": there are 2 streams and none is "default"',
  ]);
  t.same(
    load(
      t,
      `${head}sources: { s: {} }\npools: { p: { members: { s: 1 } }, q: { members: { s: 1 } } }\nstreams: { a: {} }\n`,
    ).errors,
    ['postern.yaml:5:12: stream "a" must name its pool: there are 2 and none is "default"'],
  );
});

test("sites come from included files, and what stands in the main file wins key by key", async (t) => {
  const known =
    'sites:\n defaults: { rate: 7/s }\n google:\n  exchangers: ["*.google.com"]\n  connections_max: 5\n  tls: required\n yahoo: { exchangers: ["*.yahoodns.net"], rate: unlimited }\n';
  const config = valid(
    t,
    `${head}sites:\n  include: [$DIR/sites.yaml]\n  defaults: { connections_max: 3 }\n  mine: { exchangers: [mx.mine.test] }\n  google: { rate: 30/m }\n`,
    { "sites.yaml": known },
  );
  t.same(
    config.sites.named.map((site) => site.name),
    ["mine", "google", "yahoo"],
    "the main file's sites are matched first",
  );
  t.match(config.sites.named[0], { connectionsMax: 3, rate: { count: 7, perMs: 1_000 }, where: /postern\.yaml:6$/ });
  t.match(config.sites.named[1], {
    exchangers: ["*.google.com"],
    connectionsMax: 5,
    rate: { count: 30, perMs: 60_000 },
    tls: "required",
    where: /postern\.yaml:7$/,
  });
  t.match(config.sites.named[2], { connectionsMax: 3, rate: undefined, where: /sites\.yaml:7$/ });
});

test("faults in an included file are told with that file's name", async (t) => {
  const { errors } = load(t, `${head}sites: { include: [$DIR/sites.yaml, $DIR/none.yaml] }\n`, {
    "sites.yaml": 'sites:\n google:\n  exchanger: ["*.google.com"]\n  rate: 5/s\n  exchangers: ["*google.com"]\n',
  });
  t.same(
    errors,
    [
      "postern.yaml:3:39: cannot read none.yaml (ENOENT)",
      'sites.yaml:3:3: unknown key "exchanger"; did you mean "exchangers"?',
      'sites.yaml:5:16: expected a host pattern in lower case such as mx.example.com or "*.example.com" (a star only as the whole first label), found "*google.com"',
    ].map((line) => line.replace(/:3:\d+: cannot/, `:3:${errors[0]?.split(":")[2]}: cannot`)),
  );
});

test("keys, certificates and rule files that cannot be read are errors", async (t) => {
  const { errors } = load(
    t,
    `hostname: mta1.example.com
ingest: { smtp: [{ listen: 127.0.0.1:2525, tls: { cert: none.pem, key: none.key } }] }
signing:
  - domain: example.com
    keys: [{ selector: s1, algorithm: rsa-sha256, key_file: none/s1.pem }, { selector: s1, algorithm: rsa-sha256, key_file: none/s1.pem }]
bounces: { include: [none.yaml] }
`,
  );
  t.equal(errors.length, 6);
  t.match(errors[0], "cannot read none.pem (ENOENT)");
  t.match(errors[2], "cannot read none/s1.pem (ENOENT): make one with `postern dkim keygen`");
  t.match(errors[3], "two keys of example.com have the selector s1");
  t.match(errors[5], "cannot read none.yaml (ENOENT)");
});

test("a certificate or key that cannot be used is told before the start", async (t) => {
  const fixture = (name: string) => new URL(`../fixture/tls/${name}`, import.meta.url).pathname;
  const tls = (cert: string, key: string) =>
    load(
      t,
      `hostname: m.test\ningest:\n  smtp:\n  - listen: 127.0.0.1:1\n    tls:\n      cert: ${cert}\n      key: ${key}\n`,
      {
        "no.pem": "x",
      },
    ).errors;
  t.same(tls(fixture("ingest-one.cert.pem"), fixture("ingest-one.key.pem")), []);
  t.match(tls("$DIR/no.pem", fixture("ingest-one.key.pem")), [
    /^postern.yaml:6:13: no.pem is not a certificate in PEM \(/,
  ]);
  t.match(tls(fixture("ingest-one.cert.pem"), "$DIR/no.pem"), [/^postern.yaml:7:12: no.pem is not the key in PEM of /]);
  t.match(tls(fixture("ingest-one.cert.pem"), fixture("ingest-two.key.pem")), [/^postern.yaml:7:12: .* \(/]);
});

test("an admin API open to the network without a token is refused, an open relay is warned of", async (t) => {
  t.match(load(t, `${head}admin: { listen: 0.0.0.0:8080 }\n`).errors, [
    /^postern\.yaml:3:18: the admin API would be open to the network: set admin\.token_env/,
  ]);
  t.same(load(t, `${head}admin: { listen: 0.0.0.0:8080, token_env: TOKEN }\n`).errors, []);
  const open = "hostname: mta1.example.com\ningest: { smtp: [{ listen: 127.0.0.1:2525, trust: [0.0.0.0/0] }] }\n";
  t.match(load(t, open).warnings, [/^postern\.yaml:2:52: everybody may submit without AUTH/]);
});

test("relays and routes are checked, kept, and warned of", async (t) => {
  const { warnings } = load(t, `${head}relays: { ses: { host: smtp.example.net, rate: 14/s, cost_per_1000: 0.1 } }\n`);
  t.same(warnings, ["postern.yaml:3:1: relays are kept for overflow routing, which this version does not do yet"]);
  t.match(load(t, `${head}relays: { ses: { hots: smtp.example.net } }\n`).errors, [
    'postern.yaml:3:16: missing key "host"',
    'postern.yaml:3:18: unknown key "hots"; did you mean "host"?',
  ]);
});

test("the printed config reads back as the same config, with its secrets masked unless asked for", async (t) => {
  const config = valid(
    t,
    `${head}streams: { receipts: { class: realtime, delay_dsn: 30m, deadline: 10s }, news: { share: 2.5 } }
default_stream: news
sources: { a1: { address: 192.0.2.11, ehlo: a1.example.com }, a2: { address: "2001:db8::1" } }
sites: { big: { exchangers: ["*.big.test"], rate: 83/10m, connection_rate: unlimited, tls: "off" } }
dns: { servers: ["[::1]:5353", 127.0.0.1] }
users: { app1: { password_scrypt: "scrypt$2$8$1$c2FsdA==$aGFzaA==", reverse_paths: ["*@example.com"] } }
shards: 3
`,
  );
  const printed = printConfig(config, { secrets: "shown" });
  const again = valid(t, printed);
  const withoutPlaces = (of: Config) => ({
    ...of,
    sites: { ...of.sites, named: of.sites.named.map((s) => ({ ...s, where: "" })) },
  });
  t.same(withoutPlaces(again), withoutPlaces(config));
  t.match(printed, "aGFzaA==");
  t.notMatch(printConfig(config), "aGFzaA==");
});
