// From a domain's MX answer to the list of its exchangers (RFC 5321 section 5.1, RFC 7505).

import type { Answer, MxRecord } from "../core/dns.ts";
import type { Domain } from "../core/ids.ts";
import { parseIpAddress } from "../core/ip-address.ts";
import type { Fault } from "../core/outcome.ts";
import type { Instant } from "../core/time.ts";

/** Exchangers that are considered, lowest preference first. */
const exchangersMax = 20;

export interface MxHost {
  readonly host: string;
  readonly preference: number;
}

export type MxList =
  | {
      readonly kind: "hosts";
      /** By rising preference, and by name where it is equal. Never empty. */
      readonly hosts: readonly MxHost[];
      readonly isImplicit: boolean;
      readonly until: Instant;
    }
  | { readonly kind: "permanent"; readonly fault: Fault; readonly until: Instant }
  | { readonly kind: "transient"; readonly fault: Fault };

export function mxList(domain: Domain, answer: Answer<MxRecord>): MxList {
  switch (answer.kind) {
    case "failed":
      return { kind: "transient", fault: dnsFault(`4.4.3 the MX lookup of ${domain} failed: ${answer.reason}`) };
    case "no-name":
      return { kind: "permanent", fault: dnsFault(`5.1.2 no such domain: ${domain}`), until: answer.until };
    case "no-data":
      return { kind: "hosts", hosts: [{ host: domain, preference: 0 }], isImplicit: true, until: answer.until };
    case "found":
      return explicitList(domain, answer.records, answer.until);
  }
}

/** Cuts the list at our own name: mail that came so far must not go back to us (RFC 5321 section 5.1). */
export function beforeOurselves<Host extends MxHost>(hosts: readonly Host[], isOurs: (host: Host) => boolean): Host[] {
  const ours = hosts.filter(isOurs).map((host) => host.preference);
  if (ours.length === 0) return [...hosts];
  const limit = Math.min(...ours);
  return hosts.filter((host) => host.preference < limit);
}

export function loopFault(domain: Domain): Fault {
  return {
    kind: "policy",
    rule: "loop",
    message: `5.4.6 mail for ${domain} loops back to this server: it is the domain's best mail exchanger`,
  };
}

export function dnsFault(message: string): Fault {
  return { kind: "dns", stage: "resolve", message };
}

function explicitList(domain: Domain, records: readonly MxRecord[], until: Instant): MxList {
  // RFC 7505 section 3: a null MX stands alone. Beside others the root is only a name without an address.
  if (records.every((record) => record.exchange === "")) {
    const message = `5.1.10 ${domain} takes no mail (null MX)`;
    return { kind: "permanent", fault: { kind: "policy", rule: "null-mx", message }, until };
  }
  const lowest = new Map<string, number>();
  for (const { exchange, preference } of records) {
    if (!isHostName(exchange)) continue;
    lowest.set(exchange, Math.min(preference, lowest.get(exchange) ?? Number.POSITIVE_INFINITY));
  }
  if (lowest.size === 0) {
    return { kind: "permanent", fault: dnsFault(`5.1.2 no mail exchanger of ${domain} has a valid name`), until };
  }
  const hosts = Array.from(lowest, ([host, preference]) => ({ host, preference }))
    .sort((left, right) => left.preference - right.preference || (left.host < right.host ? -1 : 1))
    .slice(0, exchangersMax);
  return { kind: "hosts", hosts, isImplicit: false, until };
}

/** Letters, digits, hyphens, and the underscores that are seen in practice. An address is no host name. */
function isHostName(name: string): boolean {
  return (
    /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(name) && name.length <= 253 && parseIpAddress(name) === undefined
  );
}
