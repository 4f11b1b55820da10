// Where mail for a domain goes.

import type { Domain, SiteName, SourceName } from "./ids.ts";
import type { Instant } from "./time.ts";

export interface Exchanger {
  /** Host name, lower case, no final dot; or the text of the address for an address literal. */
  readonly host: string;
  readonly preference: number;
  /** Addresses that may be connected to, in the order of the config's `delivery.ip`. Never empty. */
  readonly addresses: readonly string[];
}

/** How to reach a domain: its exchangers by rising preference (RFC 5321 section 5.1). Never empty. */
export interface MxPlan {
  readonly domain: Domain;
  readonly site: SiteName;
  readonly exchangers: readonly Exchanger[];
  readonly until: Instant;
}

/** Source x site: what is shaped, warmed up, pooled and suspended. */
export interface Lane {
  readonly source: SourceName;
  readonly site: SiteName;
}
