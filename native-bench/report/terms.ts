// What a report says of itself: the machine, and the terms on which the numbers hold.

import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import type { Scenario } from "../scenario/scenario.ts";
import type { Machine, Terms } from "./report.ts";

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
