// `npm run bench -- SCENARIO`: runs one scenario against Postern and prints what was measured.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { generatePrivateKey } from "../src/signing/signing.ts";
import { domainsOf, operatorsOf, senderDomain, zoneOf } from "./bench-world.ts";
import { Box, endOnSignals } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import { repositoryRoot } from "./postern-process.ts";
import { cpuOf, residentBytes } from "./process-usage.ts";
import { runRestart } from "./restart.ts";
import type { Override } from "./run-config.ts";
import { latency } from "./scenario/latency.ts";
import { restart } from "./scenario/restart.ts";
import type { Scenario } from "./scenario/scenario.ts";
import { throughput } from "./scenario/throughput.ts";

const scenarios = new Map([throughput, latency, restart].map((scenario) => [scenario.name, scenario]));
const readyTimeoutMs = 30_000;
const settleTimeoutMs = 300_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    messages: { type: "string" },
    size: { type: "string" },
    sessions: { type: "string" },
    signed: { type: "boolean", default: false },
    json: { type: "string" },
    profile: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});
const found = scenarios.get(positionals[0] ?? "");
if (found === undefined) {
  console.error(`bench: name a scenario: ${[...scenarios.keys()].join(", ")}`);
  process.exit(2);
}
const scenario: Scenario = {
  ...found,
  messages: Number(values.messages ?? found.messages),
  bodyBytes: Number(values.size ?? found.bodyBytes),
  sessions: Number(values.sessions ?? found.sessions),
  signed: values.signed || found.signed,
};
endOnSignals();
if (scenario.name === restart.name) {
  const report = await runRestart(scenario);
  console.log(JSON.stringify(report, null, 2));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
  process.exit(report.lost === 0 && report.duplicates === 0 ? 0 : 1);
}

const folder = join(repositoryRoot, "var", "bench");
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });

await using box = await Box.open({
  folder,
  template: join(repositoryRoot, "conf", "bench.yaml"),
  overrides: [...scenario.overrides, ...(scenario.signed ? await signing() : [])],
  operators: operatorsOf(scenario),
  zone: zoneOf(scenario),
  seed: 1,
  usualPorts: false,
});
if (values.profile) process.env.NODE_OPTIONS = `--cpu-prof --cpu-prof-dir=${folder}`;
const postern = box.startPostern();
await postern.ready(readyTimeoutMs);
const pid = postern.pid;
const cpuBefore = cpuOf(pid);
const startedAt = epochMs();
const loading = box.load({
  runId: "bench",
  target: box.submission,
  messages: scenario.messages,
  sessions: scenario.sessions,
  messagesPerSession: scenario.messagesPerSession,
  ratePerSecond: scenario.ratePerSecond,
  bodyBytes: scenario.bodyBytes,
  recipientsPerMessage: scenario.recipientsPerMessage,
  reversePath: `bench@${senderDomain}`,
  domains: domainsOf(scenario).map((domain) => ({ domain, weight: 1 })),
  stream: undefined,
  dotLines: false,
  seed: 1,
});
let residentMax = 0;
const wanted = scenario.messages * scenario.recipientsPerMessage;
for (;;) {
  const counts = await box.counts();
  residentMax = Math.max(residentMax, residentBytes(pid));
  if (counts.receipts >= wanted || epochMs() - startedAt > settleTimeoutMs) break;
  await pause(50);
}
const endedAt = epochMs();
const source = await loading;
const cpuAfter = cpuOf(pid);
const counts = await box.counts();
const seconds = (endedAt - startedAt) / 1000;
const acceptSeconds = ((source.lastAt ?? endedAt) - (source.firstAt ?? startedAt)) / 1000;
const report = {
  scenario: scenario.name,
  about: scenario.about,
  machine: { cores: availableParallelism(), node: process.version },
  durable: "fsync before each 250",
  signed: scenario.signed ? "rsa-2048" : "no",
  messageBytes: scenario.bodyBytes,
  messages: scenario.messages,
  accepted: source.acknowledged,
  delivered: counts.receipts,
  seconds,
  acceptedPerSecond: source.acknowledged / acceptSeconds,
  deliveredPerSecond: counts.receipts / seconds,
  posternCpuUsPerMessage: {
    user: (1e6 * (cpuAfter.userSeconds - cpuBefore.userSeconds)) / scenario.messages,
    system: (1e6 * (cpuAfter.systemSeconds - cpuBefore.systemSeconds)) / scenario.messages,
  },
  sourceCpuUsPerMessage: (1000 * source.cpuMs) / scenario.messages,
  receiversCpuUsPerMessage: (1000 * counts.cpuMs) / scenario.messages,
  residentMiB: residentMax / 1024 / 1024,
  greetingMs: source.greeting,
  finalDotTo250Ms: source.finalDot,
  problem: source.lastProblem,
};
console.log(JSON.stringify(report, null, 2));
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
process.exitCode = report.delivered >= wanted ? 0 : 1;

async function signing(): Promise<Override[]> {
  const keyFile = join(folder, "bench.pem");
  writeFileSync(keyFile, await generatePrivateKey("rsa-2048"));
  return [
    [["signing"], [{ domain: senderDomain, keys: [{ selector: "b", algorithm: "rsa-sha256", key_file: keyFile }] }]],
  ];
}
