// `postern top`: what two looks come to, how it fits a terminal, and how it lives with a server that goes away.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Registry } from "prom-client";
import { type Test, test } from "tap";
import { type Figures, figuresOf, type Look, parseSamples, quantileOf } from "../../src/cli/top-figures.ts";
import { drawLook, printable, printableJson, Screen, shareOut } from "../../src/cli/top-screen.ts";
import type { QueueSummary } from "../../src/queue/queue.ts";
import { type Metrics, makeMetrics, mergeMetrics } from "../../src/telemetry/metrics.ts";
import { laneSummary } from "../support/lane-summary.ts";
import { runCli } from "./run-cli.ts";

const cliFile = fileURLToPath(new URL("../../src/cli/cli.ts", import.meta.url));
const token = "correct-horse-battery";
const env = { POSTERN_ADMIN_TOKEN: token };

interface Counts {
  readonly accepted: number;
  readonly delivered: number;
  readonly transient?: number;
  readonly permanent?: number;
  readonly bounced?: number;
  /** Of the deliveries: within 1 s, within 2.5 s. */
  readonly delays?: readonly [number, number];
}

function metricsText({ accepted, delivered, transient = 0, permanent = 0, bounced = 0, delays = [0, 0] }: Counts) {
  return [
    "# HELP postern_ingest_messages_total Messages accepted.",
    "# TYPE postern_ingest_messages_total counter",
    `postern_ingest_messages_total{stream="news"} ${accepted}`,
    `postern_queue_recipients{stream="news",state="ready"} 5`,
    `postern_queue_recipients{stream="news",state="due"} 2`,
    `postern_accept_to_delivery_seconds_bucket{le="0.5",stream="news"} 0`,
    `postern_accept_to_delivery_seconds_bucket{le="1",stream="news"} ${delays[0]}`,
    `postern_accept_to_delivery_seconds_bucket{le="2.5",stream="news"} ${delays[1]}`,
    `postern_accept_to_delivery_seconds_bucket{le="+Inf",stream="news"} ${delivered}`,
    `postern_accept_to_delivery_seconds_count{stream="news"} ${delivered}`,
    `postern_delivery_attempts_total{site="google",source="a1",kind="delivered"} ${delivered}`,
    `postern_delivery_attempts_total{site="google",source="a1",kind="transient"} ${transient}`,
    `postern_delivery_attempts_total{site="google",source="a1",kind="permanent"} ${permanent}`,
    `postern_outcome_bounces_total{class="bad-mailbox"} ${bounced}`,
    "process_cpu_seconds_total 1e-3",
    "",
  ].join("\n");
}

const queue: QueueSummary = {
  stream: "news",
  domain: "a.test",
  site: "google",
  entries: 3,
  recipients: 7,
  held: false,
  oldestDueAt: undefined,
  nextDueAt: undefined,
  inFlight: 1,
  lastError: undefined,
  waitsFor: "the rate of google",
};
const lane = laneSummary;

function lookAt(counts: Counts, steadyMs: number, more: Partial<Look> = {}): Look {
  const samples = parseSamples(metricsText(counts));
  return { at: 1_800_000_000_000, steadyMs, samples, lanes: [lane], queues: [queue], queuesTotal: 1, ...more };
}

/** Answers as the admin API; each look at /metrics finds 10 more messages accepted and delivered. */
async function serve(
  t: Test,
  port = 0,
): Promise<{ readonly url: string; readonly port: number; readonly server: Server }> {
  let looks = 0;
  const server = createServer((request, response) => {
    if (request.headers.authorization !== `Bearer ${token}`) {
      response.writeHead(401, { "content-type": "application/json" }).end('{"error":"no"}');
      return;
    }
    if (request.url === "/metrics") {
      looks++;
      response.end(metricsText({ accepted: looks * 10, delivered: looks * 10, delays: [looks * 10, looks * 10] }));
      return;
    }
    const suspended = { suspendedUntil: Date.now() + 600_000, suspendedBecause: "421 4.7.28 \u001b[2Jslow \u009bdown" };
    const body =
      request.url === "/v1/lanes"
        ? { lanes: [{ ...lane, ...suspended }], total: 1 }
        : { queues: [{ ...queue, waitsFor: "a\r\nb" }], total: 1 };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => stop(server));
  const bound = (server.address() as AddressInfo).port;
  return { url: `http://127.0.0.1:${bound}`, port: bound, server };
}

function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

/** The command while it runs. `until` resolves when the output is enough. */
function start(t: Test, args: readonly string[]) {
  const child = spawn(process.execPath, [cliFile, "top", ...args], { env: { ...process.env, ...env } });
  t.teardown(() => child.kill("SIGKILL"));
  const seen = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text) => {
    seen.out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    seen.err += text;
  });
  const ended = once(child, "close");
  const until = async (enough: () => boolean) => {
    for (const deadline = Date.now() + 10_000; !enough() && Date.now() < deadline; ) await sleep(10);
    if (!enough()) throw new Error(`not seen in: ${seen.out}${seen.err}`);
  };
  return { child, seen, until, ended };
}

