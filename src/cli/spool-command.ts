// `postern spool`: integrity, and a way out that does not depend on LMDB. The server must be stopped.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import type { ExportResult } from "../spool/export.ts";
import type { ImportResult } from "../spool/import.ts";
import type { SpoolCheckResult } from "../spool/integrity.ts";
import { countOf, defaultConfigFile, examples, requireConfig, withJson } from "./options.ts";
import { CommandFailure, formatBytes, print, printJson } from "./output.ts";

interface SpoolOptions {
  readonly config: string;
  readonly json?: boolean;
}

export function spoolCommand(): Command {
  const check = withSpoolOptions(new Command("check"))
    .description("read every record of every shard and check it; exit status 1 when something is wrong")
    .action(checkShards);
  examples(check, ["postern spool check --config conf/postern.yaml"]);
  const exporting = withSpoolOptions(new Command("export"))
    .description("write all mail out as plain files, one folder for each shard; the spool is left as it is")
    .argument("<dir>", "an empty or missing folder")
    .action(exportShards);
  examples(exporting, ["postern spool export /backup/spool-today --config conf/postern.yaml"]);
  const importing = withSpoolOptions(new Command("import"))
    .description("take an export in; messages that are there already are left alone, so it can be run again")
    .argument("<dir>", "a folder that `spool export` wrote")
    .action(importShards);
  examples(importing, ["postern spool import /backup/spool-today --config conf/postern.yaml"]);
  return new Command("spool")
    .description("the spool of a stopped server: check, export, import")
    .addCommand(check)
    .addCommand(exporting)
    .addCommand(importing);
}

function withSpoolOptions(command: Command): Command {
  return withJson(command.option("--config <file>", "config that says where the spool is", defaultConfigFile));
}

/** Folders `shard-<n>` by rising number. */
function shardFolders(folder: string, hint: string): { readonly name: string; readonly path: string }[] {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const shards = names.flatMap((name) => /^shard-(\d+)$/.exec(name)?.slice(1).map(Number) ?? []);
  if (shards.length === 0) throw new CommandFailure(`there is no shard-<n> in ${folder}: ${hint}`);
  return shards
    .sort((a, b) => a - b)
    .map((shard) => ({ name: `shard-${shard}`, path: join(folder, `shard-${shard}`) }));
}

const noSpoolHint = "has the server run with this config?";

async function checkShards(options: SpoolOptions): Promise<void> {
  const { spool } = await requireConfig(options.config);
  const { checkSpool } = await import("../spool/integrity.ts");
  const results: SpoolCheckResult[] = [];
  for (const { path } of shardFolders(spool.path, noSpoolHint)) results.push(await orFailure(checkSpool(path)));
  const problems = results.reduce((sum, { problemCount }) => sum + problemCount, 0);
  if (options.json === true) printJson({ ok: problems === 0, problems, shards: results });
  else for (const result of results) print(describeCheck(result));
  if (problems > 0) {
    throw new CommandFailure(
      `${countOf(problems, "problem")} in the spool: export what is whole, and keep a copy of the folder`,
    );
  }
}

function describeCheck(result: SpoolCheckResult): string {
  const { path, messages, entries, contentBytes, holds, outboxRecords, quarantined, problemCount, problems } = result;
  const lines = [
    `${path}: ${problemCount === 0 ? "whole" : countOf(problemCount, "problem")}`,
    `  ${countOf(messages, "message")} in ${countOf(entries, "entry", "entries")}, ${formatBytes(contentBytes)} of content`,
    `  ${countOf(holds, "hold")}, ${countOf(outboxRecords, "event record")} not yet in the log, ${quarantined} quarantined`,
    ...problems.map(({ kind, queueId, detail }) => `  ${kind} ${queueId ?? "-"}: ${detail}`),
  ];
  if (problemCount > problems.length) lines.push(`  and ${problemCount - problems.length} more`);
  return lines.join("\n");
}

async function exportShards(directory: string, options: SpoolOptions): Promise<void> {
  const { spool } = await requireConfig(options.config);
  const { exportSpool } = await import("../spool/export.ts");
  const shards: ({ readonly name: string } & ExportResult)[] = [];
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw new CommandFailure(`${directory} is not empty: name a folder that is empty or missing`);
  }
  for (const { name, path } of shardFolders(spool.path, noSpoolHint)) {
    shards.push({ name, ...(await orFailure(exportSpool(path, join(directory, name)))) });
  }
  const damaged = shards.flatMap((shard) => shard.damaged);
  if (options.json === true) printJson({ shards });
  else {
    for (const { name, messages, contentBytes } of shards) {
      print(`${join(directory, name)}: ${countOf(messages, "message")}, ${formatBytes(contentBytes)} of content`);
    }
    for (const { queueId, detail } of damaged) print(`  damaged ${queueId ?? "-"}: ${detail}`);
  }
  if (damaged.length > 0) {
    throw new CommandFailure(
      `${countOf(damaged.length, "damaged record")} could not be exported: keep the spool's folder`,
    );
  }
}

async function importShards(directory: string, options: SpoolOptions): Promise<void> {
  const { spool } = await requireConfig(options.config);
  const { importSpool } = await import("../spool/import.ts");
  const { SystemClock } = await import("../platform/system-clock.ts");
  const { silentLog } = await import("../telemetry/log.ts");
  const importOptions = { mapSizeBytes: spool.mapSizeBytes, clock: new SystemClock(), log: silentLog };
  const shards: ({ readonly name: string } & ImportResult)[] = [];
  for (const { name, path } of shardFolders(directory, "is it what `postern spool export` wrote?")) {
    shards.push({ name, ...(await orFailure(importSpool(path, join(spool.path, name), importOptions))) });
  }
  if (options.json === true) return printJson({ shards });
  for (const { name, imported, skipped } of shards) {
    print(`${join(spool.path, name)}: ${countOf(imported, "message")} taken in, ${skipped} there already`);
  }
}

/** The spool says in words what keeps it from being opened. */
async function orFailure<Value>(work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (cause) {
    throw new CommandFailure((cause as Error).message, { cause });
  }
}
