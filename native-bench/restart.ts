// The scenario `restart`: a deep queue, a kill -9, and what the next start needs until mail flows again.

import { statSync } from "node:fs";
import { join } from "node:path";
import { loadPlanOf, operatorsOf, overridesOf, zoneOf } from "./bench-world.ts";
import { Box } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import { residentParts } from "./process-usage.ts";
import type { RestartReport } from "./report/report.ts";
import { type Override, writeRunConfig } from "./run-config.ts";
import type { Scenario } from "./scenario/scenario.ts";
import type { Receipt } from "./sink/ledger.ts";

const readyTimeoutMs = 60_000;
const drainTimeoutMs = 900_000;
const lookPeriodMs = 500;

/** One message a day and site while the queue is filled: nothing fails, and nearly nothing leaves. */
const fillingLimits: readonly Override[] = [[["sites", "defaults", "rate"], "1/d"]];
const drainingLimits: readonly Override[] = [[["sites", "defaults", "rate"], "unlimited"]];

export interface RestartPlan {
  readonly scenario: Scenario;
  /** Absolute. */
  readonly folder: string;
  /** The config file that Postern's is made from. */
  readonly template: string;
  /** Says how far it is. */
  onProgress(atMs: number, text: string): void;
}

export async function runRestart({ scenario, folder, template, onProgress }: RestartPlan): Promise<RestartReport> {
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
  const startedAt = epochMs();
  const second = box.startPostern();
  const ready = second.ready(readyTimeoutMs).then(() => (epochMs() - startedAt) / 1_000);
  while ((await box.totals()).receipts === before && epochMs() - startedAt < readyTimeoutMs) await pause(10);
  const firstDeliverySeconds = (epochMs() - startedAt) / 1_000;
  const atFirst = residentParts(second.pid);
  let [privateMax, fileMax] = [atFirst.anonymousMiB, atFirst.fileMiB];
  const wanted = scenario.messages * scenario.recipientsPerMessage;
  for (;;) {
    const { anonymousMiB, fileMiB } = residentParts(second.pid);
    [privateMax, fileMax] = [Math.max(privateMax, anonymousMiB), Math.max(fileMax, fileMiB)];
    const { receipts } = await box.totals();
    onProgress(epochMs() - fillingAt, `delivered ${receipts} of ${wanted}, ${anonymousMiB.toFixed(0)} MiB`);
    if (receipts >= wanted || epochMs() - startedAt > drainTimeoutMs) break;
    await pause(100);
  }
  const drainSeconds = (epochMs() - startedAt) / 1_000;
  await pause(500);
  const receipts = await box.pollCopies();
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
    },
    lost: box.audit.open().length,
    duplicates: box.audit.duplicates().length,
    outOfOrder: countOutOfOrder(receipts),
  };
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
