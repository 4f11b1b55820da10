// The report as one page that needs nothing else: its charts are SVG, its style is in it.

import type { Latency } from "../audit.ts";
import type { Percentiles } from "../source/load-plan.ts";
import type { BenchReport, RestartReport, RestartSample, RunReport, Sample } from "./report.ts";
import { barChart, escapeHtml, lineChart, type Series } from "./svg-chart.ts";
import { reportText } from "./text.ts";

const operatorsMax = 20;
const percentileTicks = [
  [0, "p50"],
  [1, "p90"],
  [2, "p99"],
  [3, "p99.9"],
  [4, "max"],
] as const;

const style = `
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --line: #d0d7de; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; } }
body { margin: 2rem auto; max-width: 1200px; padding: 0 1rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; padding: 1rem; font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 1rem; align-items: start; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .75rem; }
figcaption { font-weight: 600; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
.legend { font-weight: 400; display: inline-flex; flex-wrap: wrap; gap: .75rem; }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .3em; background: var(--key); border-radius: 2px; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 11px; } .grid { stroke: var(--line); }`;

export function reportHtml(report: BenchReport): string {
  const title = `Postern: ${report.scenario}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>${style}
</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(report.about)} (${escapeHtml(report.at)})</p>
<pre>${escapeHtml(reportText(report).trim())}</pre>
${report.restart === undefined ? "" : `<h2>After the kill</h2>\n<div class="charts">${restartCharts(report.restart)}</div>`}
${report.runs.length > 1 ? `<h2>Side by side</h2>\n<div class="charts">${sideBySide(report.runs)}</div>` : ""}
${report.runs.map(runSection).join("\n")}
</body>
</html>
`;
}

function restartCharts({ readySeconds, firstDeliverySeconds, drainSeconds, samples }: RestartReport): string {
  const over = (name: string, pick: (sample: RestartSample) => number): Series => overTime(name, samples, pick);
  const chart = (title: string, yLabel: string, ...series: readonly Series[]): string =>
    lineChart({ title, xLabel: "seconds from the start of the process", yLabel, series });
  const steps = [
    ["ready", readySeconds],
    ["first delivery", firstDeliverySeconds],
    ["all delivered", drainSeconds],
  ] as const;
  return [
    chart(
      "Delivered",
      "a second",
      over("delivered", ({ deliveredPerSecond }) => deliveredPerSecond),
    ),
    chart(
      "CPU",
      "cores",
      over("postern", ({ serverCpu }) => serverCpu),
      over("receivers", ({ receiversCpu }) => receiversCpu),
    ),
    chart(
      "Memory",
      "MiB",
      over("private", ({ serverPrivateMiB }) => serverPrivateMiB),
      over("mapped files", ({ serverFileMiB }) => serverFileMiB),
    ),
    chart(
      "Connections to receivers",
      "open",
      over("open", ({ connections }) => connections),
    ),
    barChart("From the start of the process", steps, "s"),
  ].join("\n");
}

/** Empty where nobody looked on: the tools of Postfix tell their numbers at the end. */
function runSection(run: RunReport, i: number): string {
  if (run.samples.length === 0) return "";
  return `<h2>Run ${i + 1}: ${escapeHtml(run.server)}</h2>\n<div class="charts">${runCharts(run)}</div>`;
}

function sideBySide(runs: readonly RunReport[]): string {
  const nameOf = (run: RunReport): string => `${run.server} (${runs.indexOf(run) + 1})`;
  // In the colours of the lines beside them.
  const bars = (title: string, unit: string, pick: (run: RunReport) => number): string =>
    barChart(
      title,
      runs.map((run) => [nameOf(run), pick(run)] as const),
      unit,
      "each",
    );
  const lines = [
    lineChart({
      title: "Delivered",
      xLabel: "seconds",
      yLabel: "copies",
      series: runs.map((run) => overTime(nameOf(run), run.samples, ({ delivered }) => delivered)),
    }),
    lineChart({
      title: "From the sender's 250 to the receiver's",
      xLabel: "share of the messages",
      yLabel: "milliseconds",
      logarithmic: true,
      xTicks: percentileTicks,
      series: runs.map((run) => percentileLine(nameOf(run), run.acceptToDelivery)),
    }),
  ];
  return [
    ...(runs.some(({ samples }) => samples.length > 0) ? lines : []),
    bars("Delivered a second", "messages", ({ deliveredPerSecond }) => deliveredPerSecond),
    bars("CPU of the server", "us a message", ({ cpu }) => cpu.serverUsPerMessage),
    bars("Private memory, at most", "MiB", ({ memory }) => memory.serverPrivateMiBMax),
  ].join("\n");
}

