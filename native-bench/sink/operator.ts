// A receiving operator as a state machine: what it answers at connect, MAIL, RCPT and the final dot, and why.
//
// Nothing here reads a clock or opens a socket: `now` comes in, a verdict goes out, and every draw of chance comes from
// the seed. So the same core serves the sockets of `sink-server.ts` and a simulation in virtual time.

import type { Instant, Millis } from "../../src/core/time.ts";
import { type Chance, lognormal, seededChance, shareOf } from "./chance.ts";
import { plainTexts, type ReplyTexts } from "./reply-texts.ts";

export interface BucketLimit {
  readonly perSecond: number;
  readonly burst: number;
}

/** Instants count from the operator's start. */
export interface DownWindow {
  readonly fromMs: Millis;
  readonly untilMs: Millis;
  /** `refuse`: a 421 banner; `reset`: RST after accept; `silence`: no banner at all. */
  readonly style: "refuse" | "reset" | "silence";
}

/** What an operator is like. Start from `openOperator` and change what matters. Shares are in [0, 1]. */
export interface OperatorProfile {
  readonly name: string;
  readonly texts: ReplyTexts;
  /** Connections that one source address may have at once. */
  readonly connectionsPerAddressMax: number;
  readonly overCap: "refuse" | "reset";
  readonly messagesPerConnectionMax: number;
  /** `refuse` answers the MAIL after the last one with 421; `silent` closes after the last 250. */
  readonly messagesEnd: "refuse" | "silent";
  /** Messages from one source address. */
  readonly addressRate: BucketLimit | undefined;
  /** Messages from one source address in each stretch of the clock: the count starts anew at its edge. */
  readonly addressWindow: { readonly messages: number; readonly everyMs: Millis } | undefined;
  /**
   * "Do not double": a source address may send in a day `factor` times the most that it sent on one of the seven days before,
   * and `floor` in any case.
   */
  readonly growth: { readonly factor: number; readonly floor: number; readonly dayMs: Millis } | undefined;
  /** Messages of one reverse-path domain (the SPF domain). */
  readonly domainRate: BucketLimit | undefined;
  /** Whether a message refused by a rate counts towards it all the same. */
  readonly refusedCount: boolean;
  /** After `breachesMax` breaches within `windowMs` an address is shut out; each try while shut out adds a penalty. */
  readonly block:
    | {
        readonly breachesMax: number;
        readonly windowMs: Millis;
        readonly blockMs: Millis;
        readonly penaltyMs: Millis;
      }
    | undefined;
  /** The first attempt of (source/24, reverse-path, recipient) is deferred until `delayMs` later, for `expireMs`. */
  readonly greylist: { readonly delayMs: Millis; readonly expireMs: Millis } | undefined;
  readonly deferShare: number;
  readonly deferAt: "rcpt" | "final-dot";
  /** Content refused for good at the final dot. */
  readonly refuseShare: number;
  /** Share of all possible addresses that do not exist: a property of the address, the same at each attempt. */
  readonly unknownUserShare: number;
  /** Local parts that do not exist. */
  readonly unknownUsers: readonly string[];
  readonly down: readonly DownWindow[];
  /** Accepted, but the connection breaks before the 250 (RFC 1047). */
  readonly lostReplyShare: number;
  readonly bannerDelayMs: Millis;
  readonly rcptDelayMs: Millis;
  /** Time between the final dot and its reply. */
  readonly finalDotDelay: { readonly medianMs: Millis; readonly sigma: number; readonly maxMs: Millis } | undefined;
  /** Loopback has none: each flight of replies is held back by this much. */
  readonly roundTripMs: Millis;
}

/** Takes everything at once: the base of all profiles. */
export const openOperator: OperatorProfile = {
  name: "open",
  texts: plainTexts,
  connectionsPerAddressMax: 10_000,
  overCap: "refuse",
  messagesPerConnectionMax: 1_000_000,
  messagesEnd: "refuse",
  addressRate: undefined,
  addressWindow: undefined,
  growth: undefined,
  domainRate: undefined,
  refusedCount: false,
  block: undefined,
  greylist: undefined,
  deferShare: 0,
  deferAt: "rcpt",
  refuseShare: 0,
  unknownUserShare: 0,
  unknownUsers: [],
  down: [],
  lostReplyShare: 0,
  bannerDelayMs: 0,
  rcptDelayMs: 0,
  finalDotDelay: undefined,
  roundTripMs: 0,
};

export type Rule =
  | "ok"
  | "connection-cap"
  | "messages-per-connection"
  | "address-rate"
  | "address-window"
  | "growth"
  | "domain-rate"
  | "blocked"
  | "greylist"
  | "deferral"
  | "content"
  | "unknown-user"
  | "down"
  | "lost-reply";

