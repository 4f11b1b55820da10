// `npm run bench -- SCENARIO`: runs one scenario against Postern (and a peer) and says what was measured.

import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BenchOptions, helpText, listText, parseBenchOptions } from "./bench-options.ts";
import { endOnSignals } from "./box.ts";
import { measureIdleQueues } from "./idle-queues.ts";
import { runLoad } from "./load-run.ts";
import { findPeer, peerNames } from "./peers/peers.ts";
import { hasPostfixTools, runWithPostfixTools } from "./peers/postfix-tools.ts";
import { repositoryRoot } from "./postern-process.ts";
import { startPostern } from "./postern-server.ts";
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
import { bareSignatureUs, checksOf, cpuWithSignatures, machineOf, termsOf } from "./report/terms.ts";
import { Progress, reportText } from "./report/text.ts";
import { runRestart } from "./restart.ts";
import { findScenario } from "./scenario/catalog.ts";
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
      return bench(parsed.options);
  }
}

function wrongUsage(message: string): number {
  process.stderr.write(`bench: ${message}. The scenarios:\n${listText()}`);
  return 2;
}

async function bench(options: BenchOptions): Promise<number> {
  const found = await findScenario(options.scenario);
  if (found === undefined) return wrongUsage(`there is no scenario ${options.scenario}`);
  const scenario: Scenario = { ...found, ...options.changes };
  if (options.peer !== undefined && !peerNames.includes(options.peer)) {
    return wrongUsage(`there is no peer ${options.peer}, only ${peerNames.join(", ")}`);
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
      onProgress,
    });
    progress.end();
    if (!options.keep) tidyUp(options.profile);
    checks.push(...checksOf(scenario.targets, "postern", restart));
  } else {
    const beside = scenario.baseline === undefined ? undefined : { ...scenario.baseline, ...options.changes };
    const runBeside = async (): Promise<RunReport[]> =>
      beside === undefined ? [] : runAll(beside, { ...options, peer: undefined, profile: false });
    const besides = await runBeside();
    runs.push(...(await runAll(scenario, options)));
    besides.push(...(await runBeside()));
    if (beside !== undefined) baseline = baselineOf(beside, besides, runs);
    if (scenario.idleQueues > 0) idleQueues = await idleQueuesOf(scenario);
    if (!options.keep) tidyUp(options.profile);
    const { ofAll = [], ofRuns = [] } = Object.groupBy(scenario.targets, ({ value }) =>
      /^(baseline|idleQueues)\./.test(value) ? "ofAll" : "ofRuns",
    );
    for (const run of runs) if (run.server === "postern") checks.push(...checksOf(ofRuns, "postern", run));
    checks.push(...checksOf(ofAll, "postern", { baseline, idleQueues }));
  }
  const report: BenchReport = {
    scenario: scenario.name,
    about: scenario.about,
    at: new Date().toISOString(),
    machine,
    terms: termsOf(scenario),
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
  const clean = runs.every((run) => run.accepted === run.messages && run.lost === 0 && run.duplicates === 0);
  return clean && (restart === undefined || (restart.lost === 0 && restart.duplicates === 0)) ? 0 : 1;
}

/** Postern alone, or Postern and a peer in turn: A B A B. */
async function runAll(scenario: Scenario, options: BenchOptions): Promise<RunReport[]> {
  const peer = options.peer === undefined ? undefined : findPeer(options.peer);
  if (peer !== undefined && !peer.isInstalled()) {
    process.stdout.write(`${peer.name} is not installed: skipped. ${peer.howToInstall}\n`);
  }
  const withTools = options.tools === "postfix" && hasPostfixTools();
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

function idleQueuesOf(scenario: Scenario): Promise<IdleQueueReport> {
  const progress = new Progress(process.stdout);
  progress.begin("idle queues");
  const onProgress = (atMs: number, text: string): void => progress.note(atMs, text);
  const measuring = measureIdleQueues({ scenario, messages: scenario.idleQueues, folder, template, onProgress });
  return measuring.finally(() => progress.end());
}

/** Not every peer signs, or can be told how many connections it may have. */
function asPeerMayRun(scenario: Scenario): Scenario {
  const { connectionsPerAddressMax } = openOperator;
  return { ...scenario, signed: false, receiver: { connectionsPerAddressMax, ...scenario.receiver } };
}

/** Takes away what the runs left, but for the profiles where they are wanted. */
function tidyUp(keepProfiles: boolean): void {
  for (const name of readdirSync(folder)) {
    if (!keepProfiles || !name.endsWith(".cpuprofile")) rmSync(join(folder, name), { recursive: true, force: true });
  }
  if (keepProfiles) process.stdout.write(`CPU profiles are in ${folder}\n`);
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