test("rates are the differences of counters, and quantiles those of the histogram", async (t) => {
  const first = lookAt({ accepted: 100, delivered: 1_000, delays: [1_000, 1_000] }, 0);
  const second = lookAt(
    { accepted: 120, delivered: 1_100, transient: 40, permanent: 6, bounced: 8, delays: [1_050, 1_100] },
    2_000,
  );
  const { throughput, streams, overSeconds } = figuresOf(second, first);
  t.equal(overSeconds, 2);
  // Two of the transient failures were the last before the recipient expired.
  t.same(throughput, { accepted: 10, delivered: 50, deferred: 19, failed: 4 });
  t.match(streams, [
    {
      stream: "news",
      waiting: { ready: 5, due: 2, held: 0 },
      accepted: 10,
      delivered: 50,
      p50Seconds: 1,
    },
  ]);
  t.ok(Math.abs((streams[0]?.p99Seconds ?? 0) - 2.47) < 1e-9);
  const alone = figuresOf(first, undefined);
  t.same([alone.overSeconds, alone.throughput, alone.streams[0]?.p50Seconds], [null, null, null]);
});

test("the instruments of two shards are understood as the server writes them", async (t) => {
  const count = async (use: (metrics: Metrics) => void) => {
    const registries = [new Registry(), new Registry()];
    for (const registry of registries) use(makeMetrics(registry));
    return parseSamples(await mergeMetrics(await Promise.all(registries.map((one) => one.getMetricsAsJSON()))));
  };
  const idle = { at: 0, lanes: [], queues: [], queuesTotal: 0 };
  const after = await count((metrics) => {
    metrics.ingestMessage("news", 100);
    metrics.queueRecipients("news", "held", 3);
    metrics.deliveryAttempt("google", "a1", "delivered");
    metrics.acceptToDelivery("news", 0.2);
    metrics.deliveryAttempt("google", "a1", "unknown");
    metrics.deliveryAttempt("google", "a1", "permanent");
    metrics.bounce("bad-mailbox");
  });
  const before = { ...idle, steadyMs: 0, samples: await count(() => undefined) };
  const { throughput, streams } = figuresOf({ ...idle, steadyMs: 1_000, samples: after }, before);
  t.same(throughput, { accepted: 2, delivered: 2, deferred: 2, failed: 2 });
  t.match(streams, [{ stream: "news", waiting: { held: 6 }, accepted: 2, delivered: 2, p50Seconds: 0.175 }]);
});

test("a server that was started again counts from zero: no rate is negative", async (t) => {
  const before = lookAt({ accepted: 5_000, delivered: 4_000, delays: [4_000, 4_000] }, 0);
  const after = lookAt({ accepted: 30, delivered: 20, delays: [20, 20] }, 1_000);
  t.match(figuresOf(after, before).throughput, { accepted: 30, delivered: 20, deferred: 0 });
});

test("labels are read with their escapes, and what is no sample is passed over", async (t) => {
  const samples = parseSamples(
    'postern_queue_recipients{stream="a\\"b\\\\,c\\n",state="due"} 3\npostern_queue_recipients nonsense\npostern_queue_\n',
  );
  t.same(
    [...samples.values()].map(({ labels, value }) => [labels, value]),
    [[{ stream: 'a"b\\,c\n', state: "due" }, 3]],
  );
  t.equal(quantileOf([{ upTo: 1, count: 0 }], 0.5), null);
  t.equal(
    quantileOf(
      [
        { upTo: Infinity, count: 9 },
        { upTo: 4, count: 0 },
      ],
      0.5,
    ),
    4,
    "beyond the last end: at least that",
  );
});