function runCharts(run: RunReport): string {
  const { samples } = run;
  const acceptedRecipients = ({ accepted }: Sample): number => accepted * run.recipientsPerMessage;
  const charts = [
    lineChart({
      title: "Accepted and delivered",
      xLabel: "seconds",
      yLabel: "recipients a second",
      series: [
        rateOver("accepted", samples, acceptedRecipients),
        rateOver("delivered", samples, ({ delivered }) => delivered),
      ],
    }),
    lineChart({
      title: "Queue depth",
      xLabel: "seconds",
      yLabel: "recipients accepted, not yet delivered",
      series: [overTime("waiting", samples, (sample) => Math.max(0, acceptedRecipients(sample) - sample.delivered))],
    }),
    lineChart({
      title: "Latency",
      xLabel: "share of the messages",
      yLabel: "milliseconds",
      logarithmic: true,
      xTicks: percentileTicks,
      series: [
        percentileLine("connect to greeting", run.greeting),
        percentileLine("connect to first 250", run.connectTo250),
        percentileLine("final dot to 250", run.finalDot),
        percentileLine("250 to delivery", run.acceptToDelivery),
      ].filter(({ points }) => points.some(([, y]) => y > 0)),
    }),
    lineChart({
      title: "CPU",
      xLabel: "seconds",
      yLabel: "cores",
      series: [
        overTime(run.server, samples, ({ serverCpu }) => serverCpu),
        overTime("source", samples, ({ sourceCpu }) => sourceCpu),
        overTime("receivers", samples, ({ receiversCpu }) => receiversCpu),
      ],
    }),
    lineChart({
      title: "Memory",
      xLabel: "seconds",
      yLabel: "MiB",
      series: [
        overTime(`${run.server}, private`, samples, ({ serverPrivateMiB }) => serverPrivateMiB),
        overTime(`${run.server}, mapped files`, samples, ({ serverFileMiB }) => serverFileMiB),
        overTime("source", samples, ({ sourceMiB }) => sourceMiB),
        overTime("receivers", samples, ({ receiversMiB }) => receiversMiB),
      ],
    }),
    lineChart({
      title: "Connections to receivers",
      xLabel: "seconds",
      yLabel: "open",
      series: [overTime("open", samples, ({ connections }) => connections)],
    }),
  ];
  if (samples.some(({ deferrals }) => deferrals > 0)) {
    charts.push(
      lineChart({
        title: "Deferrals",
        xLabel: "seconds",
        yLabel: "a second",
        series: [rateOver("deferrals", samples, ({ deferrals }) => deferrals)],
      }),
    );
  }
  if (samples.some(({ loopLagMs }) => loopLagMs !== undefined)) charts.push(loopAndSpool(samples));
  if (run.deferralsByOperator.length > 0) {
    const bars = run.deferralsByOperator
      .slice(0, operatorsMax)
      .map(({ operator, deferrals }) => [operator, deferrals] as const);
    const more = run.deferralsByOperator.length - bars.length;
    charts.push(barChart(`Deferrals by operator${more > 0 ? ` (and ${more} more operators)` : ""}`, bars, ""));
  }
  return charts.join("\n");
}

function loopAndSpool(samples: readonly Sample[]): string {
  return [
    lineChart({
      title: "Event loop",
      xLabel: "seconds",
      yLabel: "worst delay, ms",
      series: [overTime("lag", samples, ({ loopLagMs }) => loopLagMs ?? 0)],
    }),
    lineChart({
      title: "Spool",
      xLabel: "seconds",
      yLabel: "MiB",
      series: [
        overTime("file", samples, ({ spoolFileMiB }) => spoolFileMiB ?? 0),
        overTime("live", samples, ({ spoolLiveMiB }) => spoolLiveMiB ?? 0),
      ],
    }),
  ].join("\n");
}

function overTime<Of extends { readonly atMs: number }>(
  name: string,
  samples: readonly Of[],
  pick: (sample: Of) => number,
): Series {
  return { name, points: samples.map((sample) => [sample.atMs / 1_000, pick(sample)] as const) };
}

function rateOver(name: string, samples: readonly Sample[], pick: (sample: Sample) => number): Series {
  const points = samples.map((sample, i): readonly [number, number] => {
    const before = samples[i - 1];
    const spanMs = sample.atMs - (before?.atMs ?? 0);
    return [
      sample.atMs / 1_000,
      ((pick(sample) - (before === undefined ? 0 : pick(before))) * 1_000) / Math.max(1, spanMs),
    ];
  });
  return { name, points };
}

function percentileLine(name: string, { p50Ms, p90Ms, p99Ms, p999Ms, maxMs }: Percentiles | Latency): Series {
  return { name, points: [p50Ms, p90Ms, p99Ms, p999Ms, maxMs].map((value, i) => [i, value] as const) };
}
