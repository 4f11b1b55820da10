// What a fault means: from a peer's reply, or from what happened instead of one, to a class of the taxonomy.
//
// A reply is tried against, in this order: a reply quoted inside it, the rules of the files, the families of words,
// the enhanced status code (RFC 3463), the reply code with the stage. The first that decides wins.

import { assertNever } from "../core/assert.ts";
import type { SiteName } from "../core/ids.ts";
import type { Fault, PolicyRule, Stage } from "../core/outcome.ts";
import { type Reply, replyTextMax } from "../core/reply.ts";
import { classOfCode, classOfEnhanced } from "./bounce-fallback.ts";
import { type BounceRule, type RuleGroup, readRuleFiles } from "./bounce-rules.ts";
import { type KnownBounceClass, mailboxClasses } from "./bounce-taxonomy.ts";
import { type TextFamily, textFamilies } from "./bounce-text.ts";
import type { Classifier } from "./outcome.ts";

/** Decided replies that are remembered, in two generations of this many. */
const cacheEntriesMax = 4_096;
/** Longer texts are decided anew each time, so that the cache stays within some MiB. */
const cachedTextMax = 512;

export interface Verdict {
  readonly bounceClass: KnownBounceClass;
  /** `file:line` of the rule, or which step decided. "code" is a guess that should not cost a recipient anything. */
  readonly by: string;
}

/**
 * Reads rule files (`bounces.include`) and makes the classifier. To change the rules, call it again and use the new
 * one. Throws BounceRulesError, whose message holds a line `FILE:LINE:COLUMN: message` for each problem.
 */
export function loadClassifier(files: readonly string[]): ReplyClassifier {
  return new ReplyClassifier(readRuleFiles(files));
}

export class ReplyClassifier implements Classifier {
  readonly #families: readonly TextFamily[] = textFamilies();
  /** The rules for replies of sites that no rule names. */
  readonly #general: readonly BounceRule[];
  readonly #bySite = new Map<SiteName, readonly BounceRule[]>();
  #young = new Map<string, Verdict>();
  #old = new Map<string, Verdict>();

  constructor(groups: readonly RuleGroup[]) {
    this.#general = groups.filter((group) => group.sites === undefined).flatMap((group) => group.rules);
    for (const site of new Set(groups.flatMap((group) => group.sites ?? []))) {
      const rules = groups.filter((group) => group.sites === undefined || group.sites.includes(site));
      this.#bySite.set(
        site,
        rules.flatMap((group) => group.rules),
      );
    }
  }

  classify(fault: Fault, site?: SiteName): KnownBounceClass {
    return this.explain(fault, site).bounceClass;
  }

  /** The class, and what decided it. */
  explain(fault: Fault, site?: SiteName): Verdict {
    switch (fault.kind) {
      case "reply":
        return this.#remembered(fault.reply, fault.stage, site);
      case "dns":
        return { bounceClass: classOfDns(fault.message), by: "dns" };
      case "network":
        return { bounceClass: classOfNetwork(fault.stage, fault.message), by: "network" };
      case "policy":
        return { bounceClass: classOfPolicy(fault.rule), by: `policy ${fault.rule}` };
      default:
        return assertNever(fault);
    }
  }

  #remembered(reply: Reply, stage: Stage, site: SiteName | undefined): Verdict {
    if (reply.text.length > cachedTextMax) return this.#decide(reply, stage, site);
    const key = `${reply.code} ${stage} ${reply.enhanced} ${site} ${reply.text}`;
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const verdict = this.#old.get(key) ?? this.#decide(reply, stage, site);
    if (this.#young.size >= cacheEntriesMax) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, verdict);
    return verdict;
  }

  #decide(reply: Reply, stage: Stage, site: SiteName | undefined): Verdict {
    const text = decodeWords(reply.text.slice(0, replyTextMax));
    const facts = { code: reply.code, enhanced: enhancedOf(reply.enhanced, text), text, stage };
    const nested = nestedReply(facts);
    const quoted = nested && this.#decideByWords(nested, this.#general);
    if (quoted !== undefined) return { bounceClass: quoted.bounceClass, by: `quoted reply, ${quoted.by}` };
    return (
      this.#decideByWords(facts, (site !== undefined && this.#bySite.get(site)) || this.#general) ?? {
        bounceClass: allowed(classOfCode(reply.code, stage), stage) ?? "undetermined",
        by: "code",
      }
    );
  }

  /** By rules, words and the enhanced status code; undefined when they do not tell. */
  #decideByWords(facts: ReplyFacts, rules: readonly BounceRule[]): Verdict | undefined {
    for (const rule of rules) {
      if (applies(rule, facts) && allowed(rule.bounceClass, facts.stage))
        return { bounceClass: rule.bounceClass, by: rule.where };
    }
    const digit = facts.code < 500 ? 4 : 5;
    for (const family of this.#families) {
      if (
        (family.digit === undefined || family.digit === digit) &&
        allowed(family.bounceClass, facts.stage) &&
        family.pattern.test(facts.text) &&
        !family.unless?.test(facts.text)
      )
        return { bounceClass: family.bounceClass, by: "words" };
    }
    const enhanced = facts.enhanced;
    const byEnhanced = enhanced && classOfEnhanced(digit, enhanced.subject, enhanced.detail, facts.stage);
    return byEnhanced !== undefined && allowed(byEnhanced, facts.stage)
      ? { bounceClass: byEnhanced, by: "enhanced" }
      : undefined;
  }
}

