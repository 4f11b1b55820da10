// `npm run crash -- --cycles N`: kills Postern under load and holds the senders' 250s against the receivers' copies.
//
// Each cycle starts Postern on the same spool, lets mail flow in and out, and kills it with SIGKILL: at a random moment,
// or (where strace is there) exactly at the K-th fdatasync or pwrite64. A clean run at the end drains what is left.
// Lost mail or a duplicate that no final dot in flight explains gives exit status 1.

import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { answeredBeforeKillMs, causeOf, type Duplicate } from "./audit.ts";
import { Box, endOnSignals } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import { type PosternEnd, type PosternProcess, repositoryRoot } from "./postern-process.ts";
import type { Override } from "./run-config.ts";
import { type Chance, seededChance } from "./sink/chance.ts";
import { openOperator } from "./sink/operator.ts";
import { plainTexts } from "./sink/reply-texts.ts";
import type { OperatorSetup } from "./sink/sink-server.ts";

interface CrashOptions {
  readonly cycles: number;
  readonly rate: number;
  readonly seed: number;
  readonly windowMs: number;
  readonly json: string | undefined;
  readonly keep: boolean;
}

type KillPoint =
  | { readonly kind: "moment"; readonly afterMs: number }
  | { readonly kind: "system-call"; readonly call: "fdatasync" | "pwrite64"; readonly count: number };

interface Cycle {
  readonly point: KillPoint;
  /** What really ended it: an aimed kill that did not come in time is done by hand. */
  readonly hit: "moment" | "fdatasync" | "pwrite64";
  readonly startMs: number;
  readonly at: number;
}

interface Report {
  readonly ok: boolean;
  readonly problems: readonly string[];
  readonly cycles: number;
  readonly kills: { readonly moment: number; readonly fdatasync: number; readonly pwrite64: number };
  readonly accepted: number;
  readonly delivered: number;
  readonly bounced: number;
  readonly uncertain: number;
  readonly lost: number;
  readonly duplicatesExplained: number;
  readonly duplicatesUnexplained: number;
  /** Of the explained ones: how long before the kill a 250 had left at most. It must be well below the window. */
  readonly answeredBeforeKillMaxMs: number;
  readonly damaged: number;
  readonly bouncesUnwarranted: number;
  readonly eventRepeats: number;
  readonly eventsDamaged: number;
  readonly startMsMedian: number;
  readonly startMsMax: number;
  readonly seconds: number;
}

const folder = join(repositoryRoot, "var/crash");
const template = join(repositoryRoot, "conf/demo.yaml");
const readyTimeoutMs = 30_000;
const drainTimeoutMs = 120_000;
const quietMs = 1_000;
const pollMs = 200;
/** A kill by hand comes so long after readiness. */
const momentMsMin = 5;
const momentMsMax = 900;
/** An aimed kill that has not come by then is done by hand. */
const aimedTimeoutMs = 1_500;
const aimedShare = 0.4;
const aimedCountMax = 60;
/** How long an outcome may take from the receiver's 250 to the disk. */
const uncertainOutcomeMs = 250;
const runId = "crash";

function crashOptions(): CrashOptions {
  const { values } = parseArgs({
    options: {
      cycles: { type: "string", default: "20" },
      rate: { type: "string", default: "300" },
      seed: { type: "string", default: "1" },
      window: { type: "string", default: String(uncertainOutcomeMs) },
      json: { type: "string" },
      keep: { type: "boolean", default: false },
    },
  });
  const whole = (name: "cycles" | "rate" | "seed" | "window"): number => {
    const value = Number(values[name]);
    if (Number.isInteger(value) && value >= 1) return value;
    process.stderr.write(`crash: --${name} needs a whole number above 0\n`);
    process.exit(2);
  };
  return {
    cycles: whole("cycles"),
    rate: whole("rate"),
    seed: whole("seed"),
    windowMs: whole("window"),
    json: values.json,
    keep: values.keep,
  };
}