test("the queues of all shards are one, the busiest lanes and the deepest queues first", async (t) => {
  const idle = { ...lane, source: "a2", ready: 90, connections: { max: 20, connecting: 0, busy: 0, idle: 9 } };
  const resting = { ...lane, suspendedUntil: 1_800_000_060_000, suspendedBecause: "421 slow" };
  const deep = { ...queue, domain: "b.test", recipients: 10, held: true };
  const { lanes, queues, queuesTotal } = figuresOf(
    lookAt({ accepted: 0, delivered: 0 }, 0, {
      lanes: [idle, resting],
      queues: [deep, queue, queue],
      queuesTotal: 5,
    }),
    undefined,
  );
  t.match(lanes, [
    { source: "a1", busy: 2, idle: 3, max: 20, ready: 4, suspendedBecause: "421 slow" },
    { source: "a2", ready: 90, suspendedUntil: null },
  ]);
  t.match(queues, [
    { domain: "a.test", recipients: 14, inFlight: 2 },
    { domain: "b.test", recipients: 10, waitsFor: "a hold" },
  ]);
  t.equal(queuesTotal, 4);
});

test("a look fits the terminal, whatever its size", async (t) => {
  t.same(shareOut(10, [1, 20, 3]), [1, 6, 3]);
  t.same(shareOut(-3, [1, 2]), [0, 0]);
  t.same(shareOut(99, [1, 2]), [1, 2]);
  const many = <Row>(row: Row, name: string) => Array.from({ length: 40 }, (_, i) => ({ ...row, [name]: `n${i}` }));
  const figures: Figures = figuresOf(
    lookAt({ accepted: 0, delivered: 0 }, 0, {
      lanes: many(lane, "site"),
      queues: many({ ...queue, waitsFor: "\u001b]0;x\u0007 é".repeat(40) }, "domain"),
      queuesTotal: 400,
    }),
    undefined,
  );
  for (const [columns, rows] of [
    [80, 24],
    [40, 12],
    [1, 1],
    [500, 200],
  ] as const) {
    const lines = drawLook("x", figures, "away", { columns, rows });
    t.ok(lines.length <= rows, `${lines.length} of ${rows} rows`);
    t.ok(
      lines.every((line) => [...line].length <= columns),
      `${columns} columns`,
    );
    t.notMatch(lines.join(""), /\p{Cc}/u);
  }
  const lines = drawLook("x", figures, undefined, { columns: 80, rows: 24 });
  t.equal(lines.length, 24, "and fills it");
  t.match(lines.at(-1), /^and 39\d more$/);
});

test("the terminal is given back as it was, and drawn anew when its size changes", async (t) => {
  let written = "";
  const resizes = new Set<() => void>();
  const terminal = {
    columns: 20,
    rows: 5,
    write: (text: string) => (written += text),
    on: (_: "resize", listener: () => void) => resizes.add(listener),
    off: (_: "resize", listener: () => void) => resizes.delete(listener),
  };
  const screen = new Screen(terminal);
  screen.close();
  t.equal(written, "", "what was not taken is not given back");
  screen.show(({ columns, rows }) => [`${columns}x${rows}`, "b"]);
  t.equal(written, "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[K20x5\r\n\x1b[Jb");
  written = "";
  Object.assign(terminal, { columns: 0, rows: 9 });
  for (const resized of resizes) resized();
  t.match(written, "80x9");
  written = "";
  screen.close();
  screen.close();
  t.equal(written, "\x1b[?7h\x1b[?25h\x1b[?1049l");
  t.equal(resizes.size, 0);
});

test("control characters are shown, not sent, also those that JSON allows", async (t) => {
  t.equal(printable("a\u001b[2J\u009b\u202eb é"), "a\\u{1b}[2J\\u{9b}\\u{202e}b é");
  const json = printableJson({ text: "\u001b\u009b\u202e\u{e0001}\u007f" });
  t.notMatch(json, /[\p{Cc}\p{Cf}]/u);
  t.same(JSON.parse(json), { text: "\u001b\u009b\u202e\u{e0001}\u007f" });
});

