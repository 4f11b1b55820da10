// `npm run demo`: the main job of Postern, with an internet in a box.
//
// It starts the simulated operators, their DNS and Postern, submits mail over SMTP, and holds what was promised with a
// 250 against what the receivers took. Exit status 1 when anything was lost or delivered twice.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { generatePrivateKey, keyRecord } from "../src/signing/keygen.ts";
import type { Latency } from "./audit.ts";
import { Box, endOnSignals } from "./box.ts";
import { epochMs, pause } from "./clock.ts";
import { DemoScreen, type DemoView, type OperatorRow } from "./demo-screen.ts";
import {
  demoDomains,
  demoOperators,
  demoTraits,
  demoZone,
  downAtFirst,
  downLater,
  returnsOperator,
  senderDomain,
} from "./demo-world.ts";
import { checkSignatures, type DkimCheck } from "./dkim-check.ts";
import { repositoryRoot } from "./postern-process.ts";
import type { InternetCounts } from "./sink/internet-process.ts";
import type { OperatorProfile } from "./sink/operator.ts";
import type { LoadPlan } from "./source/load-plan.ts";

interface DemoOptions {
  readonly messages: number;
  readonly json: string | undefined;
  readonly keep: boolean;
}

interface Summary {
  readonly ok: boolean;
  readonly problems: readonly string[];
  readonly accepted: number;
  readonly delivered: number;
  readonly deferred: number;
  readonly bounced: number;
  readonly returned: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly damaged: number;
  readonly limitsBroken: number;
  readonly messagesPerSecond: number;
  readonly messagesPerSecondPeak: number;
  readonly acceptedPerSecond: number;
  readonly seconds: number;
  readonly acceptToDelivery: {
    readonly all: Latency;
    readonly receipts: Latency;
    readonly news: Latency;
    /** Those of `receipts` that met neither a deferral nor an outage. */
    readonly receiptsAtOnce: Latency;
  };
  readonly signatures: DkimCheck;
  readonly operators: readonly OperatorRow[];
}

const folder = join(repositoryRoot, "var/demo");
const template = join(repositoryRoot, "conf/demo.yaml");
const selector = "s2026a";
const pollMs = 250;
const readyTimeoutMs = 30_000;
/** Everything must be settled this long after the start, and a little longer for more mail. */
const boundBaseMs = 60_000;
const boundPerMessageMs = 10;
/** Once all is settled we listen this long for mail that comes twice. */
const quietMs = 750;
/** The events of the world, after the load began. */
const sleeperWakesAtMs = 3_000;
const outageFromMs = 1_500;
const outageUntilMs = 4_000;
const samplesMax = 40;
const seed = 20_260_101;

function demoOptions(): DemoOptions {
  const { values } = parseArgs({
    options: {
      messages: { type: "string", default: "5000" },
      json: { type: "string" },
      keep: { type: "boolean", default: false },
    },
  });
  const messages = Number(values.messages);
  if (!Number.isInteger(messages) || messages < 1) {
    process.stderr.write("demo: --messages needs a whole number above 0\n");
    process.exit(2);
  }
  return { messages, json: values.json, keep: values.keep };
}

