// The command line of `npm run bench`.

import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { catalog } from "./scenario/catalog.ts";
import type { Scenario } from "./scenario/scenario.ts";
import type { SizeShare } from "./source/load-plan.ts";

export interface BenchOptions {
  readonly scenario: string;
  /** What the command line changes of the scenario. */
  readonly changes: Partial<Scenario>;
  readonly json: string | undefined;
  readonly html: string | undefined;
  readonly peer: string | undefined;
  readonly pairs: number;
  readonly tools: "own" | "postfix";
  readonly profile: boolean;
  readonly keep: boolean;
}

/** What the user got wrong: told in one line, with status 2. */
export class WrongUsage extends Error {}

/** As many as have an address of their own (see `bench-world.ts`). */
const hostsMax = 60_000;
/** Postern takes messages up to 25 MiB. */
const bodyBytesMax = 24 * 1_048_576;

export type Parsed =
  | { readonly kind: "options"; readonly options: BenchOptions }
  | { readonly kind: "list" | "help" }
  | { readonly kind: "wrong"; readonly message: string };

export const helpText = `usage: npm run bench -- SCENARIO [options]

SCENARIO is a name of --list, or the path of a module that exports \`scenario\` (see native-bench/scenario/scenario.ts).

  --messages N       messages in all
  --size BYTES       octets of each body: 10240, 10KiB, or sizes with weights: 4KiB:5,60KiB:1
  --warm-up N        messages before the measurement; 0: none
  --sessions N       parallel sessions of the load source
  --per-session N    messages of one connection; 1: a connection for each
  --recipients N     recipients of each message
  --domains N        recipient domains
  --hosts N          receiving operators
  --rate N           messages a second, in place of bursts; without: as the scenario has it
  --connections N    connections of one source to one operator
  --shards N         shards of Postern
  --signed           DKIM signatures (RSA-2048) by Postern
  --encrypted        STARTTLS from the source to Postern and from Postern to the receivers
  --login            AUTH at each connection of the source
  --peer NAME        beside Postern, in turn: postfix, exim or haraka, where installed
  --pairs N          how often both run (default 2)
  --tools postfix    smtp-source and smtp-sink of Postfix instead of our own source and receivers
  --json FILE        the report as data
  --html FILE        the report as one page with charts
  --profile          CPU profiles of Postern's threads in var/bench
  --keep             leave spool and logs in var/bench
  --list             the scenarios
  --help             this text
`;

export function listText(): string {
  const width = Math.max(...catalog.map(({ name }) => name.length));
  return catalog.map(({ name, about }) => `  ${name.padEnd(width)}  ${about}\n`).join("");
}

export function parseBenchOptions(args: readonly string[]): Parsed {
  try {
    return parse(args);
  } catch (error) {
    return { kind: "wrong", message: (error as Error).message };
  }
}

function parse(args: readonly string[]): Parsed {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      messages: { type: "string" },
      size: { type: "string" },
      "warm-up": { type: "string" },
      sessions: { type: "string" },
      "per-session": { type: "string" },
      recipients: { type: "string" },
      domains: { type: "string" },
      hosts: { type: "string" },
      rate: { type: "string" },
      connections: { type: "string" },
      shards: { type: "string" },
      signed: { type: "boolean" },
      encrypted: { type: "boolean" },
      login: { type: "boolean" },
      peer: { type: "string" },
      pairs: { type: "string", default: "2" },
      tools: { type: "string", default: "own" },
      json: { type: "string" },
      html: { type: "string" },
      profile: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      list: { type: "boolean" },
      help: { type: "boolean" },
    },
  });
  if (values.help === true) return { kind: "help" };
  if (values.list === true) return { kind: "list" };
  const [scenario, ...others] = positionals;
  if (scenario === undefined) return { kind: "wrong", message: "name a scenario" };
  if (others.length > 0) return { kind: "wrong", message: `one scenario at a time, not ${positionals.join(" ")}` };
  if (values.tools !== "own" && values.tools !== "postfix") {
    return { kind: "wrong", message: "--tools is own or postfix" };
  }
  const changes: Record<string, unknown> = {};
  const set = (name: keyof Scenario, value: unknown): void => {
    if (value !== undefined) changes[name] = value;
  };
  set("messages", whole("--messages", values.messages));
  set("bodyBytes", values.size === undefined ? undefined : parseSizes(values.size));
  set("warmUpMessages", values["warm-up"] === "0" ? 0 : whole("--warm-up", values["warm-up"]));
  set("sessions", whole("--sessions", values.sessions));
  set("messagesPerSession", whole("--per-session", values["per-session"]));
  set("recipientsPerMessage", whole("--recipients", values.recipients));
  set("domains", whole("--domains", values.domains));
  set("hosts", whole("--hosts", values.hosts, hostsMax));
  set("ratePerSecond", whole("--rate", values.rate));
  // A rate takes the place of bursts.
  if (values.rate !== undefined) changes.bursts = undefined;
  set("connectionsMax", whole("--connections", values.connections));
  set("shards", whole("--shards", values.shards));
  set("signed", values.signed);
  set("encrypted", values.encrypted);
  set("login", values.login);
  const options: BenchOptions = {
    scenario,
    changes: changes as Partial<Scenario>,
    json: values.json,
    html: values.html,
    peer: values.peer,
    pairs: whole("--pairs", values.pairs) ?? 2,
    tools: values.tools,
    profile: values.profile,
    keep: values.keep,
  };
  return { kind: "options", options };
}

