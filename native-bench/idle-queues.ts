// What a queue costs in memory while it waits for its next attempt: thousands of domains put one message each off, and the
// heap is compared with that of the same server before, after full collections.

import { loadPlanOf, operatorsOf, overridesOf, warmUpPlanOf, zoneOf } from "./bench-world.ts";
import { Box } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import type { ZoneEntry } from "./dns/zone.ts";
import { HeapProbe, inspectOption } from "./heap-probe.ts";
import { residentParts } from "./process-usage.ts";
import type { IdleQueueReport } from "./report/report.ts";
import { freePort, type Override } from "./run-config.ts";
import type { Scenario } from "./scenario/scenario.ts";

const readyTimeoutMs = 30_000;
const stallMs = 60_000;
const lookPeriodMs = 100;
/** The last outcomes reach the disk, and the log. */
const quietMs = 1_000;
/** The domain of each message is drawn out of so many times their number, so that nearly every queue holds one message. */
const drawnFrom = 10;
/** They wait for much longer than the measurement takes, and no connection lies about for long. */
const waiting: readonly Override[] = [
  [["streams", "bulk", "retry"], ["1h"]],
  [["delivery", "timeouts", "idle"], "1s"],
];

export interface IdleQueuePlan {
  readonly scenario: Scenario;
  /** Messages that are put off. */
  readonly messages: number;
  /** Absolute. */
  readonly folder: string;
  readonly template: string;
  /** Leaves spool and logs. */
  readonly keep: boolean;
  onProgress(atMs: number, text: string): void;
}

export async function measureIdleQueues(plan: IdleQueuePlan): Promise<IdleQueueReport> {
  // One shard, so that a domain has one queue; one recipient, so that a receipt or a deferral stands for a message.
  const scenario = { ...plan.scenario, shards: 1, recipientsPerMessage: 1 };
  const operators = operatorsOf(scenario);
  await using box = await Box.open({
    folder: plan.folder,
    template: plan.template,
    overrides: async () => [...(await overridesOf(scenario, plan.folder)), ...waiting],
    operators,
    zone: { ...zoneOf(scenario), ...idleZone(scenario) },
    seed: 1,
    isTemporary: !plan.keep,
  });
  const startedAt = epochMs();
  const say = (text: string): void => plan.onProgress(epochMs() - startedAt, text);
  const inspectPort = await freePort(undefined);
  process.env.NODE_OPTIONS = inspectOption(inspectPort);
  const postern = await box.startPosternReady(readyTimeoutMs);
  delete process.env.NODE_OPTIONS;
  using probe = await HeapProbe.open(inspectPort);
  const measure = async (): Promise<{ readonly heapBytes: number; readonly privateMiB: number }> => {
    await until(async () => (await box.totals()).connectionsOpen === 0, say, "connections end");
    await pause(quietMs);
    const heapBytes = await probe.usedBytes();
    return { heapBytes, privateMiB: residentParts(postern.pid).anonymousMiB };
  };

  const warmUp = await box.load(warmUpPlanOf(scenario, box.submission));
  await until(async () => (await box.totals()).receipts >= warmUp.acknowledged, say, "warm-up");
  const before = await measure();

  for (const { profile } of operators) await box.change(profile.name, { deferShare: 1 });
  const load = loadPlanOf({ ...scenario, messages: plan.messages }, box.submission);
  const domains = Array.from({ length: plan.messages * drawnFrom }, (_, i) => idleDomain(scenario, i));
  const sent = await box.load({ ...load, runId: "idle", domains: domains.map((domain) => ({ domain, weight: 1 })) });
  await until(async () => (await box.totals()).deferrals >= sent.acknowledged, say, "putting off");
  const waits = await measure();
  await box.pollCopies();
  const queues = new Set(box.audit.open().map(({ recipient }) => recipient.slice(recipient.lastIndexOf("@") + 1))).size;

  for (const { profile } of operators) await box.change(profile.name, { deferShare: 0 });
  await retryAll(box.places.admin);
  await until(async () => (await box.totals()).receipts >= warmUp.acknowledged + sent.acknowledged, say, "delivery");
  const after = await measure();
  return {
    queues,
    messages: sent.acknowledged,
    bytesPerQueue: (waits.heapBytes - before.heapBytes) / queues,
    bytesKeptPerEmptiedQueue: (after.heapBytes - before.heapBytes) / queues,
    heapMiBBefore: before.heapBytes / 1_048_576,
    heapMiBWaiting: waits.heapBytes / 1_048_576,
    privateMiBBefore: before.privateMiB,
    privateMiBWaiting: waits.privateMiB,
  };
}

function idleDomain({ hosts }: Scenario, i: number): string {
  return `q${i}.i${i % hosts}.bench.example`;
}

function idleZone(scenario: Scenario): Record<string, ZoneEntry> {
  const hosts = Array.from({ length: scenario.hosts }, (_, i) => i);
  return Object.fromEntries(
    hosts.map((i) => [`*.i${i}.bench.example`, { mx: [{ preference: 10, exchange: `mx.h${i}.bench.example` }] }]),
  );
}

async function until(holds: () => Promise<boolean>, say: (text: string) => void, text: string): Promise<void> {
  const end = epochMs() + stallMs;
  while (!(await holds())) {
    if (epochMs() > end) throw new Error(`idle queues: ${text}: not within ${stallMs} ms`);
    say(text);
    await pause(lookPeriodMs);
  }
}

/** Makes everything due, as an operator does. */
async function retryAll(admin: string): Promise<void> {
  const response = await fetch(`http://${admin}/v1/retry`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ stream: "bulk" }),
  });
  if (!response.ok) throw new Error(`retry: ${response.status} ${await response.text()}`);
}
