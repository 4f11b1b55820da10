// The shaping room's door: what may go to a site now, in all shards together, and when to try again.

import type { SiteLimits, SitesConfig } from "../config/config.ts";
import type { SiteName } from "../core/ids.ts";

export { LaneGovernor, type LaneLimits } from "./lane-governor.ts";
export { LaneTable, lanesMax, newLaneMemory } from "./lane-table.ts";
export { RateGovernor } from "./rate-governor.ts";
export { nextDueAt } from "./retry-schedule.ts";
export { suspensionMs } from "./suspension.ts";

export interface EffectiveLimits extends SiteLimits {
  /** The config line that decides, for people. */
  readonly where: string;
}

/** The limits of a site: its own definition where the config names it, else the defaults. */
export function limitsFor(site: SiteName, sites: SitesConfig): EffectiveLimits {
  const named = sites.named.find((candidate) => candidate.name === site);
  return named ?? { ...sites.defaults, where: "sites.defaults" };
}
