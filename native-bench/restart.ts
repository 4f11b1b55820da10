// The scenario `restart`: a deep queue, a kill -9, and what the next start needs until mail flows again.

import { statSync } from "node:fs";
import { join } from "node:path";
import { loadPlanOf, operatorsOf, overridesOf, zoneOf } from "./bench-world.ts";
import { Box } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import { type Cpu, cpuOf, minus, residentParts } from "./process-usage.ts";
import type { RestartReport, RestartSample } from "./report/report.ts";
import { type Override, writeRunConfig } from "./run-config.ts";
import type { Scenario } from "./scenario/scenario.ts";
import type { Receipt } from "./sink/ledger.ts";

const readyTimeoutMs = 60_000;
/** Without a delivery for this long the draining is over, whatever is still open: then the audit says what is missing. */
const stallMs = 60_000;
const lookPeriodMs = 500;
const memoryPeriodMs = 100;
const samplePeriodMs = 1_000;
/** For the profiles to be written. */
const stopTimeoutMs = 30_000;

/** One message a day and site while the queue is filled: nothing fails, and nearly nothing leaves. */
const fillingLimits: readonly Override[] = [[["sites", "defaults", "rate"], "1/d"]];
const drainingLimits: readonly Override[] = [[["sites", "defaults", "rate"], "unlimited"]];

export interface RestartPlan {
  readonly scenario: Scenario;
  /** Absolute. */
  readonly folder: string;
  /** The config file that Postern's is made from. */
  readonly template: string;
  /** Where the second process writes CPU profiles of its threads at its end. */
  readonly profileFolder: string | undefined;
  /** Leaves spool and logs. */
  readonly keep: boolean;
  /** Says how far it is. */
  onProgress(atMs: number, text: string): void;
}

export async function runRestart(plan: RestartPlan): Promise<RestartReport> {
  const { scenario, folder, template, profileFolder, onProgress } = plan;
  let overrides: readonly Override[] = [];
  await using box = await Box.open({
    folder,
    template,
    overrides: async () => {
      overrides = await overridesOf(scenario, folder);
      return [...overrides, ...fillingLimits];
    },
    operators: operatorsOf(scenario),
    zone: zoneOf(scenario),
    seed: 1,
    isTemporary: !plan.keep,
  });
  const first = await box.startPosternReady(readyTimeoutMs);
  const fillingAt = epochMs();
  const filling = box.load(loadPlanOf(scenario, box.submission));
  const lookTimer = setInterval(() => {
    const atMs = epochMs() - fillingAt;
    void box
      .sourceCounts(scenario.name)
      .then(({ acknowledged }) => onProgress(atMs, `accepted ${acknowledged}`), ignore);
  }, lookPeriodMs);
  const source = await filling.finally(() => clearInterval(lookTimer));
  const fillSeconds = (epochMs() - fillingAt) / 1_000;
  if (source.acknowledged !== scenario.messages) throw new Error(`only ${source.acknowledged} messages were accepted`);
  // The last outcomes reach the disk, so that a repeat after the kill would be one too many.
  await pause(1_000);
  const before = (await box.totals()).receipts;
  first.kill("SIGKILL");
  await first.ended;
  const spoolMiB = statSync(join(box.places.spool, "shard-0", "data.mdb")).size / 1_048_576;

  writeRunConfig(template, box.configFile, box.places, [...overrides, ...drainingLimits]);
  if (profileFolder !== undefined) process.env.NODE_OPTIONS = `--cpu-prof --cpu-prof-dir=${profileFolder}`;
  const startedAt = epochMs();
  const second = box.startPostern();
  delete process.env.NODE_OPTIONS;
  const ready = second.ready(readyTimeoutMs).then(() => (epochMs() - startedAt) / 1_000);
  while ((await box.totals()).receipts === before && epochMs() - startedAt < readyTimeoutMs) await pause(10);
  const firstDeliverySeconds = (epochMs() - startedAt) / 1_000;
  const atFirst = residentParts(second.pid);
  let [privateMax, fileMax, residentMax] = [
    atFirst.anonymousMiB,
    atFirst.fileMiB,
    atFirst.anonymousMiB + atFirst.fileMiB,
  ];
  const wanted = scenario.messages * scenario.recipientsPerMessage;
  const look = new Draining(box, second.pid, startedAt, before);
  let [seen, seenAt] = [before, epochMs()];
  for (;;) {
    const { anonymousMiB, fileMiB } = residentParts(second.pid);
    [privateMax, fileMax] = [Math.max(privateMax, anonymousMiB), Math.max(fileMax, fileMiB)];
    residentMax = Math.max(residentMax, anonymousMiB + fileMiB);
    const { receipts, connectionsOpen } = await box.totals();
    look.sample(receipts, connectionsOpen);
    onProgress(epochMs() - fillingAt, `delivered ${receipts} of ${wanted}, ${anonymousMiB.toFixed(0)} MiB`);
    if (receipts > seen) [seen, seenAt] = [receipts, epochMs()];
    if (receipts >= wanted || epochMs() - seenAt > stallMs) break;
    await pause(memoryPeriodMs);
  }
  const drainSeconds = (epochMs() - startedAt) / 1_000;
  await pause(500);
  const receipts = await box.pollCopies();
  if (profileFolder !== undefined) await second.stop(stopTimeoutMs);
  return {
    server: "postern",
    queuedRecipients: wanted - before,
    domains: scenario.domains,
    fillSeconds,
    spoolMiB,
    readySeconds: await ready,
    firstDeliverySeconds,
    drainSeconds,
    deliveredPerSecond: (wanted - before) / drainSeconds,
    memory: {
      serverPrivateMiBAtFirst: atFirst.anonymousMiB,
      serverFileMiBAtFirst: atFirst.fileMiB,
      serverPrivateMiBMax: privateMax,
      serverFileMiBMax: fileMax,
      serverResidentMiBMax: residentMax,
    },
    lost: box.audit.open().length,
    duplicates: box.audit.duplicates().length,
    damaged: box.audit.damaged,
    breaches: (await box.counts()).breaches,
    outOfOrder: countOutOfOrder(receipts),
    samples: look.samples,
  };
}