/** Fast receivers, slow ones (so that final dots are in flight at the kill), and one that defers. */
const receivers: readonly { readonly name: string; readonly medianMs: number; readonly deferShare: number }[] = [
  { name: "fast", medianMs: 0, deferShare: 0 },
  { name: "slow", medianMs: 40, deferShare: 0 },
  { name: "slower", medianMs: 200, deferShare: 0 },
  { name: "moody", medianMs: 5, deferShare: 0.2 },
];

function operators(): OperatorSetup[] {
  return receivers.map(({ name, medianMs, deferShare }, i) => ({
    profile: {
      ...openOperator,
      name,
      texts: plainTexts,
      deferShare,
      finalDotDelay: medianMs === 0 ? undefined : { medianMs, sigma: 0.5, maxMs: 10 * medianMs },
    },
    hostName: `mx.${name}.example`,
    addresses: [`127.11.${i + 1}.1`],
  }));
}

function zone(): Record<string, { mx?: { preference: number; exchange: string }[]; a?: string[] }> {
  const entries: ReturnType<typeof zone> = {};
  for (const { hostName, addresses } of operators()) {
    entries[hostName.replace(/^mx\./, "")] = { mx: [{ preference: 10, exchange: hostName }] };
    entries[hostName] = { a: [...addresses] };
  }
  return entries;
}

const overrides: readonly Override[] = [
  [["signing"], []],
  [["sites"], { defaults: { connections_max: 8, connection_rate: "unlimited", rate: "unlimited" } }],
  [
    ["streams", "news", "retry"],
    ["500ms", "1s"],
  ],
];

async function main(): Promise<void> {
  const options = crashOptions();
  endOnSignals();
  const { seed } = options;
  await using box = await Box.open({
    folder,
    template,
    overrides,
    operators: operators(),
    zone: zone(),
    seed,
    usualPorts: false,
  });
  const strace = canAim();
  if (!strace) process.stdout.write("strace is missing or may not trace here: kills at system calls are skipped\n");

  const startedAt = epochMs();
  const load = startLoad(box, options);
  const cycles = await killAgainAndAgain(box, options, strace);
  await box.stopLoad(runId);
  await load;
  const problems = await drain(box);
  const report = await audit(box, options, cycles, problems, (epochMs() - startedAt) / 1_000);

  process.stdout.write(reportText(report));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  if (report.ok && !options.keep) rmSync(join(folder, "spool"), { recursive: true, force: true });
  else process.stdout.write(`The spool is in ${join(folder, "spool")}, the log in ${box.logFile}\n`);
  process.exitCode = report.ok ? 0 : 1;
}

/** The load goes on through all cycles; its sessions connect again when Postern is back. */
function startLoad(box: Box, options: CrashOptions): Promise<unknown> {
  return box.load({
    runId,
    target: box.submission,
    messages: Number.MAX_SAFE_INTEGER,
    sessions: 12,
    messagesPerSession: 50,
    ratePerSecond: options.rate,
    bodyBytes: 6_000,
    recipientsPerMessage: 2,
    reversePath: "news@shop.example",
    domains: receivers.map(({ name }) => ({ domain: `${name}.example`, weight: 1 })),
    stream: "news",
    dotLines: true,
    seed: options.seed,
  });
}

async function killAgainAndAgain(box: Box, options: CrashOptions, strace: boolean): Promise<Cycle[]> {
  const chance = seededChance(options.seed);
  const cycles: Cycle[] = [];
  for (let no = 1; no <= options.cycles; no++) {
    const cycle = await killOnce(box, drawKillPoint(chance, strace));
    cycles.push(cycle);
    await box.poll();
    const { accepted, delivered, open } = box.audit.tally();
    process.stdout.write(
      `cycle ${String(no).padStart(3)} of ${options.cycles}: killed at ${describe(cycle)}, ready after ${cycle.startMs.toFixed(0)} ms;  ` +
        `accepted ${accepted}  delivered ${delivered}  waiting ${open}\n`,
    );
  }
  return cycles;
}

function drawKillPoint(chance: Chance, strace: boolean): KillPoint {
  if (!strace || chance() >= aimedShare) {
    return { kind: "moment", afterMs: momentMsMin + chance() * (momentMsMax - momentMsMin) };
  }
  const call = chance() < 0.6 ? "fdatasync" : "pwrite64";
  return { kind: "system-call", call, count: 1 + Math.floor(chance() * aimedCountMax) };
}