test("without a terminal each look is one block; with --json one object a line", async (t) => {
  const { url } = await serve(t);
  const [plain, json, wrong, nobody, usage] = await Promise.all([
    runCli(["top", "--admin", url, "--interval", "100ms", "--count", "2"], { env }),
    runCli(["top", "--admin", url, "--interval", "100ms", "--count", "2", "--json"], { env }),
    runCli(["top", "--admin", url], { env: { POSTERN_ADMIN_TOKEN: "wrong" } }),
    runCli(["top", "--admin", "http://127.0.0.1:1"], { env }),
    runCli(["top", "--interval", "1ms"]),
  ]);
  t.same([plain.status, plain.err], [0, ""]);
  const blocks = plain.out.split(/^postern top /m).slice(1);
  t.equal(blocks.length, 2);
  t.match(blocks[0], "rates are known at the second look");
  t.match(
    blocks[1],
    /messages\/s: \d+(\.\d)? accepted; recipients\/s: \d+(\.\d)? delivered, 0 deferred, 0 failed \(over \d\.\d s\)/,
  );
  t.match(blocks[1], /STREAM +WAITING +READY +DUE +HELD .*\nnews +7 +5 +2 +0 +/);
  t.match(blocks[1], /a1 +google +4 +2\+3\+1\/20 +for (10m|9m5\ds): 421 4\.7\.28 \\u\{1b\}\[2Jslow \\u\{9b\}down\n/);
  t.match(blocks[1], /news +a\.test +google +7 +1 +a\\u\{d\}\\u\{a\}b\n/);
  const looks = json.out.trimEnd().split("\n");
  t.equal(looks.length, 2);
  t.match(JSON.parse(looks[0] as string), { overSeconds: null, throughput: null, lanesTotal: 1, queuesTotal: 1 });
  const last = JSON.parse(looks[1] as string);
  t.ok(last.throughput.accepted > 0 && last.overSeconds >= 0.1);
  t.ok(last.streams[0].p50Seconds > 0.5 && last.streams[0].p50Seconds <= 1);
  t.equal(last.queues[0].waitsFor, "a\r\nb");
  t.equal(wrong.status, 1);
  t.match(wrong.err, /^postern: .* wants a token: put the right one into the variable POSTERN_ADMIN_TOKEN\n$/);
  t.equal(nobody.status, 1);
  t.match(nobody.err, /^postern: no answer from the admin API at http:\/\/127\.0\.0\.1:1 .*\n$/);
  t.equal(usage.status, 2);
  t.match(usage.err, "It must be a duration such as 30s");
});

test("a server that goes away is waited for, and Ctrl-C ends it with status 0", async (t) => {
  const { url, port, server } = await serve(t);
  const plain = start(t, ["--admin", url, "--interval", "100ms"]);
  const json = start(t, ["--admin", url, "--interval", "100ms", "--json"]);
  await Promise.all([plain.until(() => plain.seen.out !== ""), json.until(() => json.seen.out !== "")]);
  await stop(server);
  await Promise.all([
    plain.until(() => plain.seen.err.includes("postern: no answer from the admin API")),
    json.until(() => json.seen.out.includes('"error":"no answer')),
  ]);
  const [plainLooks, jsonLooks] = [plain.seen.out.length, json.seen.out.lastIndexOf('"error"')];
  await serve(t, port);
  await Promise.all([
    plain.until(() => plain.seen.out.length > plainLooks),
    json.until(() => json.seen.out.lastIndexOf('"throughput":{') > jsonLooks),
  ]);
  plain.child.kill("SIGINT");
  json.child.kill("SIGTERM");
  t.same(await plain.ended, [0, null]);
  t.same(await json.ended, [0, null]);
});

test("it ends when nobody reads any more", async (t) => {
  const { url } = await serve(t);
  const { child, seen, until } = start(t, ["--admin", url, "--interval", "100ms"]);
  await until(() => seen.out !== "");
  const exited = once(child, "exit");
  child.stdout.destroy();
  t.same(await exited, [0, null]);
});