interface Enhanced {
  readonly digit: number;
  readonly subject: number;
  readonly detail: number;
}

interface ReplyFacts {
  readonly code: number;
  readonly enhanced: Enhanced | undefined;
  readonly text: string;
  readonly stage: Stage;
}

function applies(rule: BounceRule, facts: ReplyFacts): boolean {
  if (
    rule.codes !== undefined &&
    !rule.codes.includes(facts.code) &&
    !rule.codes.includes(Math.floor(facts.code / 100))
  )
    return false;
  if (rule.stages !== undefined && !rule.stages.includes(facts.stage)) return false;
  if (rule.enhanced !== undefined) {
    const { enhanced } = facts;
    if (enhanced === undefined) return false;
    const inside = rule.enhanced.some(
      (range) =>
        range.subject === enhanced.subject &&
        enhanced.detail >= range.from &&
        enhanced.detail <= range.to &&
        (range.class ?? enhanced.digit) === enhanced.digit,
    );
    if (!inside) return false;
  }
  return rule.texts.every((pattern) => pattern.test(facts.text));
}

/** Before RCPT the peer knows no mailbox, so the reply cannot be about one. */
function allowed(bounceClass: KnownBounceClass, stage: Stage): KnownBounceClass | undefined {
  const afterRcpt = stage === "rcpt" || stage === "data" || stage === "final-dot";
  return afterRcpt || !mailboxClasses.has(bounceClass) ? bounceClass : undefined;
}

/**
 * The enhanced status code: the reply's own, else the first one that stands in the text by itself (`#5.1.0 Address
 * rejected`, `(5.2.2)`). Four numbers are an IP address.
 */
function enhancedOf(given: string | undefined, text: string): Enhanced | undefined {
  const match =
    given === undefined
      ? /(?:^|[\s(#[])([245])\.(\d)\.(\d{1,3})(?=$|[\s,;:)\]-])/.exec(text)
      : /^([245])\.(\d{1,3})\.(\d{1,3})$/.exec(given);
  if (match === null) return undefined;
  return { digit: Number(match[1]), subject: Number(match[2]), detail: Number(match[3]) };
}

/** The reply of a further host that a gateway quotes: `host mx said: 550 5.1.1 no such user (in reply to RCPT TO)`. */
function nestedReply(facts: ReplyFacts): ReplyFacts | undefined {
  const start = facts.text.indexOf("said: ");
  if (start < 0) return undefined;
  const match = /^said: {1,3}([45]\d\d)[ -](?:([245]\.\d{1,3}\.\d{1,3}) )?/.exec(facts.text.slice(start, start + 40));
  if (match === null) return undefined;
  const text = facts.text.slice(start + match[0].length);
  return {
    code: Number(match[1]),
    enhanced: enhancedOf(match[2], text),
    text,
    stage: text.includes("in reply to RCPT TO") ? "rcpt" : facts.stage,
  };
}

/** Decodes the encoded words (RFC 2047) that some receivers put into replies. What cannot be decoded stays. */
function decodeWords(text: string): string {
  if (!text.includes("=?")) return text;
  const decoded = text.replace(
    /=\?([\w-]{1,40})\?([bq])\?([^?\s]{0,200})\?=/gi,
    (word, charset: string, encoding: string, value: string) => {
      const octets =
        encoding.toLowerCase() === "b"
          ? Buffer.from(value, "base64")
          : Buffer.from(
              value
                .replaceAll("_", " ")
                .replace(/=([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16))),
              "latin1",
            );
      try {
        return new TextDecoder(charset).decode(octets);
      } catch {
        return word;
      }
    },
  );
  return decoded.slice(0, replyTextMax);
}

/**
 * A name that is not there is the domain's fault; an answer that did not come is nobody's for now. The message begins
 * with an enhanced status code: x.1.2 says that the domain is bad.
 */
function classOfDns(message: string): KnownBounceClass {
  return /^5\.1\.|nxdomain|no such (?:domain|name)|domain does not exist/i.test(message.slice(0, replyTextMax))
    ? "invalid_domain"
    : "dns_failure";
}

function classOfNetwork(stage: Stage, message: string): KnownBounceClass {
  if (message.startsWith("protocol error")) return "protocol_error";
  return stage === "starttls" || /\btls|\bssl|certificate|handshake/i.test(message.slice(0, replyTextMax))
    ? "tls_failure"
    : "connect_failure";
}

function classOfPolicy(rule: PolicyRule): KnownBounceClass {
  switch (rule) {
    case "null-mx":
      return "invalid_domain";
    case "loop":
      return "routing_loop";
    case "mta-sts":
    case "dane":
    case "require-tls":
      return "tls_failure";
    // Somebody asked for it: the address is not bad by this fault.
    case "suppressed":
      return "recipient_policy";
    // The domain's exchangers lead to a network of ours: its DNS is at fault, not a mailbox.
    case "internal-address":
      return "dns_failure";
    case "8bitmime":
    case "smtputf8":
      return "protocol_error";
    case "message-size":
      return "message_too_large";
    case "damaged-content":
    case "signing":
      return "system_error";
    default:
      return assertNever(rule);
  }
}
