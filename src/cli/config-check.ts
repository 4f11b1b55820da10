// What `postern check` does: the config, and the bounce rules and DKIM keys that it names.

import type { Config } from "../config/config.ts";
import { type ConfigError, formatConfigError, loadConfig } from "../config/config-file.ts";
import { configText, printConfig } from "../config/config-print.ts";
import { configJsonSchema } from "../config/config-schema.ts";
import { BounceRulesError, readRuleFiles } from "../outcome/bounce-rules.ts";
import { loadKeySet, SigningKeyError } from "../signing/key-store.ts";
import type { CheckOptions } from "./check-command.ts";
import { countOf } from "./options.ts";
import { CommandFailure, note, print, printJson } from "./output.ts";

export async function checkConfig(options: CheckOptions): Promise<void> {
  if (options.schema === true) return printJson(configJsonSchema());
  const loaded = loadConfig(options.config);
  if (loaded.kind === "invalid") {
    refuse(options, loaded.errors.map(formatConfigError), loaded.errors);
  }
  const faults = await checkNamedFiles(loaded.config);
  if (faults.errors.length > 0) refuse(options, faults.errors, []);
  const warnings = [...loaded.warnings, ...faults.warnings];
  if (options.json === true) {
    return printJson({
      valid: true,
      errors: [],
      warnings,
      ...(options.print ? { config: configText(loaded.config) } : {}),
    });
  }
  for (const warning of warnings) note(`warning: ${warning}`);
  print(options.print === true ? printConfig(loaded.config) : `${options.config} is valid${countWarnings(warnings)}`);
}

function refuse(options: CheckOptions, lines: readonly string[], errors: readonly ConfigError[]): never {
  if (options.json === true) printJson({ valid: false, errors: errors.length > 0 ? errors : lines, warnings: [] });
  for (const line of lines) note(line);
  throw new CommandFailure(`${options.config} has ${countOf(lines.length, "error")}`);
}

/** Bounce rules and DKIM keys: what the server reads at its start beside the config. */
async function checkNamedFiles(config: Config): Promise<{ errors: string[]; warnings: string[] }> {
  const errors: string[] = [];
  const warnings: string[] = [];
  try {
    readRuleFiles(config.bounces.include);
  } catch (error) {
    if (!(error instanceof BounceRulesError)) throw error;
    errors.push(...error.problems);
  }
  try {
    const { warnings: weak } = await loadKeySet(config.signing);
    warnings.push(...weak.map(({ where, file, message }) => `${where}: ${file}: ${message}`));
  } catch (error) {
    if (!(error instanceof SigningKeyError)) throw error;
    errors.push(...error.problems.map(({ where, file, message }) => `${where}: ${file}: ${message}`));
  }
  return { errors, warnings };
}

function countWarnings(warnings: readonly string[]): string {
  return warnings.length === 0 ? "" : `, with ${countOf(warnings.length, "warning")}`;
}