/** What the draining looks like over time. */
class Draining {
  readonly samples: RestartSample[] = [];
  readonly #box: Box;
  readonly #pid: number;
  readonly #startedAt: number;
  #at: number;
  #receipts: number;
  #server: Cpu;
  #receivers: Cpu;

  constructor(box: Box, pid: number, startedAt: number, receipts: number) {
    this.#box = box;
    this.#pid = pid;
    this.#startedAt = startedAt;
    this.#at = epochMs();
    this.#receipts = receipts;
    this.#server = cpuOf(pid);
    this.#receivers = cpuOf(box.pids.receivers);
  }

  /** Keeps a sample when the last one is old enough. */
  sample(receipts: number, connections: number): void {
    const now = epochMs();
    if (now - this.#at < samplePeriodMs) return;
    const seconds = (now - this.#at) / 1_000;
    const [server, receivers] = [cpuOf(this.#pid), cpuOf(this.#box.pids.receivers)];
    const share = (cpu: Cpu): number => (cpu.userSeconds + cpu.systemSeconds) / seconds;
    const { anonymousMiB, fileMiB } = residentParts(this.#pid);
    this.samples.push({
      atMs: now - this.#startedAt,
      delivered: receipts,
      deliveredPerSecond: (receipts - this.#receipts) / seconds,
      connections,
      serverCpu: share(minus(server, this.#server)),
      receiversCpu: share(minus(receivers, this.#receivers)),
      serverPrivateMiB: anonymousMiB,
      serverFileMiB: fileMiB,
    });
    [this.#at, this.#receipts, this.#server, this.#receivers] = [now, receipts, server, receivers];
  }
}

function ignore(): void {}

function countOutOfOrder(receipts: readonly Receipt[]): number {
  const latest = new Map<string, string>();
  let count = 0;
  for (const { queueId, recipient } of [...receipts].sort((a, b) => a.dotAt - b.dotAt)) {
    const domain = recipient.slice(recipient.lastIndexOf("@") + 1);
    const seen = latest.get(domain);
    if (seen !== undefined && (queueId ?? "") < seen) count++;
    else latest.set(domain, queueId ?? "");
  }
  return count;
}
