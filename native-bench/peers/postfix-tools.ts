// A run with smtp-source and smtp-sink of Postfix in place of our own source and receivers: nobody's own tools decide.
//
// smtp-source sends to one address, so that there is one for each domain; smtp-sink counts what it takes.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { hasProgram } from "../../test/peers/processes.ts";
import { domainsOf, operatorsOf, overridesOf, senderDomain, zoneOf } from "../bench-world.ts";
import { Box } from "../box.ts";
import { epochMs, pause } from "../clock.ts";
import { type LoadRunPlan, whileItRuns } from "../load-run.ts";
import { type Cpu, cpuOf, minus, plus } from "../process-usage.ts";
import { cpuReport } from "../report/cpu.ts";
import type { RunReport } from "../report/report.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { RunningServer } from "../server.ts";
import type { Percentiles } from "../source/load-plan.ts";
import { packagesFolder } from "./peer-process.ts";

/** Each smtp-source is a process; more domains than this share them. */
const toolDomainsMax = 8;
const stallMs = 60_000;
const pollMs = 100;
/** For a smtp-source to say QUIT and end, once all is delivered or nothing comes any more. */
const endMs = 10_000;
const sinkBacklog = 1_000;

export function hasPostfixTools(): boolean {
  return hasProgram("smtp-source", unpacked()) && hasProgram("smtp-sink", unpacked());
}

function unpacked(): string | undefined {
  const folder = join(packagesFolder, "postfix");
  return existsSync(folder) ? folder : undefined;
}

/** The tools of one run: they end with it, however it ends. */
class Tools {
  readonly #running = new Set<ChildProcess>();
  readonly #kill = (): void => {
    for (const child of this.#running) child.kill("SIGKILL");
  };

