// `postern lane list` and `lane show`: what each source may do at each site, and what it does.

import { Command } from "commander";
import type { LaneSummary } from "../queue/queue.ts";
import { callAdmin } from "./admin-client.ts";
import { type AdminOptions, examples, withAdminOptions, withJson } from "./options.ts";
import { CommandFailure, formatInstant, formatTable, print, printJson } from "./output.ts";

type LaneOptions = AdminOptions & { readonly json?: boolean };

interface LanesAnswer {
  readonly lanes: readonly LaneSummary[];
  readonly total: number;
}

export function laneCommand(): Command {
  const list = new Command("list").description("lanes: connections, rates, suspensions").action(listLanes);
  const show = new Command("show")
    .description("one lane: effective limits, connections, back-off state, last replies")
    .argument("<source>", "source")
    .argument("<site>", "site")
    .action(showLane);
  examples(withJson(withAdminOptions(list)), ["postern lane list"]);
  examples(withJson(withAdminOptions(show)), ["postern lane show a1 google"]);
  return new Command("lane")
    .description("source x site: what is shaped and suspended")
    .addCommand(list)
    .addCommand(show);
}

async function listLanes(options: LaneOptions): Promise<void> {
  const answer = await callAdmin(options, "GET", "/v1/lanes");
  const { lanes, total } = answer.body as LanesAnswer;
  if (options.json === true) return printJson(answer.body);
  if (total === 0) return print("no lane is in use");
  const rows = lanes.map(({ source, site, ready, connections, rate, suspendedUntil }) => [
    source,
    site,
    ready,
    `${connections.busy}+${connections.idle}+${connections.connecting}/${connections.max}`,
    rate,
    suspendedUntil === undefined ? "-" : formatInstant(suspendedUntil),
  ]);
  print(formatTable(["SOURCE", "SITE", "READY", "BUSY+IDLE+NEW/MAX", "RATE", "SUSPENDED UNTIL"], rows));
  if (lanes.length < total) print(`and ${total - lanes.length} more`);
}

async function showLane(source: string, site: string, options: LaneOptions): Promise<void> {
  const query = new URLSearchParams({ source, site });
  const { lanes } = (await callAdmin(options, "GET", `/v1/lanes?${query}`)).body as LanesAnswer;
  if (lanes.length === 0) {
    throw new CommandFailure(`no lane ${source} ${site} is in use: see \`postern lane list\``);
  }
  if (options.json === true) return printJson({ lanes, total: lanes.length });
  print(lanes.map(describeLane).join("\n\n"));
}

function describeLane(lane: LaneSummary): string {
  const { connections } = lane;
  const suspended =
    lane.suspendedUntil === undefined
      ? "no"
      : `until ${formatInstant(lane.suspendedUntil)}: ${lane.suspendedBecause ?? "?"}`;
  return [
    `${lane.source} to ${lane.site} (${lane.where})`,
    `  ready         ${lane.ready}`,
    `  connections   ${connections.busy} busy, ${connections.idle} idle, ${connections.connecting} connecting, at most ${connections.max}`,
    `  rate          ${lane.rate} messages, ${lane.connectionRate} connections, ${lane.messagesPerConnectionMax} messages per connection`,
    `  suspended     ${suspended}`,
    "  last replies",
    ...(lane.lastReplies.length === 0
      ? ["    -"]
      : lane.lastReplies.map(({ at, text }) => `    ${formatInstant(at)}: ${text}`)),
  ].join("\n");
}
