// From a set of exchangers to the site that it belongs to: one name for all domains of one receiving operator.

import { createHash } from "node:crypto";
import type { SitesConfig } from "../config/config.ts";
import type { Domain, SiteName } from "../core/ids.ts";

/** What decides about a domain's site. */
export interface SiteEvidence {
  readonly domain: Domain;
  /** The exchangers' host names, lower case, no final dot. Never empty. */
  readonly hosts: readonly string[];
  /** There is no MX record: the domain is its own exchanger (RFC 5321 section 5.1). */
  readonly isImplicit: boolean;
}

/** The named site of the config whose patterns match every exchanger, else a name derived from the exchangers. */
export function makeSiteNamer(sites: SitesConfig): (evidence: SiteEvidence) => SiteName {
  const named = sites.named.map((site) => ({ name: site.name, matchers: site.exchangers.map(hostMatcher) }));
  const taken = new Set(sites.named.map((site) => site.name));
  return (evidence) => {
    // Every one, not any: a domain with one exchanger at an operator and one elsewhere is neither's.
    const match = named.find(({ matchers }) =>
      evidence.hosts.every((host) => matchers.some((matches) => matches(host))),
    );
    if (match !== undefined) return match.name;
    const derived = derivedSiteName(evidence);
    // Nobody may put himself into a named site by what he calls his exchanger.
    return taken.has(derived) ? `${derived}~` : derived;
  };
}

/**
 * A readable name: the only exchanger's host, the domain itself where it has no MX record, else
 * `<first host>+<number of others>~<6 hex digits of a hash of the whole set>`.
 */
function derivedSiteName({ domain, hosts, isImplicit }: SiteEvidence): SiteName {
  if (isImplicit) return domain;
  const sorted = [...new Set(hosts)].sort();
  const first = sorted[0] ?? domain;
  if (sorted.length <= 1) return first;
  const hash = createHash("sha256").update(sorted.join("\n")).digest("hex").slice(0, 6);
  return `${first}+${sorted.length - 1}~${hash}`;
}

/** `*.example.com` matches any depth below example.com and not itself; anything else matches exactly. */
function hostMatcher(pattern: string): (host: string) => boolean {
  const lower = pattern.toLowerCase().replace(/\.$/, "");
  if (!lower.startsWith("*.")) return (host) => host === lower;
  const suffix = lower.slice(1);
  return (host) => host.length > suffix.length && host.endsWith(suffix);
}
