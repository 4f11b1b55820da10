// Reads a config file with the files it includes, checks it whole, and says everything that is wrong with it.
//
// Relative paths in it are relative to the working directory, as on the command line.

import { readFileSync } from "node:fs";
import type { Config } from "./config.ts";
import { buildConfig, type SiteLayer, type SitesLayers } from "./config-build.ts";
import { configSchema, type SiteDefaultsText, type SiteText, sitesFileSchema } from "./config-schema.ts";
import { checkSiteName, crossCheck } from "./cross-check.ts";
import { type ConfigError, type LocatedYaml, parseLocatedYaml } from "./located-yaml.ts";
import { type Complaint, checkSchema, valueAt } from "./schema-errors.ts";

export type { ConfigError } from "./located-yaml.ts";

/** Warnings read `FILE:LINE:COLUMN: message`. */
export type LoadedConfig =
  | { readonly kind: "ok"; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly kind: "invalid"; readonly errors: readonly ConfigError[] };

const includedFilesMax = 100;

/** Loads `file`. Everything that is wrong is told at once, in the order of the file. Never throws for what a file says. */
export function loadConfig(file: string): LoadedConfig {
  const errors: ConfigError[] = [];
  const main = readYaml(file);
  if ("message" in main) return { kind: "invalid", errors: [{ file, line: 1, column: 1, message: main.message }] };
  if (main.errors.length > 0) return { kind: "invalid", errors: main.errors };

  const checked = checkSchema(configSchema, main.data);
  const crossed = crossCheck(main.data);
  errors.push(...placed(main, [...checked.complaints, ...crossed.errors]));

  const included = readIncludedSites(main, errors);
  const layers = siteLayers(checked.value, main, included);
  errors.push(...checkSites(main, included));

  if (errors.length > 0 || checked.value === undefined) {
    return { kind: "invalid", errors: sorted(distinct(errors), file) };
  }
  const config = buildConfig(checked.value, layers, (path) => {
    const { line, column } = main.locate(path);
    return `${file}:${line}:${column}`;
  });
  return { kind: "ok", config, warnings: placed(main, crossed.warnings).map(formatConfigError) };
}

/** `FILE:LINE:COLUMN: message`, one line: keys and values of the file that stand in it may hold anything. */
export function formatConfigError(error: ConfigError): string {
  return printable(`${error.file}:${error.line}:${error.column}: ${error.message}`);
}

/** Controls as JSON writes them: they would split the line, or be obeyed by a terminal. */
function printable(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

interface IncludedSites {
  readonly yaml: LocatedYaml;
  readonly sites: { readonly defaults: SiteDefaultsText; readonly [site: string]: SiteText };
}

function readYaml(file: string): LocatedYaml | { readonly message: string } {
  try {
    return parseLocatedYaml(file, readFileSync(file, "utf8"));
  } catch (cause) {
    return { message: `cannot read ${file} (${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message})` };
  }
}

function readIncludedSites(main: LocatedYaml, errors: ConfigError[]): IncludedSites[] {
  const include = valueAt(main.data, ["sites", "include"]);
  if (!Array.isArray(include)) return [];
  const read: IncludedSites[] = [];
  for (const [i, name] of include.slice(0, includedFilesMax).entries()) {
    if (typeof name !== "string" || name === "") continue;
    const yaml = readYaml(name);
    if ("message" in yaml) {
      errors.push(...placed(main, [{ path: ["sites", "include", i], on: "value", message: yaml.message }]));
      continue;
    }
    if (yaml.errors.length > 0) {
      errors.push(...yaml.errors);
      continue;
    }
    const checked = checkSchema(sitesFileSchema, yaml.data);
    errors.push(...placed(yaml, checked.complaints));
    if (checked.value !== undefined) read.push({ yaml, sites: checked.value.sites as IncludedSites["sites"] });
  }
  return read;
}

function siteLayers(
  text: ReturnType<typeof configSchema.parse> | undefined,
  main: LocatedYaml,
  included: readonly IncludedSites[],
): SitesLayers {
  if (text === undefined) return { defaults: [], sites: [] };
  const { include: _include, defaults, ...own } = text.sites;
  const layers: SiteLayer[] = layersOf(main, own as Record<string, SiteText>);
  for (const { yaml, sites } of included) {
    const { defaults: _defaults, ...named } = sites;
    layers.push(...layersOf(yaml, named as Record<string, SiteText>));
  }
  return { defaults: [defaults, ...included.map(({ sites }) => sites.defaults)], sites: layers };
}

function layersOf(yaml: LocatedYaml, sites: Record<string, SiteText>): SiteLayer[] {
  return Object.entries(sites).map(([name, text]) => ({
    name,
    text,
    where: `${yaml.file}:${yaml.locate(["sites", name], "key").line}`,
  }));
}

/** Site names, and that each site says its exchangers in one of the files. */
function checkSites(main: LocatedYaml, included: readonly IncludedSites[]): ConfigError[] {
  const errors: ConfigError[] = [];
  const places = [main, ...included.map(({ yaml }) => yaml)].flatMap((yaml) => {
    const sites = valueAt(yaml.data, ["sites"]);
    if (typeof sites !== "object" || sites === null || Array.isArray(sites)) return [];
    return Object.entries(sites)
      .filter(([name]) => name !== "include" && name !== "defaults")
      .map(([name, site]: [string, unknown]) => ({ yaml, path: ["sites", name], name, site }));
  });
  for (const { yaml, path, name } of places) {
    const message = checkSiteName(name);
    if (message !== undefined) errors.push(...placed(yaml, [{ path, on: "key", message }]));
  }
  const defined = new Set(
    places.filter(({ site }) => valueAt(site, ["exchangers"]) !== undefined).map(({ name }) => name),
  );
  // A file that could not be read may have had them.
  const include = valueAt(main.data, ["sites", "include"]);
  if (Array.isArray(include) && include.length > included.length) return errors;
  for (const { yaml, path, name } of places) {
    if (defined.has(name)) continue;
    const message = `site "${name}" has no exchangers, here or in an included file: no mail would ever match it`;
    errors.push(...placed(yaml, [{ path, on: "key", message }]));
  }
  return errors;
}

function placed(yaml: LocatedYaml, complaints: readonly Complaint[]): ConfigError[] {
  return complaints.map(({ path, on, message }) => ({ file: yaml.file, ...yaml.locate(path, on), message }));
}

function distinct(errors: readonly ConfigError[]): ConfigError[] {
  return [...new Map(errors.map((error) => [formatConfigError(error), error])).values()];
}

function sorted(errors: ConfigError[], mainFile: string): ConfigError[] {
  const rank = (error: ConfigError) => (error.file === mainFile ? 0 : 1);
  return errors.sort(
    (a, b) => rank(a) - rank(b) || a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column,
  );
}
