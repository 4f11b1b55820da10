// `npm run bench -- SCENARIO`: runs one scenario against Postern (and a peer) and says what was measured.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type BenchOptions,
  checkReportPlaces,
  checkTogether,
  helpText,
  listText,
  parseBenchOptions,
  WrongUsage,
} from "./bench-options.ts";
import { endOnSignals } from "./box.ts";
import { measureIdleQueues } from "./idle-queues.ts";
import { runLoad } from "./load-run.ts";
import { findPeer, peerNames } from "./peers/peers.ts";
import { asToolsMayRun, hasPostfixTools, runWithPostfixTools } from "./peers/postfix-tools.ts";
import { repositoryRoot } from "./postern-process.ts";
import { startPostern } from "./postern-server.ts";
import { isClean, loadChecks, restartChecks } from "./report/checks.ts";
import { bareSignatureUs, cpuWithSignatures } from "./report/cpu.ts";
import { reportHtml } from "./report/html.ts";
import type {
  BaselineReport,
  BenchReport,
  Check,
  IdleQueueReport,
  Pair,
  RestartReport,
  RunReport,
} from "./report/report.ts";
import { machineOf, termsOf } from "./report/terms.ts";
import { Progress, reportText } from "./report/text.ts";
import { runRestart } from "./restart.ts";
import { catalog, findScenario } from "./scenario/catalog.ts";
import type { Scenario } from "./scenario/scenario.ts";
import { openOperator } from "./sink/operator.ts";

const folder = join(repositoryRoot, "var", "bench");
const template = join(repositoryRoot, "conf", "bench.yaml");

async function main(): Promise<number> {
  const parsed = parseBenchOptions(process.argv.slice(2));
  switch (parsed.kind) {
    case "help":
      process.stdout.write(`${helpText}\n${listText()}`);
      return 0;
    case "list":
      process.stdout.write(listText());
      return 0;
    case "wrong":
      return wrongUsage(parsed.message);
    case "options":
      try {
        return await bench(parsed.options);
      } catch (error) {
        return failed(error);
      }
  }
}

/** What can go wrong around us is told in words; our own mistakes with the place where they were made. */
function failed(error: unknown): number {
  if (error instanceof WrongUsage) return wrongUsage(error.message);
  const isForeseen = error instanceof Error && (error.constructor === Error || "code" in error);
  process.stderr.write(`bench: ${isForeseen ? error.message : ((error as Error).stack ?? String(error))}\n`);
  return 1;
}

function wrongUsage(message: string): number {
  process.stderr.write(`bench: ${message.replace(/\.$/, "")}. See --help and --list.\n`);
  return 2;
}

async function bench(options: BenchOptions): Promise<number> {
  const found = await findScenario(options.scenario).catch((cause: Error) => {
    throw new WrongUsage(cause.message, { cause });
  });
  if (found === undefined) {
    throw new WrongUsage(
      `there is no scenario ${options.scenario}, only ${catalog.map(({ name }) => name).join(", ")}`,
    );
  }
  const scenario: Scenario = { ...found, ...options.changes };
  checkTogether(scenario, options);
  checkReportPlaces(options);
  if (options.peer !== undefined && !peerNames.includes(options.peer)) {
    throw new WrongUsage(`there is no peer ${options.peer}, only ${peerNames.join(", ")}`);
  }
  endOnSignals();
  const machine = machineOf();
  const runs: RunReport[] = [];
  const checks: Check[] = [];
  let restart: RestartReport | undefined;
  let idleQueues: IdleQueueReport | undefined;
  let baseline: BaselineReport | undefined;
  if (scenario.kind === "restart") {
    const progress = new Progress(process.stdout);
    progress.begin("postern");
    const onProgress = (atMs: number, text: string): void => progress.note(atMs, text);
    restart = await runRestart({
      scenario,
      folder,
      template,
      profileFolder: options.profile ? folder : undefined,
      keep: options.keep,
      onProgress,
    });
    progress.end();
    checks.push(...restartChecks(scenario, restart));
  } else {
    const beside = scenario.baseline === undefined ? undefined : { ...scenario.baseline, ...options.changes };
    const runBeside = async (): Promise<RunReport[]> =>
      beside === undefined ? [] : runAll(beside, { ...options, peer: undefined, profile: false });
    const besides = await runBeside();
    runs.push(...(await runAll(scenario, options)));
    besides.push(...(await runBeside()));
    if (beside !== undefined) baseline = baselineOf(beside, besides, runs);
    if (scenario.idleQueues > 0) idleQueues = await idleQueuesOf(scenario, options.keep);
    checks.push(...loadChecks(scenario, runs, pairsOf(runs), options.peer, { baseline, idleQueues }));
  }
  if (options.profile) process.stdout.write(`CPU profiles are in ${folder}\n`);
  const report: BenchReport = {
    scenario: scenario.name,
    about: scenario.about,
    changed: Object.keys(options.changes),
    at: new Date().toISOString(),
    machine,
    terms: termsOf(isWithTools(options) ? asToolsMayRun(scenario) : scenario),
    runs,
    baseline,
    idleQueues,
    restart,
    pairs: pairsOf(runs),
    checks,
  };
  process.stdout.write(reportText(report));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  if (options.html !== undefined) writeFileSync(options.html, reportHtml(report));
  return isClean(report) ? 0 : 1;
}

