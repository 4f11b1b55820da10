// `postern spool`: integrity, and a way out that does not depend on LMDB. The server must be stopped.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { checkSpool, type SpoolCheckResult } from "../spool/integrity.ts";
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
  return new Command("spool").description("the spool of a stopped server: check, export, import").addCommand(check);
}

function withSpoolOptions(command: Command): Command {
  return withJson(command.option("--config <file>", "config that says where the spool is", defaultConfigFile));
}

/** Folders `shard-<n>` by rising number. */
function shardFolders(spoolPath: string): { readonly shard: number; readonly path: string }[] {
  const names = existsSync(spoolPath) ? readdirSync(spoolPath) : [];
  const shards = names.flatMap((name) => /^shard-(\d+)$/.exec(name)?.slice(1).map(Number) ?? []);
  if (shards.length === 0)
    throw new CommandFailure(`there is no spool in ${spoolPath}: has the server run with this config?`);
  return shards.sort((a, b) => a - b).map((shard) => ({ shard, path: join(spoolPath, `shard-${shard}`) }));
}

async function checkShards(options: SpoolOptions): Promise<void> {
  const { spool } = requireConfig(options.config);
  const results: SpoolCheckResult[] = [];
  for (const { path } of shardFolders(spool.path)) results.push(await orFailure(checkSpool(path)));
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

/** The spool says in words what keeps it from being opened. */
async function orFailure<Value>(work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (cause) {
    throw new CommandFailure((cause as Error).message, { cause });
  }
}
