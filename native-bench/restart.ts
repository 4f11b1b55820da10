// The scenario `restart`: a deep queue, a kill -9, and what the next start needs until mail flows again.

import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { domainsOf, operatorsOf, senderDomain, zoneOf } from "./bench-world.ts";
import { Box } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import { repositoryRoot } from "./postern-process.ts";
import { type Resident, residentBytes, residentParts } from "./process-usage.ts";
import { type Override, writeRunConfig } from "./run-config.ts";
import type { Scenario } from "./scenario/scenario.ts";
import type { Receipt } from "./sink/ledger.ts";

const readyTimeoutMs = 60_000;
const drainTimeoutMs = 900_000;

export interface RestartReport {
  readonly scenario: string;
  readonly queuedRecipients: number;
  readonly domains: number;
  readonly spoolMiB: number;
  /** From the start of the process. */
  readonly readySeconds: number;
  readonly firstDeliverySeconds: number;
  /** Just after the first delivery, and at most until the queue was empty. */
  readonly residentMiBAtFirst: number;
  readonly residentPartsAtFirst: Resident;
  readonly residentMiBMax: number;
  readonly residentPartsAtEnd: Resident;
  readonly drainSeconds: number;
  readonly lost: number;
  readonly duplicates: number;
  /** Deliveries of a domain that came before one that was queued earlier. One connection to a site: 0 is right. */
  readonly outOfOrder: number;
}

/** One message a day and site while the queue is filled: nothing fails, and nearly nothing leaves. */
const fillingLimits: readonly Override[] = [[["sites", "defaults", "rate"], "1/d"]];
const drainingLimits: readonly Override[] = [[["sites", "defaults", "rate"], "unlimited"]];

export async function runRestart(scenario: Scenario): Promise<RestartReport> {
  const folder = join(repositoryRoot, "var", "bench");
  rmSync(folder, { recursive: true, force: true });
  const template = join(repositoryRoot, "conf", "bench.yaml");
  await using box = await Box.open({
    folder,
    template,
    overrides: [...scenario.overrides, ...fillingLimits],
    operators: operatorsOf(scenario),
    zone: zoneOf(scenario),
    seed: 1,
    usualPorts: false,
  });
  const first = box.startPostern();
  await first.ready(readyTimeoutMs);
  const source = await box.load({
    runId: "restart",
    target: box.submission,
    messages: scenario.messages,
    sessions: scenario.sessions,
    messagesPerSession: scenario.messagesPerSession,
    ratePerSecond: undefined,
    bodyBytes: scenario.bodyBytes,
    recipientsPerMessage: scenario.recipientsPerMessage,
    reversePath: `bench@${senderDomain}`,
    domains: domainsOf(scenario).map((domain) => ({ domain, weight: 1 })),
    stream: undefined,
    dotLines: false,
    seed: 1,
  });
  if (source.acknowledged !== scenario.messages) throw new Error(`only ${source.acknowledged} messages were accepted`);
  // The last outcomes reach the disk, so that a repeat after the kill would be one too many.
  await pause(1_000);
  await box.poll();
  const before = (await box.counts()).receipts;
  first.kill("SIGKILL");
  await first.ended;
  const spoolMiB = statSync(join(box.places.spool, "shard-0", "data.mdb")).size / 1024 / 1024;

  writeRunConfig(template, box.configFile, box.places, [...scenario.overrides, ...drainingLimits]);
  const startedAt = epochMs();
  const second = box.startPostern();
  const ready = second.ready(readyTimeoutMs).then(() => (epochMs() - startedAt) / 1000);
  while ((await box.counts()).receipts === before && epochMs() - startedAt < readyTimeoutMs) await pause(10);
  const firstDeliverySeconds = (epochMs() - startedAt) / 1000;
  const residentAtFirst = residentBytes(second.pid);
  const residentPartsAtFirst = residentParts(second.pid);
  let residentMax = residentAtFirst;
  const wanted = scenario.messages * scenario.recipientsPerMessage;
  for (;;) {
    residentMax = Math.max(residentMax, residentBytes(second.pid));
    if ((await box.counts()).receipts >= wanted || epochMs() - startedAt > drainTimeoutMs) break;
    await pause(100);
  }
  const drainSeconds = (epochMs() - startedAt) / 1000;
  await pause(500);
  const { receipts } = await box.poll();
  return {
    scenario: scenario.name,
    queuedRecipients: wanted - before,
    domains: scenario.domains,
    spoolMiB,
    readySeconds: await ready,
    firstDeliverySeconds,
    residentMiBAtFirst: residentAtFirst / 1024 / 1024,
    residentPartsAtFirst,
    residentMiBMax: residentMax / 1024 / 1024,
    residentPartsAtEnd: residentParts(second.pid),
    drainSeconds,
    lost: box.audit.open().length,
    duplicates: box.audit.duplicates().length,
    outOfOrder: countOutOfOrder(receipts),
  };
}

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
