// The resolve room's door: from a domain to the exchangers that take its mail (RFC 5321 section 5.1), and to its site.

import type { Domain } from "../core/ids.ts";
import type { Fault } from "../core/outcome.ts";
import type { MxPlan } from "../core/plan.ts";

export type Resolution =
  | { readonly kind: "plan"; readonly plan: MxPlan }
  | { readonly kind: "transient"; readonly fault: Fault }
  | { readonly kind: "permanent"; readonly fault: Fault };

export interface PlanResolver {
  /** Never rejects. Answers are cached for their TTL; lookups of one domain at one time are one. */
  resolve(domain: Domain): Promise<Resolution>;
}
