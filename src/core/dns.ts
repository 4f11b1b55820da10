// DNS answers and the port that gives them.

import type { Instant } from "./time.ts";

/** A missing name and a missing type are different answers. `until` ends the time that the answer may be used. */
export type Answer<Value> =
  | { readonly kind: "found"; readonly records: readonly Value[]; readonly authentic: boolean; readonly until: Instant }
  | { readonly kind: "no-name" | "no-data"; readonly authentic: boolean; readonly until: Instant }
  | { readonly kind: "failed"; readonly reason: "timeout" | "servfail" | "bogus" };

export interface MxRecord {
  readonly preference: number;
  /** Lower case, no final dot; `""` for the root, which is a null MX (RFC 7505). */
  readonly exchange: string;
}

/** Names are given and returned in lower case without the final dot. CNAMEs are followed. Never rejects. */
export interface Resolver {
  mx(name: string): Promise<Answer<MxRecord>>;
  a(name: string): Promise<Answer<string>>;
  aaaa(name: string): Promise<Answer<string>>;
  txt(name: string): Promise<Answer<string>>;
}
