// The resolve room's door: from a domain to the exchangers that take its mail (RFC 5321 section 5.1), and to its site.
//
// The story: an address literal is its own plan; for a name the MX records give the hosts (mx.ts), the hosts their
// addresses (addresses.ts), and the set of hosts the site (site.ts). What DNS says is kept as long as it may be
// (dns-cache.ts).

import type { SitesConfig } from "../config/config.ts";
import type { Resolver } from "../core/dns.ts";
import type { Domain } from "../core/ids.ts";
import { addressFilter, canonicalIp, formatIpAddress, parseAddressLiteral } from "../core/ip-address.ts";
import type { Fault } from "../core/outcome.ts";
import type { Exchanger, MxPlan } from "../core/plan.ts";
import { type Clock, dayMs, type Instant, type Millis, minuteMs, secondMs } from "../core/time.ts";
import type { Log } from "../telemetry/log.ts";
import { type HostAddresses, lookUpAddresses } from "./addresses.ts";
import { cachedResolver, failureTtlMs, type Kept, LookupCache } from "./dns-cache.ts";
import { beforeOurselves, dnsFault, loopFault, mxList } from "./mx.ts";
import { makeSiteNamer, type SiteEvidence } from "./site.ts";

export type Resolution =
  | { readonly kind: "plan"; readonly plan: MxPlan }
  | { readonly kind: "transient"; readonly fault: Fault }
  | { readonly kind: "permanent"; readonly fault: Fault };

export interface PlanResolver {
  /** Never rejects. Answers are cached for their TTL; lookups of one domain at one time are one. */
  resolve(domain: Domain): Promise<Resolution>;
}

export interface ResolveConfig {
  /** Host names that are us: the config's hostname and the EHLO names of the sources. Any case, no final dot. */
  readonly ownNames: readonly string[];
  /** IP addresses at which we take mail ourselves. */
  readonly ownAddresses: readonly string[];
  readonly sites: SitesConfig;
  /** Address families in the order of preference. */
  readonly ip: readonly (4 | 6)[];
  /** CIDR ranges of internal addresses that may be connected to all the same. */
  readonly internalNetworksAllowed: readonly string[];
}

