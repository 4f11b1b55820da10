// What a failure may punish: the one place that says it.
//
// A message is charged with an attempt, a session ends, a route or a lane rests. Nothing else pays: the mail that waits
// behind a failure is not touched by it.

import type { Fault, Outcome } from "../core/outcome.ts";
import type { Instant } from "../core/time.ts";

/** What rests when no exchanger of a route gave a session. */
export type Scope =
  /** A fault of our own host: the source's address is gone or has no port left. No message is charged. */
  | "source"
  /** Nobody there: that is so for every source, and only for these exchangers. */
  | "route"
  /** A refusal is meant for this source, at all exchangers of the site. */
  | "lane";

/** The blast radius of a failure to get a session. */
export function scopeOf(fault: Fault): Scope {
  if (fault.kind !== "network") return "lane";
  return /EADDRNOTAVAIL|EADDRINUSE|EMFILE|ENFILE/.test(fault.message) ? "source" : "route";
}

/** Without a session the recipients are not to blame; only a host that says it takes no mail is final (RFC 7504). */
export function outcomeWithoutSession(fault: Fault, at: Instant): Outcome {
  const final =
    (fault.kind === "reply" && (fault.reply.code === 521 || fault.reply.code === 556)) ||
    (fault.kind === "policy" && fault.rule === "internal-address");
  return { kind: final ? "permanent" : "transient", at, fault };
}

/** The 421 with which a peer ended the session (RFC 5321 section 3.8), if that is what the outcome came from. */
export function closingFault(outcome: Outcome): Fault | undefined {
  if (outcome.kind === "delivered") return undefined;
  return isClosing(outcome.fault) ? outcome.fault : undefined;
}

/** A 421: the peer ends the session, whatever command that answers. */
export function isClosing(fault: Fault): boolean {
  return fault.kind === "reply" && fault.reply.code === 421;
}

/** A 421 to the envelope: the message itself was not looked at, and only the session pays. */
export function endsSessionOnly(outcome: Outcome): boolean {
  const fault = closingFault(outcome);
  return outcome.kind === "transient" && fault?.kind === "reply" && fault.stage === "mail";
}
