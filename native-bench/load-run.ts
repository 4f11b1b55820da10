// One run of a scenario against one server: submit, look on while it delivers, and hold the books at the end.

import { causeOf } from "./audit.ts";
import { isWarmUp, loadPlanOf, operatorsOf, overridesOf, sourcesOf, warmUpPlanOf, zoneOf } from "./bench-world.ts";
import { Box } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import type { LoggedEvent } from "./event-log.ts";
import { type Buckets, bucketsSince, type PosternFigures, percentileMs } from "./postern-figures.ts";
import { type Cpu, cpuOf, minus, residentParts } from "./process-usage.ts";
import { cpuReport } from "./report/cpu.ts";
import type { MemoryReport, RunReport, Sample, SourcesReport } from "./report/report.ts";
import type { Scenario } from "./scenario/scenario.ts";
import type { RunningServer } from "./server.ts";
import type { InternetCounts, InternetTotals } from "./sink/internet-process.ts";
import type { Receipt } from "./sink/ledger.ts";
import { deferralRules } from "./sink/operator.ts";
import type { SourceCounts } from "./source/load-plan.ts";

export interface LoadRunPlan {
  readonly scenario: Scenario;
  /** Absolute. */
  readonly folder: string;
  readonly template: string;
  /** Leaves spool and logs. */
  readonly keep: boolean;
  readonly serverName: string;
  readonly notes: readonly string[];
  start(box: Box): Promise<RunningServer>;
  /** Called at each look. */
  onSample(sample: Sample, wanted: number): void;
}

const samplePeriodMs = 250;
/** Longer runs keep fewer samples: each second one is dropped whenever there are more than this. */
const samplesMax = 1_200;
/** Without any progress for this long the run is over, whatever is still open. */
const stallMs = 60_000;
/** The last copies may come twice, and the last events must be written. */
const quietMs = 500;

export async function runLoad(plan: LoadRunPlan): Promise<RunReport> {
  const { scenario } = plan;
  await using box = await Box.open({
    folder: plan.folder,
    template: plan.template,
    overrides: () => overridesOf(scenario, plan.folder),
    operators: operatorsOf(scenario),
    zone: zoneOf(scenario),
    seed: 1,
    isTemporary: !plan.keep,
  });
  const server = await plan.start(box);
  try {
    return await whileItRuns(server, measure(plan, box, server));
  } finally {
    await server.stop();
  }
}

async function measure(plan: LoadRunPlan, box: Box, server: RunningServer): Promise<RunReport> {
  const books = new Books(plan, box);
  const before = await warmUp(plan.scenario, box, server, books);
  const watch = new Watch(box, server, plan.scenario, books, before.totals, plan.onSample);
  const source = await watch.untilDelivered();
  await pause(quietMs);
  return reportOf(plan, box, watch, source, books, before);
}

/** As `work`, but rejects once the server is gone: its last words tell more than that its clients waited in vain. */
export function whileItRuns<Result>(server: Pick<RunningServer, "ended">, work: Promise<Result>): Promise<Result> {
  const failure = server.ended.then((lastWords) => {
    throw new Error(`In the midst of the run ${lastWords}`);
  });
  return Promise.race([work, failure]);
}

/** What sender and receivers noted so far, and what became of the rest. */
class Books {
  readonly receipts: Receipt[] = [];
  readonly events: LoggedEvent[] = [];
  readonly #box: Box;
  readonly #scenario: Scenario;
  readonly #readsLog: boolean;
  /**
   * Receivers that refuse for good or take copies twice are at work: how many copies there are does not tell whether all is
   * through, so that the books are read all the time.
   */
  readonly isUneven: boolean;

  constructor({ scenario, serverName }: Pick<LoadRunPlan, "scenario" | "serverName">, box: Box) {
    const { refuseShare = 0, unknownUserShare = 0, unknownUsers = [], lostReplyShare = 0 } = scenario.receiver;
    const refuses = refuseShare > 0 || unknownUserShare > 0 || unknownUsers.length > 0;
    this.#box = box;
    this.#scenario = scenario;
    this.isUneven = refuses || lostReplyShare > 0;
    // Else nobody bounces, and nobody asks which source was chosen. Peers have no log of ours.
    this.#readsLog = serverName === "postern" && (refuses || scenario.sources > 1);
  }