function whole(name: string, text: string | undefined, max?: number): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${name} needs a whole number above 0, not ${text}`);
  if (max !== undefined && Number(text) > max) throw new Error(`${name} can be at most ${max}, not ${text}`);
  return Number(text);
}

/** Throws where a report has no place to go to: better said now than after the run. */
export function checkReportPlaces(options: Pick<BenchOptions, "json" | "html">): void {
  for (const [name, file] of [
    ["--json", options.json],
    ["--html", options.html],
  ] as const) {
    if (file === undefined) continue;
    const isFolder = statSync(file, { throwIfNoEntry: false })?.isDirectory() === true;
    if (file === "" || isFolder) throw new WrongUsage(`${name} needs a file, not ${file === "" ? "nothing" : file}`);
    try {
      accessSync(existsSync(file) ? file : dirname(resolve(file)), constants.W_OK);
    } catch (error) {
      throw new WrongUsage(`${name} ${file} cannot be written: ${(error as Error).message}`);
    }
  }
}

/**
 * Throws where the run would not be what was asked for: no peer is set up with TLS or with users, the tools of Postfix
 * send one size to one recipient as fast as they can, and only Postern is killed and started again.
 */
export function checkTogether(scenario: Scenario, options: Pick<BenchOptions, "peer" | "tools">): void {
  const refuse = (part: string, names: readonly (readonly [string, boolean])[]): void => {
    const [clash] = names.find(([, isAsked]) => isAsked) ?? [];
    if (clash !== undefined) throw new WrongUsage(`${part} cannot be had with ${clash}`);
  };
  const isRestart = ["a scenario that restarts the server", scenario.kind === "restart"] as const;
  const secured = [
    ["encrypted mail", scenario.encrypted],
    ["a login", scenario.login],
  ] as const;
  if (options.peer !== undefined) refuse("--peer", [isRestart, ...secured]);
  if (options.tools === "own") return;
  refuse("--tools postfix", [
    isRestart,
    ...secured,
    ["more than one recipient a message", scenario.recipientsPerMessage > 1],
    ["more than one size", typeof scenario.bodyBytes !== "number"],
    ["a rate or bursts", scenario.ratePerSecond !== undefined || scenario.bursts !== undefined],
  ]);
}

/** `10240`, `10KiB`, `1MiB`, or several with weights: `4KiB:5,60KiB:1`. Throws on anything else. */
export function parseSizes(text: string): number | readonly SizeShare[] {
  const shares = text.split(",").map((part) => {
    const match = /^(\d{1,9})(|B|KiB|MiB|KB|MB)(?::(\d{1,6}))?$/i.exec(part.trim());
    if (match === null) throw new Error(`--size needs octets such as 10240 or 10KiB, not ${part}`);
    const unit = (match[2] as string).toUpperCase();
    const factor = unit.startsWith("K") ? 1_024 : unit.startsWith("M") ? 1_048_576 : 1;
    const [bytes, weight] = [Number(match[1]) * factor, Number(match[3] ?? 1)];
    if (bytes < 1 || bytes > bodyBytesMax || weight < 1) {
      throw new Error(`--size needs 1 to ${bodyBytesMax} octets and a weight above 0, not ${part}`);
    }
    return { bytes, weight };
  });
  const [only] = shares;
  return shares.length === 1 && only !== undefined ? only.bytes : shares;
}
