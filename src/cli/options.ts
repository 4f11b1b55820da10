// Options that several verbs share, and their checks.

import { type Command, InvalidArgumentError } from "commander";
import type { Config } from "../config/config.ts";
import { CommandFailure, note } from "./output.ts";

export const defaultConfigFile = "conf/postern.yaml";

/** Verbs that talk to a running server. */
export interface AdminOptions {
  readonly config: string;
  readonly admin?: string;
  readonly tokenEnv?: string;
}

export function withAdminOptions(command: Command): Command {
  return command
    .option("--config <file>", "config of the server: it says where the admin API listens", defaultConfigFile)
    .option("--admin <url>", "admin API, such as http://127.0.0.1:8080; the config is then not read")
    .option("--token-env <name>", "environment variable with the bearer token (default: that of the config)");
}

export function withJson(command: Command): Command {
  return command.option("--json", "print JSON for scripts");
}

export function examples(command: Command, lines: readonly string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  $ ${line}`).join("\n")}`);
}

/** A whole number of at least 1. */
export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError("It must be a whole number of at least 1.");
  }
  return value;
}

/** Loads the config; faults go to standard error as `FILE:LINE:COLUMN: message`, one a line. */
export async function requireConfig(file: string): Promise<Config> {
  // Loaded here only: a verb that reads no config starts in half the time.
  const { formatConfigError, loadConfig } = await import("../config/config-file.ts");
  const loaded = loadConfig(file);
  switch (loaded.kind) {
    case "ok":
      return loaded.config;
    case "invalid":
      for (const error of loaded.errors) note(formatConfigError(error));
      throw new CommandFailure("");
  }
}

export function countOf(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}