function isWithTools({ tools }: BenchOptions): boolean {
  return tools === "postfix" && hasPostfixTools();
}

/** Postern alone, or Postern and a peer in turn: A B A B. */
async function runAll(scenario: Scenario, options: BenchOptions): Promise<RunReport[]> {
  const peer = options.peer === undefined ? undefined : findPeer(options.peer);
  if (peer !== undefined && !peer.isInstalled()) {
    process.stdout.write(`${peer.name} is not installed: skipped. ${peer.howToInstall}\n`);
  }
  const withTools = isWithTools(options);
  if (options.tools === "postfix" && !withTools) {
    process.stdout.write(
      "smtp-source and smtp-sink are not installed: our own source and receivers take their place.\n",
    );
  }
  const isPeerHere = peer?.isInstalled() === true;
  const progress = new Progress(process.stdout);
  const runs: RunReport[] = [];
  for (let i = 0; i < (isPeerHere ? options.pairs : 1); i++) {
    for (const name of isPeerHere && peer !== undefined ? ["postern", peer.name] : ["postern"]) {
      progress.begin(name);
      const isPostern = name === "postern" || peer === undefined;
      const plan = {
        scenario: isPostern ? scenario : asPeerMayRun(scenario),
        folder,
        template,
        keep: options.keep,
        serverName: name,
        notes: isPostern ? [] : peer.notes,
        start: isPostern
          ? (box: Parameters<typeof startPostern>[0]) =>
              startPostern(box, { profileFolder: options.profile ? folder : undefined })
          : (box: Parameters<typeof startPostern>[0]) => peer.start(box, scenario),
        onSample: (...seen: Parameters<Progress["show"]>) => progress.show(...seen),
      };
      const measure = async (): Promise<RunReport> => (withTools ? runWithPostfixTools(plan) : runLoad(plan));
      runs.push(isPostern && scenario.signed ? await besideSignatures(measure) : await measure());
      progress.end();
    }
  }
  return runs;
}

async function besideSignatures(measure: () => Promise<RunReport>): Promise<RunReport> {
  const before = bareSignatureUs();
  const run = await measure();
  return { ...run, cpu: cpuWithSignatures(run.cpu, [before, bareSignatureUs()]) };
}

function baselineOf({ name }: Scenario, there: readonly RunReport[], here: readonly RunReport[]): BaselineReport {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const rates = (runs: readonly RunReport[]): number[] => runs.map(({ deliveredPerSecond }) => deliveredPerSecond);
  return {
    scenario: name,
    deliveredPerSecond: rates(there),
    serverUsPerMessage: there.map(({ cpu }) => cpu.serverUsPerMessage),
    deliveredShare: mean(rates(here.filter(({ server }) => server === "postern"))) / mean(rates(there)),
  };
}

function idleQueuesOf(scenario: Scenario, keep: boolean): Promise<IdleQueueReport> {
  const progress = new Progress(process.stdout);
  progress.begin("idle queues");
  const onProgress = (atMs: number, text: string): void => progress.note(atMs, text);
  const messages = scenario.idleQueues;
  const measuring = measureIdleQueues({ scenario, messages, folder, template, keep, onProgress });
  return measuring.finally(() => progress.end());
}

/** Not every peer signs, or can be told how many connections it may have. */
function asPeerMayRun(scenario: Scenario): Scenario {
  const { connectionsPerAddressMax } = openOperator;
  return { ...scenario, signed: false, receiver: { connectionsPerAddressMax, ...scenario.receiver } };
}

function pairsOf(runs: readonly RunReport[]): Pair[] {
  const pairs: Pair[] = [];
  for (const [i, one] of runs.entries()) {
    const other = runs[i + 1];
    if (one.server !== "postern" || other === undefined || other.server === "postern") continue;
    pairs.push({
      delivered: one.deliveredPerSecond / other.deliveredPerSecond,
      accepted: one.acceptedPerSecond / other.acceptedPerSecond,
      cpu: other.cpu.serverUsPerMessage / one.cpu.serverUsPerMessage,
    });
  }
  return pairs;
}

process.exitCode = await main();