async function main(): Promise<void> {
  const options = demoOptions();
  endOnSignals();
  const zone = demoZone(new Map([await demoKey()]));
  await using box = await Box.open({
    folder,
    template,
    operators: demoOperators(),
    zone,
    seed,
    samplesMax,
    usualPorts: true,
  });
  process.stdout.write(
    `Postern demo: ${options.messages} messages to ${demoOperators().length - 1} simulated receiving operators on loopback\n`,
  );
  const postern = await box.startPosternReady(readyTimeoutMs);

  const run = new DemoRun(box, options);
  await run.untilSettled();
  const stopped = postern.running && (await postern.stop(readyTimeoutMs));
  const summary = await run.summary(
    await checkSignatures(await box.samples(), zone),
    stopped ? [] : ["Postern did not end by itself"],
  );

  process.stdout.write(summaryText(summary));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(summary, undefined, 2)}\n`);
  if (options.keep || !summary.ok) process.stdout.write(`The spool is in ${join(folder, "spool")}\n`);
  else rmSync(join(folder, "spool"), { recursive: true, force: true });
  process.exitCode = summary.ok ? 0 : 1;
}

/** The senders' DKIM key, made once; returns its DNS record. */
async function demoKey(): Promise<readonly [name: string, text: string]> {
  const keys = join(folder, "keys");
  const file = join(keys, `${senderDomain}.${selector}.pem`);
  mkdirSync(keys, { recursive: true });
  if (!existsSync(file)) writeFileSync(file, await generatePrivateKey("rsa-2048"), { mode: 0o600 });
  const { name, text } = keyRecord(senderDomain, selector, readFileSync(file, "utf8"));
  return [name, text];
}

class DemoRun {
  readonly #box: Box;
  readonly #options: DemoOptions;
  readonly #screen = new DemoScreen(process.stdout);
  readonly #startedAt = epochMs();
  /** Recipients with at least one transient failure. */
  readonly #deferred = new Set<string>();
  readonly #deliveredPerSecond = new Map<number, number>();
  readonly #operatorCounts = new Map<string, { delivered: number; deferred: number; refused: number }>();
  readonly #problems: string[] = [];
  #deferrals = 0;
  #loaded = false;
  #acceptedPerSecond = 0;
  #counts: InternetCounts | undefined;
  #note = "";

  constructor(box: Box, options: DemoOptions) {
    this.#box = box;
    this.#options = options;
  }

  /** Submits, watches, and returns when nothing is open any more, or the bound has passed. */
  async untilSettled(): Promise<void> {
    const boundMs = boundBaseMs + boundPerMessageMs * this.#options.messages;
    const world = this.#moveWorld();
    const load = this.#load();
    let quietSince: number | undefined;
    for (;;) {
      await this.#look();
      const now = epochMs();
      if (!this.#settled()) quietSince = undefined;
      else quietSince ??= now;
      if (quietSince !== undefined && now - quietSince >= quietMs) break;
      if (now - this.#startedAt > boundMs) {
        this.#problems.push(`not settled within ${boundMs / 1_000} s`);
        break;
      }
      await pause(pollMs);
    }
    await Promise.all([world, load]);
    this.#screen.finish(this.#view());
  }

  async #load(): Promise<void> {
    const { messages } = this.#options;
    const realtime = Math.max(1, Math.round(messages / 10));
    const plan: Pick<LoadPlan, "target" | "recipientsPerMessage" | "domains" | "seed"> = {
      target: this.#box.submission,
      recipientsPerMessage: 1,
      domains: demoDomains(),
      seed,
    };
    const batch = this.#box.load({
      ...plan,
      runId: "news",
      messages: messages - realtime,
      sessions: 20,
      messagesPerSession: 200,
      ratePerSecond: undefined,
      bodyBytes: 10_000,
      reversePath: `news@${senderDomain}`,
      stream: "news",
      dotLines: false,
    });
    const stream = this.#box.load({
      ...plan,
      runId: "receipts",
      messages: realtime,
      sessions: 4,
      messagesPerSession: 10,
      ratePerSecond: Math.max(20, realtime / 8),
      bodyBytes: 2_000,
      reversePath: `receipts@${senderDomain}`,
      stream: "receipts",
      dotLines: true,
    });
    try {
      const batchCounts = await batch;
      const spanMs = (batchCounts.lastAt ?? 0) - (batchCounts.firstAt ?? 0);
      this.#acceptedPerSecond = spanMs > 0 ? (batchCounts.acknowledged * 1_000) / spanMs : 0;
      const streamCounts = await stream;
      const refused = batchCounts.refused + streamCounts.refused;
      if (refused > 0)
        this.#problems.push(`${refused} messages were refused: ${batchCounts.lastProblem ?? streamCounts.lastProblem}`);
    } catch (error) {
      this.#problems.push((error as Error).message);
    }
    this.#loaded = true;
  }

  /** One operator is down at first, another one fails in the middle. */
  async #moveWorld(): Promise<void> {
    const down = (style: "refuse" | "reset"): Partial<OperatorProfile> => ({
      down: [{ fromMs: 0, untilMs: Number.MAX_SAFE_INTEGER, style }],
    });
    await this.#box.change(downAtFirst, down("reset"));
    this.#note = `${downAtFirst} is down`;
    await pause(outageFromMs);
    await this.#box.change(downLater, down("refuse"));
    this.#note = `${downAtFirst} and ${downLater} are down`;
    await pause(sleeperWakesAtMs - outageFromMs);
    await this.#box.change(downAtFirst, { down: [] });
    this.#note = `${downAtFirst} is back, ${downLater} is down`;
    await pause(outageUntilMs - sleeperWakesAtMs);
    await this.#box.change(downLater, { down: [] });
    this.#note = "everybody is back";
  }

  async #look(): Promise<void> {
    const { receipts, events } = await this.#box.poll();
    for (const { operator, repliedAt } of receipts) {
      this.#operator(operator).delivered++;
      const second = Math.floor(((repliedAt ?? this.#startedAt) - this.#startedAt) / 1_000);
      this.#deliveredPerSecond.set(second, (this.#deliveredPerSecond.get(second) ?? 0) + 1);
    }
    for (const { kind, queueId = "", forwardPath = "" } of events) {
      if (kind !== "transient-failure") continue;
      this.#deferrals++;
      this.#deferred.add(`${queueId} ${forwardPath}`);
    }
    this.#counts = await this.#box.counts();
    for (const { name, verdicts } of this.#counts.operators) {
      const row = this.#operator(name);
      row.deferred = (verdicts.deferral ?? 0) + (verdicts.greylist ?? 0) + (verdicts.down ?? 0);
      row.refused = (verdicts["unknown-user"] ?? 0) + (verdicts.content ?? 0);
    }
    this.#screen.draw(this.#view(), epochMs());
  }

  /** All mail is in, every recipient is delivered or bounced, and every bounce came back to its sender. */
  #settled(): boolean {
    const { open, bounced } = this.#box.audit.tally();
    return this.#loaded && open === 0 && this.#box.audit.returns.length >= bounced;
  }

  #operator(name: string): { delivered: number; deferred: number; refused: number } {
    const known = this.#operatorCounts.get(name) ?? { delivered: 0, deferred: 0, refused: 0 };
    this.#operatorCounts.set(name, known);
    return known;
  }

  #view(): DemoView {
    const { accepted, delivered, bounced, open } = this.#box.audit.tally();
    const second = Math.floor((epochMs() - this.#startedAt) / 1_000);
    return {
      seconds: (epochMs() - this.#startedAt) / 1_000,
      messages: this.#options.messages,
      submitted: accepted,
      delivered,
      deferrals: this.#deferrals,
      bounced,
      waiting: open,
      perSecond: this.#deliveredPerSecond.get(second - 1) ?? 0,
      operators: this.#rows(),
      note: this.#note,
    };
  }

  #rows(): OperatorRow[] {
    const traits = demoTraits();
    return (this.#counts?.operators ?? []).map(({ name, connectionsOpen, verdicts }) => ({
      name,
      trait: traits.get(name) ?? "",
      ...this.#operator(name),
      connections: connectionsOpen,
      breaches: breachesOf(verdicts),
    }));
  }

  async summary(signatures: DkimCheck, problems: readonly string[]): Promise<Summary> {
    await this.#look();
    const { audit } = this.#box;
    const { accepted, delivered, bounced, open } = audit.tally();
    const duplicates = audit.duplicates();
    const all = [...this.#problems, ...problems];
    for (const { queueId, recipient } of audit.open().slice(0, 5)) all.push(`lost: ${queueId} to ${recipient}`);
    for (const { benchId, recipient, copies } of duplicates.slice(0, 5)) {
      all.push(`${copies.length} copies of ${benchId} to ${recipient}`);
    }
    // A DSN that names no queue id cannot be told from another one.
    const returned = new Set(audit.returns.map(({ queueId }, i) => queueId || i)).size;
    if (returned < bounced) all.push(`${bounced - returned} bounces were not reported to the sender`);
    if (audit.returns.length > returned) all.push(`${audit.returns.length - returned} bounces came back twice`);
    if (audit.damaged > 0) all.push(`${audit.damaged} bodies were changed on the way`);
    if (audit.contradictions() > 0) all.push(`${audit.contradictions()} recipients were bounced and delivered`);
    if (signatures.passed < signatures.checked) all.push(`DKIM: ${signatures.firstFailure}`);
    const firstToLastMs = (audit.lastDeliveryAt() ?? this.#startedAt) - this.#startedAt;
    return {
      ok: all.length === 0,
      problems: all,
      accepted,
      delivered,
      deferred: this.#deferred.size,
      bounced,
      returned,
      lost: open,
      duplicates: duplicates.length,
      damaged: audit.damaged,
      limitsBroken: this.#rows().reduce((sum, { breaches }) => sum + breaches, 0),
      messagesPerSecond: firstToLastMs > 0 ? (delivered * 1_000) / firstToLastMs : 0,
      messagesPerSecondPeak: Math.max(0, ...this.#deliveredPerSecond.values()),
      acceptedPerSecond: this.#acceptedPerSecond,
      seconds: firstToLastMs / 1_000,
      acceptToDelivery: {
        all: audit.latency(() => true),
        receipts: audit.latency(({ stream }) => stream === "receipts"),
        news: audit.latency(({ stream }) => stream === "news"),
        receiptsAtOnce: audit.latency(
          ({ stream, queueId, recipient }) =>
            stream === "receipts" && !hadOutage(recipient) && !this.#deferred.has(`${queueId} ${recipient}`),
        ),
      },
      signatures,
      operators: this.#rows().filter(({ name }) => name !== returnsOperator),
    };
  }
}

/** Whether the recipient's operator was down for a while. */
function hadOutage(recipient: string): boolean {
  return [downAtFirst, downLater].some((name) => recipient.endsWith(`@${name}.example`));
}

function breachesOf(verdicts: InternetCounts["operators"][number]["verdicts"]): number {
  return (
    (verdicts["connection-cap"] ?? 0) +
    (verdicts["messages-per-connection"] ?? 0) +
    (verdicts["address-rate"] ?? 0) +
    (verdicts["domain-rate"] ?? 0) +
    (verdicts.blocked ?? 0)
  );
}

function summaryText(summary: Summary): string {
  const { acceptToDelivery: spans, signatures } = summary;
  const span = ({ p50Ms, p99Ms }: Latency): string => `p50 ${seconds(p50Ms)}  p99 ${seconds(p99Ms)}`;
  const lines = [
    "",
    `  accepted    ${summary.accepted}   (${summary.acceptedPerSecond.toFixed(0)} msg/s, each on the disk before its 250)`,
    `  delivered   ${summary.delivered}   (${summary.messagesPerSecond.toFixed(0)} msg/s from start to end, best second ${summary.messagesPerSecondPeak})`,
    `  deferred    ${summary.deferred}   recipients that needed more than one attempt`,
    `  bounced     ${summary.bounced}   (${summary.returned} reported back to the sender)`,
    `  lost        ${summary.lost}`,
    `  duplicates  ${summary.duplicates}`,
    `  limits      ${summary.limitsBroken} broken`,
    `  signatures  ${signatures.passed} of ${signatures.checked} sampled messages verify (DKIM, checked by mailauth)`,
    "  from acceptance to delivery",
    `    all       ${span(spans.all)}`,
    `    receipts  ${span(spans.receipts)}   (realtime; ${span(spans.receiptsAtOnce)} without deferrals and outages)`,
    `    news      ${span(spans.news)}   (batch; with the operators' delays, deferrals and outages)`,
    `  ${cpus().length} cores, ${summary.seconds.toFixed(1)} s`,
    "",
    ...summary.problems.map((problem) => `  PROBLEM: ${problem}`),
    summary.ok ? "  Nothing lost, nothing delivered twice." : "  The demo failed.",
    "",
  ];
  return lines.join("\n");
}

function seconds(ms: number): string {
  return ms < 1_000 ? `${ms.toFixed(0)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}

await main().catch((error: unknown) => {
  process.stderr.write(`demo: ${(error as Error).message}\n`);
  process.exit(1);
});