async function killOnce(box: Box, point: KillPoint): Promise<Cycle> {
  const startedAt = epochMs();
  const postern = box.startPostern(point.kind === "system-call" ? straceAt(point.call, point.count) : undefined);
  const ready = await postern.ready(readyTimeoutMs);
  const startMs = epochMs() - startedAt;
  // An aimed kill may come while it starts; any other end at this point is a fault of Postern.
  if (!ready && (await postern.ended).signal !== "SIGKILL") {
    throw new Error(`Postern ended at its start\n${postern.logTail()}`);
  }
  const end = point.kind === "moment" ? await killAfter(postern, point.afterMs) : await killedAt(postern);
  if (end.signal !== "SIGKILL")
    throw new Error(`Postern ended by itself (${end.signal ?? end.code})\n${postern.logTail()}`);
  const byHand = point.kind === "moment" || end.byHand;
  return { point, hit: byHand ? "moment" : point.call, startMs, at: end.at };
}

async function killAfter(postern: PosternProcess, afterMs: number): Promise<PosternEnd & { readonly byHand: boolean }> {
  await pause(afterMs);
  postern.kill("SIGKILL");
  return { ...(await postern.ended), byHand: true };
}

async function killedAt(postern: PosternProcess): Promise<PosternEnd & { readonly byHand: boolean }> {
  const timer = setTimeout(() => postern.kill("SIGKILL"), aimedTimeoutMs);
  const startedAt = epochMs();
  const end = await postern.ended;
  clearTimeout(timer);
  return { ...end, byHand: end.at - startedAt >= aimedTimeoutMs };
}

/**
 * strace -D stays in the background, so that the pid is Postern's own. The count is per thread. (With --seccomp-bpf it
 * would cost less, but strace 6.1 then injects nothing.)
 */
function straceAt(call: "fdatasync" | "pwrite64", count: number): readonly string[] {
  const inject = `inject=${call}:signal=SIGKILL:when=${count}`;
  return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", `trace=${call}`, "-e", inject];
}

function canAim(): boolean {
  const [command, ...rest] = straceAt("fdatasync", 1);
  const tried = spawnSync(command as string, [...rest, "true"], { stdio: "ignore", timeout: 5_000 });
  return tried.error === undefined && tried.status === 0;
}

/** The final clean run: everything promised must get out. Returns what went wrong. */
async function drain(box: Box): Promise<string[]> {
  const postern = box.startPostern();
  if (!(await postern.ready(readyTimeoutMs))) throw new Error(`Postern ended at its last start\n${postern.logTail()}`);
  const until = epochMs() + drainTimeoutMs;
  let quietSince: number | undefined;
  while (epochMs() < until) {
    const { receipts } = await box.poll();
    if (box.audit.tally().open > 0 || receipts.length > 0) quietSince = undefined;
    else quietSince ??= epochMs();
    if (quietSince !== undefined && epochMs() - quietSince >= quietMs) break;
    await pause(pollMs);
  }
  const problems = quietSince === undefined ? [`not drained within ${drainTimeoutMs / 1_000} s`] : [];
  if (!(await postern.stop(readyTimeoutMs))) problems.push("Postern did not end by itself after the last run");
  await box.poll();
  return problems;
}

