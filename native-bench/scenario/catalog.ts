// The scenarios by name, and those of the user's own by path.

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { scenario as bigMessages } from "./big-messages.ts";
import { scenario as bigMessages1mb } from "./big-messages-1mb.ts";
import { scenario as burst } from "./burst.ts";
import { scenario as campaign } from "./campaign.ts";
import { scenario as latency } from "./latency.ts";
import { scenario as manyDomains } from "./many-domains.ts";
import { scenario as manySources } from "./many-sources.ts";
import { scenario as restart } from "./restart.ts";
import { baseScenario, type Scenario } from "./scenario.ts";
import { scenario as soak } from "./soak.ts";
import { scenario as throughput } from "./throughput.ts";
import { scenario as wan } from "./wan.ts";
import { scenario as wanPipelining } from "./wan-pipelining.ts";

export const catalog: readonly Scenario[] = [
  ...[throughput, burst, campaign, latency, wan, wanPipelining, manyDomains, manySources],
  ...[bigMessages, bigMessages1mb, restart, soak],
];

/**
 * A scenario by its name, or by the path of a module that exports `scenario`: a `Scenario`, or a part of one over
 * `baseScenario`. undefined when there is neither. Throws when the module cannot be loaded, exports none, or gives a value
 * that is not known.
 */
export async function findScenario(nameOrPath: string): Promise<Scenario | undefined> {
  const known = catalog.find(({ name }) => name === nameOrPath);
  if (known !== undefined) return known;
  const file = resolve(nameOrPath);
  if (!/\.[cm]?[jt]s$/.test(nameOrPath) || !existsSync(file)) return undefined;
  const module = await load(file);
  if (!isScenarioPart(module.scenario)) throw new Error(`${nameOrPath} exports no scenario with a name`);
  checkValues(nameOrPath, module.scenario);
  return { ...baseScenario, about: nameOrPath, ...module.scenario };
}

async function load(file: string): Promise<{ readonly scenario?: unknown }> {
  try {
    return (await import(pathToFileURL(file).href)) as { readonly scenario?: unknown };
  } catch (cause) {
    throw new Error(`${file} cannot be loaded: ${(cause as Error).message}`, { cause });
  }
}

/** A slip of the pen would else run as the base does, or fail far from here. */
function checkValues(file: string, part: Partial<Scenario>): void {
  for (const [key, value] of Object.entries(part)) {
    if (key === "name" || key === "about") continue;
    if (!(key in baseScenario)) throw new Error(`${file}: a scenario has no ${key}`);
    const isNumber = typeof baseScenario[key as keyof typeof baseScenario] === "number" && key !== "bodyBytes";
    if (isNumber && (!Number.isInteger(value) || (value as number) < 0)) {
      throw new Error(`${file}: ${key} needs a whole number, not ${JSON.stringify(value)}`);
    }
  }
}

function isScenarioPart(value: unknown): value is Partial<Scenario> & Pick<Scenario, "name"> {
  return typeof value === "object" && value !== null && "name" in value && typeof value.name === "string";
}
