// What the benchmark reads from Postern, holds against targets, and shows.

import { test } from "tap";
import { sourcesReport, whileItRuns } from "../../native-bench/load-run.ts";
import { bucketsSince, parseFigures, percentileMs } from "../../native-bench/postern-figures.ts";
import { cpuOf, cpuOfTree, residentParts, treeOf } from "../../native-bench/process-usage.ts";
import { isClean, loadChecks } from "../../native-bench/report/checks.ts";
import { cpuReport, cpuWithSignatures } from "../../native-bench/report/cpu.ts";
import { reportHtml } from "../../native-bench/report/html.ts";
import type { BenchReport, RunReport } from "../../native-bench/report/report.ts";
import { barChart, lineChart } from "../../native-bench/report/svg-chart.ts";
import { machineOf, termsOf } from "../../native-bench/report/terms.ts";
import { reportText } from "../../native-bench/report/text.ts";
import { catalog } from "../../native-bench/scenario/catalog.ts";

const span = { count: 10, p50Ms: 1, p90Ms: 2, p99Ms: 3, p999Ms: 4, maxMs: 5 };
const run: RunReport = {
  server: "postern",
  notes: [],
  messages: 10,
  recipientsPerMessage: 1,
  accepted: 10,
  delivered: 10,
  refused: 0,
  bounced: 0,
  lost: 0,
  duplicates: 0,
  repeatsAfterLostReply: 0,
  damaged: 0,
  breaches: 0,
  seconds: 2,
  acceptedPerSecond: 5,
  deliveredPerSecond: 5,
  deliveredPerSecondSteady: 5,
  deliveredMiBPerSecond: 1,
  cpu: {
    serverUsPerMessage: 240,
    serverUsBesideSignature: 240,
    serverUserUsPerMessage: 200,
    serverSystemUsPerMessage: 40,
    sourceUsPerMessage: 25,
    receiversUsPerMessage: 25,
  },
  memory: { serverPrivateMiBMax: 100, serverFileMiBMax: 50, serverPrivateGrowthMiB: 1 },
  greeting: span,
  finalDot: span,
  connectTo250: span,
  acceptToDelivery: span,
  deferralsByOperator: [{ operator: "h1<script>", deferrals: 3 }],
  samples: [1, 2, 3].map((i) => ({
    atMs: i * 250,
    accepted: i * 3,
    delivered: i * 2,
    deferrals: i,
    connections: 2,
    serverCpu: 0.5,
    sourceCpu: 0.1,
    receiversCpu: 0.1,
    serverPrivateMiB: 100,
    serverFileMiB: 50,
    sourceMiB: 40,
    receiversMiB: 40,
    loopLagMs: 5,
  })),
  problem: undefined,
};

test("figures are read from the metrics text, and commits give percentiles", async (t) => {
  const figures = parseFigures(
    [
      "# HELP postern_spool_bytes x",
      'postern_queue_recipients{stream="bulk",state="ready"} 7',
      'postern_queue_recipients{stream="bulk",state="due"} 5',
      "postern_spool_bytes 2048",
      "postern_spool_live_bytes 1024",
      'postern_spool_commit_seconds_bucket{le="0.002"} 100',
      'postern_spool_commit_seconds_bucket{le="0.001"} 50',
      'postern_spool_commit_seconds_bucket{le="+Inf"} 100',
      "postern_spool_commit_seconds_count 100",
      'postern_event_loop_delay_seconds_bucket{le="0.01"} 3',
      'postern_event_loop_delay_seconds_bucket{le="+Inf"} 4',
    ].join("\n"),
  );
  t.match(figures, { queued: 12, spoolFileBytes: 2048, spoolLiveBytes: 1024 });
  t.equal(percentileMs(figures.commits, 0.5), 1);
  t.equal(percentileMs(figures.commits, 0.75), 1.5);
  t.equal(percentileMs(figures.commits, 1), 2);
  t.equal(percentileMs([], 0.5), undefined);
  t.strictSame(bucketsSince(undefined, figures.loopDelays), [
    { boundMs: 10, count: 3 },
    { boundMs: Number.POSITIVE_INFINITY, count: 4 },
  ]);
  const later = figures.loopDelays.map(({ boundMs, count }) => ({ boundMs, count: count + 2 }));
  t.strictSame(
    bucketsSince(figures.loopDelays, later).map(({ count }) => count),
    [2, 2],
  );
});