  async read(): Promise<void> {
    const { receipts, events } = this.#readsLog
      ? await this.#box.poll()
      : { receipts: await this.#box.pollCopies(), events: [] };
    for (const receipt of receipts) this.receipts.push(receipt);
    for (const event of events) this.events.push(event);
  }

  /** Whether all of so many messages was delivered or given up. */
  async areClosed(messages: number, delivered: number): Promise<boolean> {
    if (!this.isUneven) return delivered >= messages * this.#scenario.recipientsPerMessage;
    await this.read();
    return this.#box.audit.tally().open === 0;
  }
}

interface Before {
  readonly totals: InternetTotals;
  readonly bounced: number;
  /** By operator. */
  readonly deferrals: ReadonlyMap<string, number>;
}

/** Resolves to what the receivers had taken, and had put off, when it was over. */
async function warmUp(scenario: Scenario, box: Box, server: RunningServer, books: Books): Promise<Before> {
  if (scenario.warmUpMessages > 0) {
    const { acknowledged } = await box.load(warmUpPlanOf(scenario, server.target));
    let progress = 0;
    let progressAt = epochMs();
    for (;;) {
      const { receipts } = await box.totals();
      if (receipts > progress) [progress, progressAt] = [receipts, epochMs()];
      // A copy of the warm-up that came later would be taken for one of the run.
      if ((await books.areClosed(acknowledged, receipts)) || epochMs() - progressAt > stallMs) break;
      await pause(samplePeriodMs);
    }
  }
  const { bounced } = box.audit.tally();
  return { totals: await box.totals(), bounced, deferrals: deferralsOf(await box.counts()) };
}

function deferralsOf({ operators }: InternetCounts): Map<string, number> {
  return new Map(
    operators.map(({ name, verdicts }) => [
      name,
      deferralRules.reduce((total, rule) => total + (verdicts[rule] ?? 0), 0),
    ]),
  );
}

interface Usage {
  readonly at: number;
  readonly server: Cpu;
  readonly source: Cpu;
  readonly receivers: Cpu;
}

/** Looks at all processes again and again until the mail is through. */
class Watch {
  readonly startedAt = epochMs();
  readonly samples: Sample[] = [];
  firstUsage: Usage;
  lastUsage: Usage;
  firstFigures: PosternFigures | undefined;
  lastFigures: PosternFigures | undefined;
  readonly #box: Box;
  readonly #server: RunningServer;
  readonly #scenario: Scenario;
  readonly #books: Books;
  readonly #warmedUp: InternetTotals;
  readonly #onSample: LoadRunPlan["onSample"];
  #stride = 1;
  #looks = 0;

  constructor(
    box: Box,
    server: RunningServer,
    scenario: Scenario,
    books: Books,
    warmedUp: InternetTotals,
    onSample: LoadRunPlan["onSample"],
  ) {
    this.#books = books;
    this.#warmedUp = warmedUp;
    this.#box = box;
    this.#server = server;
    this.#scenario = scenario;
    this.#onSample = onSample;
    this.firstUsage = this.#usage();
    this.lastUsage = this.firstUsage;
  }

