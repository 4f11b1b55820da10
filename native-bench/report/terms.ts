// What a report says of itself: the machine, and the terms on which the numbers hold.

import { generateKeyPairSync, sign } from "node:crypto";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import type { Scenario, Target } from "../scenario/scenario.ts";
import type { BenchReport, Check, CpuReport, Machine, Terms } from "./report.ts";

export function machineOf(): Machine {
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    memoryMiB: Math.round(totalmem() / 1024 / 1024),
    kernel: release(),
    node: process.version,
    loadBefore: loadavg()[0] ?? 0,
  };
}

export function termsOf(scenario: Scenario): Terms {
  const { receiver } = scenario;
  const delay = receiver.finalDotDelay;
  const rate =
    scenario.bursts !== undefined
      ? `bursts of ${scenario.bursts.messages} messages`
      : scenario.ratePerSecond !== undefined
        ? `${scenario.ratePerSecond} messages a second`
        : "flat out";
  return {
    durable: "each message on the disk (fsync) before its 250",
    signed: scenario.signed ? "DKIM, RSA-2048, by Postern" : "no",
    encrypted: scenario.encrypted ? "STARTTLS at both doors" : "no",
    message: `${sizeText(scenario.bodyBytes)}, ${scenario.recipientsPerMessage} recipient${scenario.recipientsPerMessage === 1 ? "" : "s"}`,
    load:
      `${scenario.messages} messages after ${scenario.warmUpMessages} to warm up, ${rate}, ${scenario.sessions} sessions` +
      `${scenario.messagesPerSession === 1 ? ", a connection for each message" : ""}${scenario.login ? ", AUTH" : ""}` +
      `; Postern has ${scenario.shards === 1 ? "one shard" : `${scenario.shards} shards`}`,
    receivers:
      `${scenario.domains} domains at ${scenario.hosts} operators, ${scenario.connectionsMax} connections each, ` +
      `round trip ${receiver.roundTripMs ?? 0} ms, final reply after ${delay === undefined ? "0 ms" : `${delay.medianMs} ms (median)`}` +
      otherWays(receiver),
  };
}

/** What else the receivers do, by the names of `OperatorProfile`. */
function otherWays({ roundTripMs, finalDotDelay, texts, ...others }: Scenario["receiver"]): string {
  return Object.entries(others)
    .map(([name, value]) => `, ${name} ${JSON.stringify(value)}`)
    .join("");
}

function sizeText(bodyBytes: Scenario["bodyBytes"]): string {
  if (typeof bodyBytes === "number") return `body of ${bodyBytes} octets`;
  return `bodies of ${bodyBytes.map(({ bytes, weight }) => `${bytes} octets (weight ${weight})`).join(", ")}`;
}

const signatureRounds = 200;

/** CPU time of one RSA-2048 signature of 1 KB on this machine, in microseconds. */
export function bareSignatureUs(): number {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
  const text = Buffer.alloc(1_024, "x");
  for (let i = 0; i < 20; i++) sign("sha256", text, privateKey);
  const before = process.cpuUsage();
  for (let i = 0; i < signatureRounds; i++) sign("sha256", text, privateKey);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / signatureRounds;
}

/** A signature of a mail may cost so many bare ones: hashes, canonical forms, and the way to another thread and back. */
const signatureAllowance = 1.3;

/** The same, with what a bare signature cost before and after the run. */
export function cpuWithSignatures(cpu: CpuReport, bareUs: readonly [before: number, after: number]): CpuReport {
  const bareSignatureUs = (bareUs[0] + bareUs[1]) / 2;
  const serverUsBesideSignature = cpu.serverUsPerMessage - signatureAllowance * bareSignatureUs;
  return { ...cpu, bareSignatureUs, serverUsBesideSignature };
}

/** Holds the targets against a report, or a part of it: `prefix` is what their paths have in front. */
export function checksOf(targets: readonly Target[], server: string, report: object, prefix = ""): Check[] {
  return targets.map(({ value, atLeast, atMost }) => {
    const found = numberAt(report, value.slice(prefix.length));
    const met =
      found !== undefined && (atLeast === undefined || found >= atLeast) && (atMost === undefined || found <= atMost);
    const bound = [atLeast === undefined ? "" : `at least ${atLeast}`, atMost === undefined ? "" : `at most ${atMost}`];
    return { server, value, bound: bound.filter(Boolean).join(", "), found, met };
  });
}

/** All accepted, and all that was accepted came once and whole, within the receivers' limits where Postern sent it. */
export function isClean({ runs, restart }: Pick<BenchReport, "runs" | "restart">): boolean {
  return [...runs, ...(restart === undefined ? [] : [restart])].every(
    (run) =>
      run.lost + run.duplicates + run.damaged === 0 &&
      (run.server !== "postern" || run.breaches === 0) &&
      (!("accepted" in run) || run.accepted === run.messages),
  );
}

function numberAt(report: object, path: string): number | undefined {
  let current: unknown = report;
  for (const name of path.split(".")) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Readonly<Record<string, unknown>>)[name];
  }
  return typeof current === "number" ? current : undefined;
}