const nothingTogether = { baseline: undefined, idleQueues: undefined };

test("each pair is held against the targets for that peer, signed or not, and peers' own runs against none", async (t) => {
  const targets = [
    { value: "postfix.unsigned.delivered", atLeast: 8 },
    { value: "postfix.signed.delivered", atLeast: 5 },
    { value: "deliveredPerSecond", atLeast: 5 },
  ];
  const runs = [run, { ...run, server: "postfix", deliveredPerSecond: 1 }];
  const pairs = [7.5, 9].map((delivered) => ({ delivered, accepted: 4, cpu: 8 }));
  const found = (signed: boolean, peer: string | undefined) =>
    loadChecks({ targets, signed }, runs, peer === undefined ? [] : pairs, peer, nothingTogether).map(
      ({ value, found, met }) => `${value} ${found} ${met}`,
    );
  t.strictSame(found(false, "postfix"), [
    "deliveredPerSecond 5 true",
    "postfix.unsigned.delivered 7.5 false",
    "postfix.unsigned.delivered 9 true",
  ]);
  t.strictSame(found(true, "postfix").slice(1), [
    "postfix.signed.delivered 7.5 true",
    "postfix.signed.delivered 9 true",
  ]);
  t.strictSame(found(false, "exim"), ["deliveredPerSecond 5 true"], "the ratios are set for Postfix");
  t.strictSame(found(false, undefined), ["deliveredPerSecond 5 true"]);
});

test("CPU time is told for each message, and of none it is told too", async (t) => {
  const used = {
    server: { userSeconds: 0.9, systemSeconds: 0.1 },
    source: { userSeconds: 0.1, systemSeconds: 0.1 },
    receivers: { userSeconds: 0, systemSeconds: 0.3 },
  };
  t.match(cpuReport(used, 1_000), {
    serverUsPerMessage: 1_000,
    serverUsBesideSignature: 1_000,
    serverUserUsPerMessage: 900,
    serverSystemUsPerMessage: 100,
    sourceUsPerMessage: 200,
    receiversUsPerMessage: 300,
  });
  t.ok(Number.isFinite(cpuReport(used, 0).serverUsPerMessage));
});

test("signed mail may cost 1.3 bare signatures more than other mail", async (t) => {
  const cpu = cpuWithSignatures({ ...run.cpu, serverUsPerMessage: 690 }, [300, 400]);
  t.equal(cpu.bareSignatureUs, 350);
  t.equal(cpu.serverUsBesideSignature, 690 - 1.3 * 350);
  t.equal(cpu.serverUsPerMessage, 690, "the whole is told, too");
});

test("a target is met, missed, or cannot be said", async (t) => {
  const targets = [
    { value: "cpu.serverUsPerMessage", atMost: 250 },
    { value: "deliveredPerSecond", atLeast: 6 },
    { value: "spool.fileToLiveMax", atMost: 3 },
  ];
  const checks = loadChecks({ targets, signed: false }, [run], [], undefined, nothingTogether);
  t.strictSame(
    checks.map(({ found, met }) => [found, met]),
    [
      [240, true],
      [5, false],
      [undefined, false],
    ],
  );
});

test("a run is clean when all came once and whole, and Postern kept the limits of its receivers", async (t) => {
  const pass = (changes: Partial<RunReport>): boolean => isClean({ runs: [run, { ...run, ...changes }] });
  t.ok(pass({}));
  for (const what of ["lost", "duplicates", "damaged", "breaches"] as const) t.notOk(pass({ [what]: 1 }), what);
  t.notOk(pass({ accepted: 9 }), "not all was accepted");
  t.ok(pass({ server: "postfix", breaches: 1 }), "what a peer does to the receivers is no fault of ours");
  t.ok(pass({ repeatsAfterLostReply: 1, bounced: 1 }));
});