export interface ResolveDeps {
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ConfiguredPlanResolver extends PlanResolver {
  /** The next plans follow this config; DNS answers are kept. A lookup under way still follows the old one. */
  reconfigure(config: ResolveConfig): void;
}

/** Plans kept, with refusals among them. */
const plansMax = 20_000;
/** The longest that one domain may take, whatever the resolver does. */
export const resolveTimeoutMs: Millis = minuteMs;
const literalPlanTtlMs: Millis = dayMs;
/** A plan may be used for at least so long after it was asked for. */
const planUseMinMs: Millis = secondMs;

export function makePlanResolver(deps: ResolveDeps, config: ResolveConfig): ConfiguredPlanResolver {
  const { clock, log } = deps;
  const resolver = cachedResolver(deps.resolver, clock);
  const plans = new LookupCache<Resolution>(clock, plansMax);
  let rules = makeRules(config);
  return {
    async resolve(domain) {
      try {
        const found = await plans.get(domain, () =>
          inTime(clock, domain, makeResolution(domain, rules, resolver, clock)),
        );
        return usableFrom(clock.now(), found);
      } catch (error) {
        // The port forbids it, but mail must not be lost over it.
        log.error({ err: error, domain }, "a lookup broke");
        return transient(domain, "the resolver broke");
      }
    },
    reconfigure(next) {
      rules = makeRules(next);
      plans.clear();
    },
  };
}

/**
 * What is kept ends by the monotonic clock, a plan by the wall clock: after that was set forward, a plan would come that is
 * over already, and whoever needs one would ask for it again and again.
 */
function usableFrom(now: Instant, found: Resolution): Resolution {
  if (found.kind !== "plan" || found.plan.until >= now + planUseMinMs) return found;
  return { kind: "plan", plan: { ...found.plan, until: now + planUseMinMs } };
}

/** The config, made ready for use. */
interface Rules {
  readonly families: readonly (4 | 6)[];
  readonly isOwnName: (host: string) => boolean;
  readonly isOwnAddress: (address: string) => boolean;
  readonly isAllowedAddress: (address: string) => boolean;
  readonly siteOf: (evidence: SiteEvidence) => string;
}

function makeRules(config: ResolveConfig): Rules {
  const ownNames = new Set(config.ownNames.map((name) => name.toLowerCase()));
  const ownAddresses = new Set(config.ownAddresses.map((address) => canonicalIp(address) ?? address));
  return {
    families: config.ip,
    isOwnName: (host) => ownNames.has(host),
    isOwnAddress: (address) => ownAddresses.has(address),
    isAllowedAddress: addressFilter(config.internalNetworksAllowed),
    siteOf: makeSiteNamer(config.sites),
  };
}

async function makeResolution(
  domain: Domain,
  rules: Rules,
  resolver: Resolver,
  clock: Clock,
): Promise<Kept<Resolution>> {
  if (domain.startsWith("[")) return literalResolution(domain, rules, clock);

  const list = mxList(domain, await resolver.mx(domain));
  if (list.kind === "transient") return { value: list, until: clock.now() + failureTtlMs };
  if (list.kind === "permanent") return { value: { kind: "permanent", fault: list.fault }, until: list.until };

  const named = beforeOurselves(list.hosts, ({ host }) => rules.isOwnName(host));
  if (named.length === 0) return { value: { kind: "permanent", fault: loopFault(domain) }, until: list.until };
  // From the names alone: the site must not change while an exchanger's address cannot be had.
  const site = rules.siteOf({ domain, hosts: named.map(({ host }) => host), isImplicit: list.isImplicit });

  const hosts = await lookUpAddresses(named, rules.families, resolver, clock);
  const until = Math.min(list.until, ...hosts.map((host) => host.until));
  const others = beforeOurselves(hosts, ({ addresses }) => addresses.some(rules.isOwnAddress));
  if (others.length === 0) return { value: { kind: "permanent", fault: loopFault(domain) }, until };

  const exchangers = usableExchangers(others, rules);
  if (exchangers.length > 0) return { value: { kind: "plan", plan: { domain, site, exchangers, until } }, until };
  return refusal(domain, others, until, clock);
}

/** RFC 5321 section 4.1.3: the mail goes to the address itself. */
function literalResolution(domain: Domain, rules: Rules, clock: Clock): Kept<Resolution> {
  const until = clock.now() + literalPlanTtlMs;
  const address = parseAddressLiteral(domain);
  if (address === undefined) {
    return { value: { kind: "permanent", fault: dnsFault(`5.1.2 not an address literal: ${domain}`) }, until };
  }
  const host = formatIpAddress(address);
  if (rules.isOwnAddress(host)) return { value: { kind: "permanent", fault: loopFault(domain) }, until };
  if (!rules.families.includes(address.family)) {
    const message = `5.4.4 IPv${address.family} is not in use here: ${domain}`;
    return { value: { kind: "permanent", fault: dnsFault(message) }, until };
  }
  const exchangers = usableExchangers([{ host, preference: 0, addresses: [host] }], rules);
  if (exchangers.length === 0) return { value: { kind: "permanent", fault: internalFault(domain, [host]) }, until };
  const site = rules.siteOf({ domain, hosts: [host], isImplicit: true });
  return { value: { kind: "plan", plan: { domain, site, exchangers, until } }, until };
}

function usableExchangers(hosts: readonly Exchanger[], rules: Rules): Exchanger[] {
  return hosts.flatMap(({ host, preference, addresses }) => {
    const allowed = addresses.filter(rules.isAllowedAddress);
    return allowed.length === 0 ? [] : [{ host, preference, addresses: allowed }];
  });
}

/** Why no exchanger is left. It is final only if every lookup was answered. */
function refusal(domain: Domain, hosts: readonly HostAddresses[], until: Instant, clock: Clock): Kept<Resolution> {
  const failed = hosts.find((host) => host.failure !== undefined);
  if (failed !== undefined) {
    const value = transient(domain, `the address lookup of ${failed.host} failed: ${failed.failure}`);
    return { value, until: clock.now() + failureTtlMs };
  }
  const internal = hosts.flatMap((host) => host.addresses);
  const fault =
    internal.length > 0
      ? internalFault(domain, internal)
      : dnsFault(`5.1.2 no address for any mail exchanger of ${domain}`);
  return { value: { kind: "permanent", fault }, until };
}

function internalFault(domain: Domain, addresses: readonly string[]): Fault {
  const message = `5.4.4 the mail exchangers of ${domain} have only internal addresses: ${addresses.slice(0, 3).join(", ")}`;
  return { kind: "policy", rule: "internal-address", message };
}

function transient(domain: Domain, reason: string): Resolution {
  return { kind: "transient", fault: dnsFault(`4.4.3 ${domain}: ${reason}`) };
}

/** The resolver bounds its own lookups; this holds even if one does not. */
async function inTime(clock: Clock, domain: Domain, making: Promise<Kept<Resolution>>): Promise<Kept<Resolution>> {
  const { promise, resolve } = Promise.withResolvers<Kept<Resolution>>();
  const timer = clock.after(resolveTimeoutMs, () => {
    const value = transient(domain, "DNS did not answer in time");
    resolve({ value, until: clock.now() + failureTtlMs });
  });
  try {
    return await Promise.race([making, promise]);
  } finally {
    timer.cancel();
  }
}