  async untilDelivered(): Promise<SourceCounts> {
    const { messages, recipientsPerMessage, name } = this.#scenario;
    const loading = this.#box.load(loadPlanOf(this.#scenario, this.#server.target));
    let source: SourceCounts | undefined;
    let failure: unknown;
    loading.then(
      (counts) => (source = counts),
      (error: unknown) => (failure = error),
    );
    this.firstFigures = await this.#server.figures();
    let progressAt = this.startedAt;
    let progress = 0;
    let nextAt = this.startedAt + samplePeriodMs;
    for (;;) {
      await pause(Math.max(1, nextAt - epochMs()));
      nextAt = Math.max(nextAt + samplePeriodMs, epochMs());
      if (failure !== undefined) throw failure;
      const sample = await this.#look(name);
      this.#onSample(sample, messages * recipientsPerMessage);
      if (sample.accepted + sample.delivered > progress) {
        progress = sample.accepted + sample.delivered;
        progressAt = epochMs();
      }
      const isThrough = source !== undefined && (await this.#books.areClosed(source.acknowledged, sample.delivered));
      if (isThrough || epochMs() - progressAt > stallMs) break;
    }
    if (source === undefined) {
      await this.#box.stopLoad(name);
      source = await loading;
    }
    return source;
  }

  async #look(runId: string): Promise<Sample> {
    const [source, totals, figures] = await Promise.all([
      this.#box.sourceCounts(runId),
      this.#box.totals(),
      this.#server.figures(),
    ]);
    const before = this.lastUsage;
    const now = this.#usage();
    const spanSeconds = Math.max(0.001, (now.at - before.at) / 1_000);
    const share = (part: "server" | "source" | "receivers"): number => {
      const { userSeconds, systemSeconds } = minus(now[part], before[part]);
      return (userSeconds + systemSeconds) / spanSeconds;
    };
    const server = this.#server.memory();
    const figuresBefore = this.lastFigures ?? this.firstFigures;
    const mib = (bytes: number | undefined): number | undefined =>
      bytes === undefined ? undefined : bytes / 1_048_576;
    const sample: Sample = {
      atMs: now.at - this.startedAt,
      accepted: source.acknowledged,
      delivered: totals.receipts - this.#warmedUp.receipts,
      deferrals: totals.deferrals - this.#warmedUp.deferrals,
      connections: totals.connectionsOpen,
      serverCpu: share("server"),
      sourceCpu: share("source"),
      receiversCpu: share("receivers"),
      serverPrivateMiB: server.anonymousMiB,
      serverFileMiB: server.fileMiB,
      sourceMiB: residentParts(this.#box.pids.source).anonymousMiB,
      receiversMiB: residentParts(this.#box.pids.receivers).anonymousMiB,
      loopLagMs: figures && percentileMs(bucketsSince(figuresBefore?.loopDelays, figures.loopDelays), 1),
      spoolFileMiB: mib(figures?.spoolFileBytes),
      spoolLiveMiB: mib(figures?.spoolLiveBytes),
    };
    this.lastUsage = now;
    this.lastFigures = figures ?? this.lastFigures;
    this.#keep(sample);
    return sample;
  }

  #keep(sample: Sample): void {
    if (this.#looks++ % this.#stride === 0) this.samples.push(sample);
    if (this.samples.length <= samplesMax) return;
    this.#stride *= 2;
    this.samples.splice(0, this.samples.length, ...this.samples.filter((_, i) => i % 2 === 0));
  }

  #usage(): Usage {
    const { source, receivers } = this.#box.pids;
    return { at: epochMs(), server: this.#server.cpu(), source: cpuOf(source), receivers: cpuOf(receivers) };
  }
}

async function reportOf(
  plan: LoadRunPlan,
  box: Box,
  watch: Watch,
  source: SourceCounts,
  books: Books,
  before: Before,
): Promise<RunReport> {
  const { scenario } = plan;
  await books.read();
  const receipts = books.receipts.filter(({ recipient }) => !isWarmUp(recipient));
  const counts = await box.counts();
  const lost = box.audit.open().length;
  const duplicates = box.audit.duplicates();
  // A receiver that takes a message and loses its 250 gets it again, from every server (RFC 1047).
  const unexplained = duplicates.filter((duplicate) => causeOf(duplicate, [], 0) === "unexplained").length;
  const repliedAt = receipts.flatMap(({ repliedAt }) => repliedAt ?? []).sort((one, other) => one - other);
  const lastAt = repliedAt.at(-1) ?? epochMs();
  const seconds = (lastAt - watch.startedAt) / 1_000;
  const delivered = repliedAt.length;
  const used = {
    server: minus(watch.lastUsage.server, watch.firstUsage.server),
    source: minus(watch.lastUsage.source, watch.firstUsage.source),
    receivers: minus(watch.lastUsage.receivers, watch.firstUsage.receivers),
  };
  const bytes = receipts.reduce((total, { contentBytes }) => total + contentBytes, 0);
  return {
    server: plan.serverName,
    notes: [...plan.notes, ...leftInQueue(watch, lost)],
    messages: scenario.messages,
    recipientsPerMessage: scenario.recipientsPerMessage,
    accepted: source.acknowledged,
    delivered,
    refused: source.refused,
    bounced: box.audit.tally().bounced - before.bounced,
    lost,
    duplicates: unexplained,
    repeatsAfterLostReply: duplicates.length - unexplained,
    damaged: box.audit.damaged,
    breaches: counts.breaches,
    seconds,
    acceptedPerSecond: (1_000 * source.acknowledged) / ((source.lastAt ?? epochMs()) - watch.startedAt),
    deliveredPerSecond: delivered / seconds,
    deliveredPerSecondSteady: steadyRate(repliedAt),
    deliveredMiBPerSecond: bytes / 1_048_576 / seconds,
    cpu: cpuReport(used, source.acknowledged),
    memory: memoryOf(watch.samples),
    greeting: source.greeting,
    finalDot: source.finalDot,
    connectTo250: source.connectTo250,
    acceptToDelivery: box.audit.latency(({ recipient }) => !isWarmUp(recipient)),
    ...saidOfItself(watch),
    sources:
      plan.serverName === "postern" && scenario.sources > 1
        ? sourcesReport(scenario, receipts, books.events)
        : undefined,
    deferralsByOperator: [...deferralsOf(counts)]
      .map(([operator, deferrals]) => ({ operator, deferrals: deferrals - (before.deferrals.get(operator) ?? 0) }))
      .filter(({ deferrals }) => deferrals > 0)
      .sort((one, other) => other.deferrals - one.deferrals),
    samples: watch.samples,
    problem: source.lastProblem,
  };
}

/** Whoever reads "lost" must know when some of it was only late. */
function leftInQueue({ lastFigures }: Watch, lost: number): string[] {
  const queued = lastFigures?.queued ?? 0;
  if (lost === 0 || queued === 0) return [];
  return [
    `${queued} recipients still waited in its queue when nothing had come for ${stallMs / 1_000} s: they count as lost`,
  ];
}

/** Copies a second, without the first and the last tenth of them. */
function steadyRate(repliedAt: readonly number[]): number {
  const from = Math.floor(repliedAt.length * 0.1);
  const until = Math.floor(repliedAt.length * 0.9);
  const spanMs = (repliedAt[until] ?? 0) - (repliedAt[from] ?? 0);
  return spanMs <= 0 ? 0 : ((until - from) * 1_000) / spanMs;
}

function memoryOf(samples: readonly Sample[]): MemoryReport {
  const most = (pick: (sample: Sample) => number): number => Math.max(0, ...samples.map(pick));
  const fifth = (no: number): number => {
    const part = samples.slice(Math.floor((no * samples.length) / 5), Math.floor(((no + 1) * samples.length) / 5));
    return part.reduce((sum, { serverPrivateMiB }) => sum + serverPrivateMiB, 0) / Math.max(1, part.length);
  };
  return {
    serverPrivateMiBMax: most(({ serverPrivateMiB }) => serverPrivateMiB),
    serverFileMiBMax: most(({ serverFileMiB }) => serverFileMiB),
    serverPrivateGrowthMiB: fifth(4) - fifth(1),
  };
}

function saidOfItself(watch: Watch): Pick<RunReport, "eventLoopLagMs" | "commitMs" | "spool"> {
  const { firstFigures, lastFigures } = watch;
  if (lastFigures === undefined) return {};
  const percentiles = (before: Buckets | undefined, now: Buckets) => {
    const buckets = bucketsSince(before, now);
    const at = (share: number): number => percentileMs(buckets, share) ?? 0;
    return buckets.length === 0 ? undefined : { p50: at(0.5), p99: at(0.99), max: at(1) };
  };
  const fileMiB = lastFigures.spoolFileBytes / 1_048_576;
  const liveMiBMax = Math.max(0, ...watch.samples.map(({ spoolLiveMiB }) => spoolLiveMiB ?? 0));
  return {
    eventLoopLagMs: percentiles(firstFigures?.loopDelays, lastFigures.loopDelays),
    commitMs: percentiles(firstFigures?.commits, lastFigures.commits),
    spool: { fileMiB, liveMiBMax, fileToLiveMax: fileMiB / Math.max(0.001, liveMiBMax) },
  };
}

export function sourcesReport(
  scenario: Pick<Scenario, "sources">,
  receipts: readonly Pick<Receipt, "queueId" | "recipient" | "sourceAddress">[],
  events: readonly Pick<LoggedEvent, "kind" | "queueId" | "forwardPath" | "source">[],
): SourcesReport {
  const sources = sourcesOf(scenario);
  const addressOf = new Map(sources.map(({ name, address }) => [name, address]));
  const chosen = new Map<string, string | undefined>();
  for (const { kind, queueId, forwardPath, source = "" } of events) {
    if (kind === "delivery") chosen.set(`${queueId} ${forwardPath}`, addressOf.get(source));
  }
  const copies = new Map<string, number>();
  let wrongAddress = 0;
  for (const { queueId, recipient, sourceAddress } of receipts) {
    copies.set(sourceAddress, (copies.get(sourceAddress) ?? 0) + 1);
    if (chosen.get(`${queueId} ${recipient}`) !== sourceAddress) wrongAddress++;
  }
  const weights = sources.reduce((sum, { weight }) => sum + weight, 0);
  const errors = sources.map(({ address, weight }) => {
    const wanted = (receipts.length * weight) / weights;
    return Math.abs((copies.get(address) ?? 0) - wanted) / wanted;
  });
  return { addresses: copies.size, wrongAddress, shareErrorMax: Math.max(0, ...errors) };
}