/** The rules that a well-behaved sender never meets: each time one answers is a breach. */
export const breachRules: readonly Rule[] = [
  "connection-cap",
  "messages-per-connection",
  "address-rate",
  "address-window",
  "growth",
  "domain-rate",
  "blocked",
];

/** The rules whose answer is "later". */
export const deferralRules: readonly Rule[] = [...breachRules, "greylist", "deferral", "down"];

export interface Verdict {
  readonly rule: Rule;
  /** Whether the command (connection, MAIL, RCPT, message) is taken. */
  readonly accepted: boolean;
  /** The whole reply, CRLF included; `""` for none. */
  readonly reply: string;
  /** How long the operator thinks before it answers. */
  readonly delayMs: Millis;
  readonly after: "go-on" | "close" | "reset" | "silence";
  /** The sender went past a limit. */
  readonly breach: boolean;
}

interface Bucket {
  tokens: number;
  filledAt: Instant;
}

/** What an operator remembers of one source address. */
interface AddressState {
  connections: number;
  connectionsPeak: number;
  readonly rate: Bucket;
  /** Messages of the window that it sent in last. */
  window: { no: number; messages: number };
  /** Messages by day, of the last days. */
  readonly days: Map<number, number>;
  breachesInWindow: number;
  windowStartedAt: Instant;
  blockedUntil: Instant;
}

/** One connection as the operator sees it. */
export interface Visit {
  readonly sourceAddress: string;
  messages: number;
}

/** An operator at work: its profile and what it has seen. `profile` may be exchanged while it works. */
export interface Operator {
  profile: OperatorProfile;
  readonly seed: number;
  readonly startedAt: Instant;
  readonly chance: Chance;
  readonly addresses: Map<string, AddressState>;
  readonly domains: Map<string, Bucket>;
  /** First attempt of each greylist key. */
  readonly firstSeen: Map<string, Instant>;
  readonly verdicts: Map<Rule, number>;
}

/** Keys kept in the greylist; the oldest go first. */
const firstSeenMax = 1_000_000;

const reverseOk = "250 2.1.0 Ok\r\n";
const recipientOk = "250 2.1.5 Ok\r\n";

export function createOperator(profile: OperatorProfile, seed: number, startedAt: Instant): Operator {
  return {
    profile,
    seed,
    startedAt,
    chance: seededChance(seed),
    addresses: new Map(),
    domains: new Map(),
    firstSeen: new Map(),
    verdicts: new Map(),
  };
}

/** A new connection. When it is taken, `noteDisconnect` must follow once it is over. */
export function decideConnect(operator: Operator, sourceAddress: string, now: Instant): Verdict {
  const { profile } = operator;
  const down = downNow(operator, now);
  if (down !== undefined) {
    if (down.style === "silence") return note(operator, silenced);
    if (down.style === "reset") return note(operator, resetBy("down"));
    return note(operator, refused("down", profile.texts.down, "close"));
  }
  const address = addressState(operator, sourceAddress, now);
  if (blockedNow(operator, address, now)) return note(operator, refused("blocked", profile.texts.blocked, "close"));
  if (address.connections >= profile.connectionsPerAddressMax) {
    countBreach(operator, address, now);
    if (profile.overCap === "reset") return note(operator, resetBy("connection-cap"));
    return note(operator, refused("connection-cap", profile.texts.tooManyConnections, "close"));
  }
  address.connections++;
  address.connectionsPeak = Math.max(address.connectionsPeak, address.connections);
  return note(operator, taken(`${profile.texts.banner}\r\n`, profile.bannerDelayMs));
}

/** The end of a connection that `decideConnect` took. */
export function noteDisconnect(operator: Operator, sourceAddress: string): void {
  const address = operator.addresses.get(sourceAddress);
  if (address !== undefined) address.connections--;
}

export function decideMail(operator: Operator, visit: Visit, reversePath: string, now: Instant): Verdict {
  const { profile } = operator;
  if (downNow(operator, now) !== undefined) return note(operator, refused("down", profile.texts.down, "close"));
  const address = addressState(operator, visit.sourceAddress, now);
  if (visit.messages >= profile.messagesPerConnectionMax) {
    countBreach(operator, address, now);
    return note(operator, refused("messages-per-connection", profile.texts.tooManyMessages, "close"));
  }
  if (blockedNow(operator, address, now)) return note(operator, refused("blocked", profile.texts.blocked, "close"));
  if (!drawToken(address.rate, profile.addressRate, profile.refusedCount, now)) {
    countBreach(operator, address, now);
    return note(operator, limited("address-rate", profile.texts.addressRate));
  }
  const counted = countInTime(address, profile, now);
  if (counted !== undefined) {
    countBreach(operator, address, now);
    return note(operator, limited(counted, profile.texts.addressRate));
  }
  const domain = domainOf(reversePath);
  if (profile.domainRate !== undefined && domain !== "") {
    const bucket = operator.domains.get(domain) ?? fullBucket(profile.domainRate, now);
    operator.domains.set(domain, bucket);
    if (!drawToken(bucket, profile.domainRate, profile.refusedCount, now)) {
      countBreach(operator, address, now);
      return note(operator, limited("domain-rate", profile.texts.domainRate));
    }
  }
  return note(operator, mailTaken);
}