  constructor() {
    process.on("exit", this.#kill);
  }

  start(name: string, args: readonly string[], output: "pipe" | "ignore"): ChildProcess {
    const folder = unpacked();
    const inFolder = folder !== undefined && existsSync(join(folder, "usr/sbin", name));
    const command = inFolder ? join(folder, "usr/sbin", name) : name;
    const env = inFolder ? { ...process.env, LD_LIBRARY_PATH: join(folder, "usr/lib/postfix") } : process.env;
    const child = spawn(command, args, { env, stdio: ["ignore", output, "inherit"] });
    this.#running.add(child);
    child.once("exit", () => this.#running.delete(child));
    return child;
  }

  [Symbol.dispose](): void {
    this.#kill();
    process.off("exit", this.#kill);
  }
}

const notMeasured: Percentiles = { count: 0, p50Ms: 0, p90Ms: 0, p99Ms: 0, p999Ms: 0, maxMs: 0 };

/** What they can do of it: a domain for each smtp-source, as many messages to each, and no warm-up. */
export function asToolsMayRun(scenario: Scenario): Scenario {
  const domains = Math.min(scenario.domains, scenario.messages, toolDomainsMax);
  return {
    ...scenario,
    warmUpMessages: 0,
    domains,
    domainWeights: "equal",
    hosts: Math.min(scenario.hosts, domains),
    messages: Math.floor(scenario.messages / domains) * domains,
    sessions: Math.max(1, Math.round(scenario.sessions / domains)) * domains,
  };
}

/** As `runLoad`, without what these tools do not tell: latencies, and what came lost or twice one by one. */
export async function runWithPostfixTools(plan: LoadRunPlan): Promise<RunReport> {
  const scenario = asToolsMayRun(plan.scenario);
  await using box = await Box.open({
    folder: plan.folder,
    template: plan.template,
    overrides: () => overridesOf(scenario, plan.folder),
    operators: operatorsOf(scenario).map((setup) => ({ ...setup, addresses: [] })),
    zone: zoneOf(scenario),
    seed: 1,
    isTemporary: !plan.keep,
  });
  using tools = new Tools();
  const sinks = operatorsOf(scenario).flatMap(({ addresses }) =>
    addresses.map((address) => new ToolSink(tools, `${address}:${box.places.deliveryPort}`)),
  );
  const server = await plan.start(box);
  try {
    return await whileItRuns(server, measure(plan, scenario, server, tools, sinks));
  } finally {
    await server.stop();
  }
}

async function measure(
  plan: LoadRunPlan,
  scenario: Scenario,
  server: RunningServer,
  tools: Tools,
  sinks: readonly ToolSink[],
): Promise<RunReport> {
  const taken = (): number => sinks.reduce((sum, { messages }) => sum + messages, 0);
  const domains = domainsOf(scenario).map(({ domain }) => domain);
  const { messages } = scenario;
  const each = messages / domains.length;
  const sessions = scenario.sessions / domains.length;
  const bytes = typeof scenario.bodyBytes === "number" ? scenario.bodyBytes : (scenario.bodyBytes[0]?.bytes ?? 0);
  const before = server.cpu();
  const startedAt = epochMs();
  let acceptedAt: number | undefined;
  const { host, port } = server.target;
  // Without -d it connects anew for each message.
  const keeps = scenario.messagesPerSession > 1 ? ["-d"] : [];
  const options = [...keeps, "-s", sessions, "-l", bytes, "-m", each, "-f", `bench@${senderDomain}`];
  const sources = domains.map((domain) =>
    tools.start("smtp-source", [...options, "-t", `u@${domain}`, `${host}:${port}`].map(String), "ignore"),
  );
  const sourceCpu = new CpuWatch(sources);
  const ended = Promise.all(
    sources.map((child) => new Promise<number | null>((resolve) => child.once("exit", resolve))),
  );
  void ended.then(() => (acceptedAt = epochMs()));
  let isGone = false;
  void server.ended.then(() => (isGone = true));
  let [progressAt, progress, privateMax] = [startedAt, 0, 0];
  while (!isGone && taken() < messages && epochMs() - progressAt < stallMs) {
    await pause(pollMs);
    sourceCpu.look();
    privateMax = Math.max(privateMax, server.memory().anonymousMiB);
    if (taken() > progress) [progress, progressAt] = [taken(), epochMs()];
  }
  const seconds = (Math.max(...sinks.map(({ lastAt }) => lastAt)) - startedAt) / 1_000;
  const used = minus(server.cpu(), before);
  // Whoever has not had the answers by now is not waited for.
  const limit = setTimeout(() => sources.forEach((child) => void child.kill("SIGKILL")), endMs);
  const codes = await ended;
  clearTimeout(limit);
  const delivered = taken();
  return {
    server: plan.serverName,
    notes: [
      ...plan.notes,
      `smtp-source and smtp-sink of Postfix: ${domains.length} domains, ${sessions} sessions each; lost and twice by numbers alone, damage and limits not looked at`,
    ],
    messages,
    recipientsPerMessage: 1,
    accepted: codes.every((code) => code === 0) ? messages : 0,
    delivered,
    refused: 0,
    bounced: 0,
    repeatsAfterLostReply: 0,
    lost: Math.max(0, messages - delivered),
    duplicates: Math.max(0, delivered - messages),
    damaged: 0,
    breaches: 0,
    seconds,
    acceptedPerSecond: messages / (((acceptedAt ?? epochMs()) - startedAt) / 1_000),
    deliveredPerSecond: delivered / seconds,
    deliveredPerSecondSteady: 0,
    deliveredMiBPerSecond: (delivered * bytes) / 1_048_576 / seconds,
    cpu: cpuReport(
      { server: used, source: sourceCpu.sum(), receivers: sinks.map(({ pid }) => cpuOf(pid)).reduce(plus) },
      messages,
    ),
    memory: { serverPrivateMiBMax: privateMax, serverFileMiBMax: server.memory().fileMiB, serverPrivateGrowthMiB: 0 },
    greeting: notMeasured,
    finalDot: notMeasured,
    connectTo250: notMeasured,
    acceptToDelivery: notMeasured,
    deferralsByOperator: [],
    samples: [],
    problem: codes.some((code) => code !== 0) ? "smtp-source ended with a failure" : undefined,
  };
}

/** smtp-sink, and the messages that it says it took. */
class ToolSink {
  readonly pid: number;
  messages = 0;
  /** When the counters last changed; 0 before. */
  lastAt = 0;

  constructor(tools: Tools, listen: string) {
    // Its counters are sessions, QUITs and messages, written over each other on one line.
    const child = tools.start("smtp-sink", ["-u", "root", "-c", listen, String(sinkBacklog)], "pipe");
    this.pid = child.pid ?? 0;
    let rest = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      const lines = (rest + chunk.toString("latin1")).split("\r");
      rest = lines.pop() ?? "";
      const count = Number(/mesg=(\d+)/.exec(lines.at(-1) ?? "")?.[1] ?? this.messages);
      if (count > this.messages) this.lastAt = epochMs();
      this.messages = count;
    });
  }
}

/** CPU time of processes as last seen: they are gone when one wants to know. */
class CpuWatch {
  readonly #children: readonly ChildProcess[];
  readonly #seen = new Map<number, Cpu>();

  constructor(children: readonly ChildProcess[]) {
    this.#children = children;
  }

  look(): void {
    for (const { pid = 0 } of this.#children) {
      const cpu = cpuOf(pid);
      if (cpu.userSeconds + cpu.systemSeconds > 0) this.#seen.set(pid, cpu);
    }
  }

  sum(): Cpu {
    let [userSeconds, systemSeconds] = [0, 0];
    for (const cpu of this.#seen.values()) {
      userSeconds += cpu.userSeconds;
      systemSeconds += cpu.systemSeconds;
    }
    return { userSeconds, systemSeconds };
  }
}