test("a copy from another address than the log names is wrong, and so is one that the log does not name", async (t) => {
  const receipts = ["a", "b", "c", "d"].map((queueId, i) => ({
    queueId,
    recipient: "u@d0.example",
    sourceAddress: i < 2 ? "127.20.0.1" : "127.20.0.2",
  }));
  const events = ["a", "b", "c"].map((queueId) => ({
    kind: "delivery",
    queueId,
    forwardPath: "u@d0.example",
    source: queueId === "b" ? "s1" : queueId === "a" ? "s0" : "s1",
  }));
  t.match(sourcesReport({ sources: 2 }, receipts, events), { addresses: 2, wrongAddress: 2 });
});

test("a server that ends in the midst ends the run, with its last words", async (t) => {
  const ended = Promise.resolve("Postern ended (SIGKILL)");
  await t.rejects(whileItRuns({ ended }, new Promise(() => undefined)), /in the midst of the run Postern ended/i);
  t.equal(await whileItRuns({ ended: new Promise(() => undefined) }, Promise.resolve(7)), 7);
});

test("a report says what was changed of its scenario, and that its targets were not", async (t) => {
  const [scenario] = catalog;
  if (scenario === undefined) throw new Error("no scenario");
  const targets = [{ value: "seconds", atMost: 3 }];
  const checks = loadChecks({ targets, signed: false }, [run], [], undefined, nothingTogether);
  const textWith = (changed: readonly string[]): string =>
    reportText({
      scenario: "throughput",
      about: "x",
      changed,
      at: "",
      machine: machineOf(),
      terms: termsOf({ ...scenario, receiver: { deferShare: 0.01 } }),
      runs: [run],
      pairs: [],
      checks,
    });
  t.match(textWith(["bodyBytes"]), /throughput: x \(changed here: bodyBytes\)[\s\S]*targets were set for the scenario/);
  t.notMatch(textWith(["messages"]), /targets were set/);
  t.match(textWith([]), /final reply after 0 ms, deferShare 0\.01\n/);
});