export function decideRcpt(
  operator: Operator,
  visit: Visit,
  reversePath: string,
  recipient: string,
  now: Instant,
): Verdict {
  const { profile } = operator;
  if (!userExists(operator, recipient)) return note(operator, refused("unknown-user", profile.texts.unknownUser));
  if (profile.greylist !== undefined && !greylistPassed(operator, visit.sourceAddress, reversePath, recipient, now)) {
    return note(operator, refused("greylist", profile.texts.greylisted));
  }
  if (profile.deferAt === "rcpt" && profile.deferShare > 0 && operator.chance() < profile.deferShare) {
    return note(operator, refused("deferral", profile.texts.deferred));
  }
  return note(operator, profile.rcptDelayMs > 0 ? taken(recipientOk, profile.rcptDelayMs) : rcptTaken);
}

/** The message is complete. `messageNo` is put into the reply as the operator's own queue id. */
export function decideFinalDot(operator: Operator, visit: Visit, messageNo: number): Verdict {
  const { profile } = operator;
  const delayMs = finalDotDelayMs(operator);
  visit.messages++;
  if (profile.deferAt === "final-dot" && profile.deferShare > 0 && operator.chance() < profile.deferShare) {
    return note(operator, { ...refused("deferral", profile.texts.deferred), delayMs });
  }
  if (profile.refuseShare > 0 && operator.chance() < profile.refuseShare) {
    return note(operator, { ...refused("content", profile.texts.contentRefused), delayMs });
  }
  if (profile.lostReplyShare > 0 && operator.chance() < profile.lostReplyShare) {
    return note(operator, { ...taken("", delayMs), rule: "lost-reply", after: "reset" });
  }
  const last = profile.messagesEnd === "silent" && visit.messages >= profile.messagesPerConnectionMax;
  const reply = `${profile.texts.accepted} ${messageNo.toString(36)}\r\n`;
  return note(operator, taken(reply, delayMs, last ? "close" : "go-on"));
}

/** Whether the mailbox exists: a property of the address that no attempt changes. */
export function userExists(operator: Operator, recipient: string): boolean {
  const { profile } = operator;
  if (profile.unknownUserShare > 0 && shareOf(operator.seed, recipient) < profile.unknownUserShare) return false;
  if (profile.unknownUsers.length === 0) return true;
  const at = recipient.lastIndexOf("@");
  return !profile.unknownUsers.includes(at < 0 ? recipient : recipient.slice(0, at));
}

export function downNow(operator: Operator, now: Instant): DownWindow | undefined {
  if (operator.profile.down.length === 0) return undefined;
  const sinceStartMs = now - operator.startedAt;
  return operator.profile.down.find((window) => sinceStartMs >= window.fromMs && sinceStartMs < window.untilMs);
}

function finalDotDelayMs(operator: Operator): Millis {
  const spread = operator.profile.finalDotDelay;
  if (spread === undefined) return 0;
  if (spread.sigma === 0) return spread.medianMs;
  return Math.min(spread.maxMs, lognormal(operator.chance, spread.medianMs, spread.sigma));
}

function greylistPassed(
  operator: Operator,
  sourceAddress: string,
  reversePath: string,
  recipient: string,
  now: Instant,
): boolean {
  const limits = operator.profile.greylist;
  if (limits === undefined) return true;
  const key = `${networkOf(sourceAddress)} ${reversePath} ${recipient}`;
  const first = operator.firstSeen.get(key);
  if (first === undefined || now - first > limits.expireMs) {
    operator.firstSeen.delete(key);
    operator.firstSeen.set(key, now);
    const oldest = operator.firstSeen.keys().next();
    if (operator.firstSeen.size > firstSeenMax && !oldest.done) operator.firstSeen.delete(oldest.value);
    return false;
  }
  return now - first >= limits.delayMs;
}

/** The /24 of an IPv4 address; the /64 of an IPv6 address as far as its text shows it. */
function networkOf(address: string): string {
  const end = address.includes(":") ? address.split(":").slice(0, 4).join(":").length : address.lastIndexOf(".");
  return address.slice(0, end);
}

