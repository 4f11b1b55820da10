// The report as a table for people, and the line that shows how far a run is.

import type { Latency } from "../audit.ts";
import type { Percentiles } from "../source/load-plan.ts";
import type { BenchReport, IdleQueueReport, RestartReport, RunReport, Sample } from "./report.ts";

/** Plain lines come this far apart where the output is no terminal. */
const plainLineEveryMs = 2_000;

/** Shows the progress of a run: one line that changes on a terminal, a line now and then elsewhere. */
export class Progress {
  readonly #out: NodeJS.WriteStream;
  #title = "";
  #last: Sample | undefined;
  #writtenAtMs = Number.NEGATIVE_INFINITY;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  begin(title: string): void {
    this.#title = title;
    this.#last = undefined;
    this.#writtenAtMs = Number.NEGATIVE_INFINITY;
  }

  /** Says how far it is after `atMs`, unless that was said a moment ago and nobody sees a line change. */
  note(atMs: number, text: string): void {
    const isTerminal = this.#out.isTTY === true;
    if (!isTerminal && atMs - this.#writtenAtMs < plainLineEveryMs) return;
    const line = `${this.#title}  ${(atMs / 1_000).toFixed(1)} s  ${text}`;
    this.#out.write(isTerminal ? `\r\x1b[2K${line}` : `${line}\n`);
    this.#writtenAtMs = atMs;
  }

  show(sample: Sample, wanted: number): void {
    const before = this.#last;
    if (this.#out.isTTY !== true && sample.atMs - this.#writtenAtMs < plainLineEveryMs) return;
    const spanMs = sample.atMs - (before?.atMs ?? 0);
    const perSecond = (pick: (of: Sample) => number): string =>
      (((pick(sample) - (before === undefined ? 0 : pick(before))) * 1_000) / Math.max(1, spanMs)).toFixed(0);
    this.note(
      sample.atMs,
      `accepted ${sample.accepted} (${perSecond((of) => of.accepted)}/s)  ` +
        `delivered ${sample.delivered} of ${wanted} (${perSecond((of) => of.delivered)}/s)  deferrals ${sample.deferrals}  ` +
        `CPU ${(100 * sample.serverCpu).toFixed(0)} %  ${sample.serverPrivateMiB.toFixed(0)} MiB`,
    );
    this.#last = sample;
  }

  end(): void {
    if (this.#out.isTTY === true) this.#out.write("\r\x1b[2K");
  }
}

export function reportText(report: BenchReport): string {
  const { machine, terms } = report;
  const lines = [
    "",
    `${report.scenario}: ${report.about}${changedText(report)}`,
    "",
    ...rows([
      ["durable", terms.durable],
      ["signed", terms.signed],
      ["encrypted", terms.encrypted],
      ["message", terms.message],
      ["load", terms.load],
      ["receivers", terms.receivers],
      [
        "machine",
        `${machine.cores} cores (${machine.processor}), ${machine.memoryMiB} MiB, Linux ${machine.kernel}, Node ${machine.node}, load before ${machine.loadBefore.toFixed(2)}`,
      ],
    ]),
    "",
  ];
  if (report.runs.length > 0) lines.push(...runTable(report.runs), "");
  if (report.baseline !== undefined) {
    const { scenario, deliveredPerSecond, serverUsPerMessage, deliveredShare } = report.baseline;
    const list = (values: readonly number[]): string => values.map((value) => value.toFixed(0)).join(" and ");
    lines.push(
      `  ${scenario}, before and after: ${list(deliveredPerSecond)} delivered a second, ${list(serverUsPerMessage)} us a message; ` +
        `here ${(100 * deliveredShare).toFixed(0)} % of that rate`,
      "",
    );
  }
  if (report.idleQueues !== undefined) lines.push(...idleQueueLines(report.idleQueues), "");
  if (report.restart !== undefined) lines.push(...restartLines(report.restart), "");
  for (const [i, { delivered, accepted, cpu }] of report.pairs.entries()) {
    lines.push(
      `  pair ${i + 1}: Postern delivered ${delivered.toFixed(2)} times as much a second, accepted ${accepted.toFixed(2)} times, ` +
        `and the peer took ${cpu.toFixed(2)} times its CPU`,
    );
  }
  if (report.pairs.length > 0) lines.push("");
  for (const { server, value, bound, found, met } of report.checks) {
    const value2 = found === undefined ? "not measured" : short(found);
    lines.push(`  ${met ? "met    " : "NOT MET"}  ${server}  ${value}: ${value2} (${bound})`);
  }
  if (report.checks.length > 0 && changesTargets(report)) {
    lines.push("  These targets were set for the scenario as it stands.");
  }
  if (report.checks.length > 0) lines.push("");
  const notes = report.runs.flatMap(({ server, notes }) => notes.map((note) => `  ${server}: ${note}`));
  lines.push(...new Set(notes));
  for (const { server, problem } of report.runs) {
    if (problem !== undefined) lines.push(`  ${server}: the source met a problem: ${problem}`);
  }
  return `${lines.join("\n")}\n`;
}

function changedText({ changed }: BenchReport): string {
  return changed.length === 0 ? "" : ` (changed here: ${changed.join(", ")})`;
}

/** How many messages there are does not make a target another one. */
function changesTargets({ changed }: BenchReport): boolean {
  return changed.some((name) => name !== "messages" && name !== "warmUpMessages");
}

function runTable(runs: readonly RunReport[]): string[] {
  const spans = ({ count, p50Ms, p99Ms, maxMs }: Percentiles | Latency): string =>
    count === 0 ? "-" : `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)} / ${maxMs.toFixed(1)}`;
  const row = (name: string, cell: (run: RunReport) => string): string[] => [name, ...runs.map(cell)];
  const table = [
    row("", ({ server }) => server),
    row("accepted", ({ accepted, messages }) => `${accepted} of ${messages}`),
    row("delivered", ({ delivered, messages, recipientsPerMessage: each }) =>
      each === 1 ? String(delivered) : `${delivered} of ${messages * each} copies`,
    ),
    row("lost, twice, damaged", ({ lost, duplicates, damaged }) => `${lost}, ${duplicates}, ${damaged}`),
    row("receivers' limits broken", ({ breaches }) => String(breaches)),
    ...(runs.some(({ refused, bounced }) => refused + bounced > 0)
      ? [row("refused to the source, bounced", ({ refused, bounced }) => `${refused}, ${bounced}`)]
      : []),
    ...(runs.some(({ repeatsAfterLostReply }) => repeatsAfterLostReply > 0)
      ? [row("again after a lost reply", ({ repeatsAfterLostReply }) => String(repeatsAfterLostReply))]
      : []),
    row("seconds", ({ seconds }) => seconds.toFixed(2)),
    row("accepted a second", ({ acceptedPerSecond }) => acceptedPerSecond.toFixed(0)),
    row("delivered a second", ({ deliveredPerSecond }) => deliveredPerSecond.toFixed(0)),
    row("  without first and last tenth", (run) => run.deliveredPerSecondSteady.toFixed(0)),
    row("  MiB a second", ({ deliveredMiBPerSecond }) => deliveredMiBPerSecond.toFixed(1)),
    row("connect to greeting (p50/p99/max ms)", ({ greeting }) => spans(greeting)),
    row("connect to first 250", ({ connectTo250 }) => spans(connectTo250)),
    row("final dot to 250", ({ finalDot }) => spans(finalDot)),
    row("250 to delivery", ({ acceptToDelivery }) => spans(acceptToDelivery)),
    row("server CPU us a message", ({ cpu }) => cpu.serverUsPerMessage.toFixed(0)),
    row(
      "  user, system",
      ({ cpu }) => `${cpu.serverUserUsPerMessage.toFixed(0)}, ${cpu.serverSystemUsPerMessage.toFixed(0)}`,
    ),
    row(
      "source, receivers CPU us",
      ({ cpu }) => `${cpu.sourceUsPerMessage.toFixed(0)}, ${cpu.receiversUsPerMessage.toFixed(0)}`,
    ),
    row("server private MiB, at most", ({ memory }) => memory.serverPrivateMiBMax.toFixed(0)),
    row(
      "  growth, mapped file pages",
      ({ memory }) => `${memory.serverPrivateGrowthMiB.toFixed(0)}, ${memory.serverFileMiBMax.toFixed(0)}`,
    ),
  ];
  if (runs.some(({ cpu }) => cpu.bareSignatureUs !== undefined)) {
    table.push(row("a bare RSA-2048 signature, CPU us", ({ cpu }) => cpu.bareSignatureUs?.toFixed(0) ?? ""));
  }
  if (runs.some(({ eventLoopLagMs }) => eventLoopLagMs !== undefined)) {
    table.push(
      row("event loop lag (p50/p99/max ms)", ({ eventLoopLagMs: lag }) =>
        lag === undefined ? "" : `${lag.p50.toFixed(1)} / ${lag.p99.toFixed(1)} / ${lag.max.toFixed(1)}`,
      ),
      row("spool commit (p50/p99 ms)", ({ commitMs }) =>
        commitMs === undefined ? "" : `${commitMs.p50.toFixed(1)} / ${commitMs.p99.toFixed(1)}`,
      ),
      row("spool file, most live MiB", ({ spool }) =>
        spool === undefined ? "" : `${spool.fileMiB.toFixed(0)}, ${spool.liveMiBMax.toFixed(0)}`,
      ),
    );
  }
  if (runs.some(({ sources }) => sources !== undefined)) {
    table.push(
      row("source addresses seen, wrong ones", ({ sources }) =>
        sources === undefined ? "" : `${sources.addresses}, ${sources.wrongAddress}`,
      ),
      row("largest error of a share", ({ sources }) =>
        sources === undefined ? "" : `${(100 * sources.shareErrorMax).toFixed(1)} %`,
      ),
    );
  }
  return rows(table);
}

function idleQueueLines(idle: IdleQueueReport): string[] {
  return rows([
    ["queues that wait for a retry", `${idle.queues}, with ${idle.messages} messages`],
    ["heap of each", `${idle.bytesPerQueue.toFixed(0)} octets`],
    ["kept of each once it is empty", `${idle.bytesKeptPerEmptiedQueue.toFixed(0)} octets (answers of DNS)`],
    ["heap MiB before, waiting", `${idle.heapMiBBefore.toFixed(1)}, ${idle.heapMiBWaiting.toFixed(1)}`],
    ["private MiB before, waiting", `${idle.privateMiBBefore.toFixed(0)}, ${idle.privateMiBWaiting.toFixed(0)}`],
  ]);
}

function restartLines(restart: RestartReport): string[] {
  return rows([
    [
      "queued recipients",
      `${restart.queuedRecipients} to ${restart.domains} domains, in ${restart.fillSeconds.toFixed(1)} s`,
    ],
    ["spool file", `${restart.spoolMiB.toFixed(0)} MiB`],
    ["ready after the start", `${restart.readySeconds.toFixed(2)} s`],
    ["first delivery", `${restart.firstDeliverySeconds.toFixed(2)} s`],
    ["all delivered", `${restart.drainSeconds.toFixed(1)} s (${restart.deliveredPerSecond.toFixed(0)} a second)`],
    [
      "private MiB at first, at most",
      `${restart.memory.serverPrivateMiBAtFirst.toFixed(0)}, ${restart.memory.serverPrivateMiBMax.toFixed(0)}`,
    ],
    [
      "mapped file MiB at first, at most",
      `${restart.memory.serverFileMiBAtFirst.toFixed(0)}, ${restart.memory.serverFileMiBMax.toFixed(0)}`,
    ],
    ["private and mapped MiB at most", restart.memory.serverResidentMiBMax.toFixed(0)],
    ["lost, twice, damaged", `${restart.lost}, ${restart.duplicates}, ${restart.damaged}`],
    ["out of order, receivers' limits broken", `${restart.outOfOrder}, ${restart.breaches}`],
  ]);
}

/** Columns of the same width, all but the first to the right where there are numbers to compare. */
function rows(table: readonly (readonly string[])[]): string[] {
  const widths = (table[0] ?? []).map((_, i) => Math.max(...table.map((row) => (row[i] ?? "").length)));
  const isTable = widths.length > 2;
  return table.map((row) => {
    const cells = row.map((cell, i) => {
      const width = widths[i] ?? 0;
      if (i > 0 && isTable) return cell.padStart(width);
      return i === 0 ? cell.padEnd(width) : cell;
    });
    return `  ${cells.join("  ")}`.trimEnd();
  });
}

function short(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 3 : 1);
}
