// The names of the internet in a box, as data, and how a question about one is answered (RFC 1034 section 4.3.2).

import type { MxData } from "dns-packet";

/** Values of one name. Host names are in lower case without final dot. */
export interface ZoneEntry {
  readonly mx?: readonly MxData[] | undefined;
  readonly a?: readonly string[] | undefined;
  readonly aaaa?: readonly string[] | undefined;
  readonly txt?: readonly string[] | undefined;
  readonly ptr?: readonly string[] | undefined;
  readonly cname?: string | undefined;
  /** Instead of an answer: SERVFAIL, or none at all. */
  readonly fault?: "servfail" | "silence" | undefined;
  /** Every answer for the name comes so much later. */
  readonly delayMs?: number | undefined;
}

export interface Zone {
  /** By name; `*.example.net` stands for the names below that have no entry of their own. */
  readonly entries: ReadonlyMap<string, ZoneEntry>;
  readonly ttlSeconds: number;
}

export function zoneOf(entries: Readonly<Record<string, ZoneEntry>>, ttlSeconds = 60): Zone {
  return { entries: new Map(Object.entries(entries)), ttlSeconds };
}

/** The entry for a name; undefined for a name that does not exist. A name with names below it exists and is empty. */
export function lookUp(zone: Zone, name: string): ZoneEntry | undefined {
  const exact = zone.entries.get(name);
  if (exact !== undefined) return exact;
  for (let at = name.indexOf("."); at >= 0; at = name.indexOf(".", at + 1)) {
    const wildcard = zone.entries.get(`*${name.slice(at)}`);
    if (wildcard !== undefined) return wildcard;
    // An existing closer ancestor hides the wildcards above it (RFC 4592 section 3.3.1).
    if (zone.entries.has(name.slice(at + 1))) return undefined;
  }
  return undefined;
}

/** The name under which an IPv4 address is looked up for its PTR (RFC 1035 section 3.5). */
export function reverseName(address: string): string {
  return `${address.split(".").reverse().join(".")}.in-addr.arpa`;
}