function domainOf(path: string): string {
  return path.slice(path.lastIndexOf("@") + 1);
}

function addressState(operator: Operator, sourceAddress: string, now: Instant): AddressState {
  let state = operator.addresses.get(sourceAddress);
  if (state === undefined) {
    state = {
      connections: 0,
      connectionsPeak: 0,
      rate: fullBucket(operator.profile.addressRate, now),
      window: { no: 0, messages: 0 },
      days: new Map(),
      breachesInWindow: 0,
      windowStartedAt: now,
      blockedUntil: 0,
    };
    operator.addresses.set(sourceAddress, state);
  }
  return state;
}

/** True while shut out; the try itself makes it longer. */
function blockedNow(operator: Operator, address: AddressState, now: Instant): boolean {
  const { block } = operator.profile;
  if (block === undefined || now >= address.blockedUntil) return false;
  address.blockedUntil += block.penaltyMs;
  return true;
}

function countBreach(operator: Operator, address: AddressState, now: Instant): void {
  const { block } = operator.profile;
  if (block === undefined) return;
  if (now - address.windowStartedAt > block.windowMs) {
    address.windowStartedAt = now;
    address.breachesInWindow = 0;
  }
  address.breachesInWindow++;
  if (address.breachesInWindow > block.breachesMax) {
    address.blockedUntil = now + block.blockMs;
    address.breachesInWindow = 0;
  }
}

/** Counts a message in its window and its day. Returns the rule that has no room for it: then it is not counted. */
function countInTime(
  address: AddressState,
  { addressWindow, growth }: OperatorProfile,
  now: Instant,
): "address-window" | "growth" | undefined {
  const day = growth === undefined ? 0 : Math.floor(now / growth.dayMs);
  if (growth !== undefined && (address.days.get(day) ?? 0) >= allowanceOf(address.days, day, growth)) return "growth";
  if (addressWindow !== undefined) {
    const no = Math.floor(now / addressWindow.everyMs);
    if (address.window.no !== no) address.window = { no, messages: 0 };
    if (address.window.messages >= addressWindow.messages) return "address-window";
    address.window.messages++;
  }
  if (growth !== undefined) address.days.set(day, (address.days.get(day) ?? 0) + 1);
  return undefined;
}

const growthDays = 7;

function allowanceOf(
  days: Map<number, number>,
  day: number,
  { factor, floor }: NonNullable<OperatorProfile["growth"]>,
): number {
  let most = 0;
  for (const [before, messages] of days) {
    if (before < day - growthDays) days.delete(before);
    else if (before < day) most = Math.max(most, messages);
  }
  return Math.max(floor, factor * most);
}

function fullBucket(limit: BucketLimit | undefined, now: Instant): Bucket {
  return { tokens: limit?.burst ?? 0, filledAt: now };
}

function drawToken(bucket: Bucket, limit: BucketLimit | undefined, refusedCount: boolean, now: Instant): boolean {
  if (limit === undefined) return true;
  const grown = bucket.tokens + ((now - bucket.filledAt) / 1_000) * limit.perSecond;
  bucket.tokens = Math.min(limit.burst, grown);
  bucket.filledAt = now;
  if (bucket.tokens >= 1) {
    bucket.tokens -= 1;
    return true;
  }
  if (refusedCount) bucket.tokens = Math.max(-limit.burst, bucket.tokens - 1);
  return false;
}

const silenced: Verdict = { rule: "down", accepted: false, reply: "", delayMs: 0, after: "silence", breach: false };
const mailTaken = taken(reverseOk, 0);
const rcptTaken = taken(recipientOk, 0);

function taken(reply: string, delayMs: Millis, after: "go-on" | "close" = "go-on"): Verdict {
  return { rule: "ok", accepted: true, reply, delayMs, after, breach: false };
}

function resetBy(rule: Rule): Verdict {
  return { rule, accepted: false, reply: "", delayMs: 0, after: "reset", breach: breachRules.includes(rule) };
}

function refused(rule: Rule, text: string, after: "go-on" | "close" = "go-on"): Verdict {
  return { rule, accepted: false, reply: `${text}\r\n`, delayMs: 0, after, breach: breachRules.includes(rule) };
}

/** A rate's refusal. RFC 5321 section 3.8: after a 421 the server closes the channel. */
function limited(rule: Rule, text: string): Verdict {
  return refused(rule, text, text.startsWith("421") ? "close" : "go-on");
}

function note(operator: Operator, verdict: Verdict): Verdict {
  operator.verdicts.set(verdict.rule, (operator.verdicts.get(verdict.rule) ?? 0) + 1);
  return verdict;
}