test("the page holds its charts and nothing from elsewhere, and text from outside stays text", async (t) => {
  const [scenario] = catalog;
  if (scenario === undefined) throw new Error("no scenario");
  const report: BenchReport = {
    scenario: "throughput",
    about: "a < b",
    changed: [],
    at: "2026-01-01T00:00:00.000Z",
    machine: machineOf(),
    terms: termsOf(scenario),
    runs: [run, { ...run, server: "postfix" }],
    pairs: [{ delivered: 2, accepted: 2, cpu: 3 }],
    checks: [],
  };
  const page = reportHtml(report);
  t.ok((page.match(/<svg /g) ?? []).length >= 14);
  t.notMatch(page, /<script|https?:\/\/|src=|href=|NaN|Infinity/);
  t.match(page, /a &#60; b/);
  t.match(page, /h1&#60;script&#62;/);
  t.match(reportText(report), /pair 1: Postern delivered 2\.00 times/);
  t.match(reportText(report), /durable +each message on the disk/);
});

test("the depth of the queue counts recipients, and a run that nobody looked at has no charts of time", async (t) => {
  const pageOf = (changes: Partial<RunReport>): string =>
    reportHtml({
      scenario: "x",
      about: "x",
      changed: [],
      at: "",
      machine: machineOf(),
      terms: termsOf(catalog[0] as (typeof catalog)[number]),
      runs: [{ ...run, ...changes }],
      pairs: [],
      checks: [],
    });
  const depth = (page: string): string => /Queue depth[\s\S]*?<\/svg>/.exec(page)?.[0] ?? "";
  t.not(depth(pageOf({ recipientsPerMessage: 5 })), depth(pageOf({ recipientsPerMessage: 1 })));
  t.match(depth(pageOf({ recipientsPerMessage: 5 })), />40</, "9 messages of 5 recipients, 6 copies: 39 wait");
  t.notMatch(pageOf({ samples: [] }), /<svg/);
});

test("the ticks of an axis are all in one unit, with as many decimals as their step needs", (t) => {
  const chart = (x: number, y: number): string =>
    lineChart({ title: "t", xLabel: "", yLabel: "", series: [{ name: "a", points: [[x, y]] }] });
  const ticks = (svg: string): string[] =>
    [...svg.matchAll(/>([^<]*)<\/text>/g)].map(([, text = ""]) => text).filter((text) => text !== "");
  t.strictSame(ticks(chart(10, 2)), ["0", "0.5", "1.0", "1.5", "2.0", "0", "2", "4", "6", "8", "10"]);
  t.strictSame(ticks(chart(3, 10_000)).slice(0, 6), ["0", "2k", "4k", "6k", "8k", "10k"]);
  t.end();
});

test("a restart and what goes with a run are told, in words and charts", (t) => {
  const restart = {
    server: "postern",
    queuedRecipients: 200,
    domains: 2,
    fillSeconds: 1,
    spoolMiB: 2,
    readySeconds: 0.5,
    firstDeliverySeconds: 0.6,
    drainSeconds: 4,
    deliveredPerSecond: 50,
    memory: {
      serverPrivateMiBAtFirst: 80,
      serverFileMiBAtFirst: 1,
      serverPrivateMiBMax: 90,
      serverFileMiBMax: 2,
      serverResidentMiBMax: 92,
    },
    lost: 0,
    duplicates: 0,
    damaged: 0,
    breaches: 0,
    outOfOrder: 0,
    samples: [
      {
        atMs: 1_000,
        delivered: 100,
        deliveredPerSecond: 100,
        connections: 4,
        serverCpu: 1,
        receiversCpu: 0.1,
        serverPrivateMiB: 90,
        serverFileMiB: 2,
      },
    ],
  };
  const report: BenchReport = {
    scenario: "all at once",
    about: "x",
    changed: [],
    at: "2026-01-01T00:00:00.000Z",
    machine: machineOf(),
    terms: termsOf(catalog[0] as (typeof catalog)[number]),
    runs: [],
    restart,
    baseline: {
      scenario: "throughput",
      deliveredPerSecond: [4_000, 3_000],
      serverUsPerMessage: [250, 300],
      deliveredShare: 0.9,
    },
    idleQueues: {
      queues: 1_000,
      messages: 1_100,
      bytesPerQueue: 1_800.4,
      bytesKeptPerEmptiedQueue: 900,
      heapMiBBefore: 40,
      heapMiBWaiting: 60,
      privateMiBBefore: 90,
      privateMiBWaiting: 110,
    },
    pairs: [],
    checks: [],
  };
  const page = reportHtml(report);
  t.equal((page.match(/<svg /g) ?? []).length, 5);
  t.notMatch(page, /NaN|Infinity|undefined/);
  const text = reportText(report);
  t.match(text, "throughput, before and after: 4000 and 3000 delivered a second, 250 and 300 us a message; here 90 %");
  t.match(text, /queues that wait for a retry +1000, with 1100 messages\n +heap of each +1800 octets/);
  t.end();
});

test("charts of nothing, of one point and of zeros are charts all the same", async (t) => {
  for (const points of [[], [[0, 0]], [[1, 5]]] as const) {
    const svg = lineChart({ title: "x", xLabel: "s", yLabel: "y", series: [{ name: "a", points }] });
    t.notMatch(svg, /NaN|Infinity/);
  }
  t.notMatch(
    lineChart({ title: "x", xLabel: "s", yLabel: "y", logarithmic: true, series: [{ name: "a", points: [[0, 0]] }] }),
    /NaN|Infinity/,
  );
  t.notMatch(barChart("x", [["a", 0]], "s"), /NaN|Infinity/);
});

test("the CPU time of a process tree is at least that of its root", async (t) => {
  const own = cpuOf(process.pid);
  const tree = cpuOfTree(process.pid);
  t.ok(own.userSeconds > 0);
  t.ok(tree.userSeconds + tree.systemSeconds >= own.userSeconds + own.systemSeconds);
  t.ok(treeOf(process.pid).includes(process.pid));
  t.ok(residentParts(process.pid).anonymousMiB > 5);
  t.strictSame(cpuOf(2 ** 30), { userSeconds: 0, systemSeconds: 0 });
});