async function audit(
  box: Box,
  options: CrashOptions,
  cycles: readonly Cycle[],
  drainProblems: readonly string[],
  seconds: number,
): Promise<Report> {
  const kills = cycles.map(({ at }) => at);
  const { accepted, delivered, bounced, open } = box.audit.tally();
  const duplicates = box.audit.duplicates();
  const unexplained = duplicates.filter((one) => causeOf(one, kills, options.windowMs) === "unexplained");
  const explained = duplicates.filter((one) => !unexplained.includes(one));
  const problems = [...drainProblems];
  for (const { queueId, recipient } of box.audit.open().slice(0, 10)) problems.push(`lost: ${queueId} to ${recipient}`);
  for (const one of unexplained.slice(0, 10)) problems.push(describeDuplicate(one, kills));
  const { damaged } = box.audit;
  if (damaged > 0) problems.push(`${damaged} bodies were changed`);
  // No receiver here refuses anything for good.
  if (bounced > 0) problems.push(`${bounced} recipients were given up without need`);
  if (box.eventsDamaged > 0) problems.push(`${box.eventsDamaged} lines of the delivery log are not JSON`);
  const starts = cycles.map(({ startMs }) => startMs).sort((one, other) => one - other);
  const hits = (hit: Cycle["hit"]): number => cycles.filter((cycle) => cycle.hit === hit).length;
  return {
    ok: problems.length === 0,
    problems,
    cycles: cycles.length,
    kills: { moment: hits("moment"), fdatasync: hits("fdatasync"), pwrite64: hits("pwrite64") },
    accepted,
    delivered,
    bounced,
    uncertain: (await box.uncertain(runId)).length,
    lost: open,
    duplicatesExplained: explained.length,
    duplicatesUnexplained: unexplained.length,
    answeredBeforeKillMaxMs: Math.max(0, ...explained.map((one) => answeredBeforeKillMs(one, kills))),
    damaged,
    bouncesUnwarranted: bounced,
    eventRepeats: box.eventRepeats,
    eventsDamaged: box.eventsDamaged,
    startMsMedian: starts[Math.floor(starts.length / 2)] ?? 0,
    startMsMax: starts.at(-1) ?? 0,
    seconds,
  };
}

/** Each copy by when its dot and its 250 were, and the kill that came next. */
function describeDuplicate({ benchId, recipient, copies }: Duplicate, kills: readonly number[]): string {
  const first = Math.min(...copies.map(({ dotAt }) => dotAt));
  const since = (at: number | undefined): string => (at === undefined ? "never" : `+${(at - first).toFixed(0)} ms`);
  const told = copies.map(({ dotAt, repliedAt }) => {
    const kill = kills.find((at) => at >= dotAt);
    return `dot ${since(dotAt)}, 250 ${since(repliedAt)}, next kill ${since(kill)}`;
  });
  return `unexplained copies of ${benchId} to ${recipient}: ${told.join("; ")}`;
}

function describe(cycle: Cycle): string {
  if (cycle.hit !== "moment")
    return `${cycle.hit} ${cycle.point.kind === "system-call" ? cycle.point.count : ""}`.padEnd(12);
  return cycle.point.kind === "moment" ? `${cycle.point.afterMs.toFixed(0)} ms`.padEnd(12) : "time-out".padEnd(12);
}

function reportText(report: Report): string {
  const { kills } = report;
  return [
    "",
    `  kills                   ${report.cycles}   (random moment ${kills.moment}, at fdatasync ${kills.fdatasync}, at pwrite64 ${kills.pwrite64})`,
    `  accepted                ${report.accepted} recipients with a 250, and ${report.uncertain} messages whose 250 never came`,
    `  delivered               ${report.delivered}`,
    `  lost                    ${report.lost}`,
    `  duplicates explained    ${report.duplicatesExplained}   (a final dot was in flight at a kill, RFC 1047; longest from 250 to kill ${report.answeredBeforeKillMaxMs.toFixed(0)} ms)`,
    `  duplicates unexplained  ${report.duplicatesUnexplained}`,
    `  bodies changed          ${report.damaged}`,
    `  delivery log            ${report.eventRepeats} events repeated, ${report.eventsDamaged} lines damaged`,
    `  start to ready          median ${report.startMsMedian.toFixed(0)} ms, longest ${report.startMsMax.toFixed(0)} ms`,
    `  ${report.seconds.toFixed(0)} s`,
    "",
    ...report.problems.map((problem) => `  PROBLEM: ${problem}`),
    report.ok ? "  Nothing lost; every duplicate explained." : "  The crash test failed.",
    "",
  ].join("\n");
}

await main().catch((error: unknown) => {
  process.stderr.write(`crash: ${(error as Error).message}\n`);
  process.exit(1);
});
