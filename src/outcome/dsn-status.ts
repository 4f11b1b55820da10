// The Status field (RFC 3464 section 2.3.4) and the words for what happened to one recipient.

import { assertNever } from "../core/assert.ts";
import type { Fault, Outcome, PolicyRule, Stage } from "../core/outcome.ts";
import { formatReply, type Reply } from "../core/reply.ts";
import { dateTime } from "../mime/date-time.ts";
import type { DsnRecipient } from "./outcome.ts";

/** An enhanced status code whose class fits the action: 5 or 4 for a failure, 4 for a delay, 2 for success. */
export function statusOf(item: DsnRecipient): string {
  const { action, outcome, recipient } = item;
  if (action === "relayed" || action === "delivered")
    return outcome?.kind === "delivered" ? (enhancedWithClass(outcome.reply, "2") ?? "2.0.0") : "2.0.0";
  if (recipient.state.kind === "cancelled") return "5.3.0";
  if (outcome === undefined || outcome.kind === "delivered") return "4.4.7";
  // RFC 3463 section 3.5: given up because time was over, whatever the last attempt said.
  if (action === "failed" && recipient.state.kind === "expired") return "4.4.7";
  return statusOfFault(outcome.fault, outcome.kind === "permanent" ? "5" : "4");
}

function statusOfFault(fault: Fault, digit: "4" | "5"): string {
  switch (fault.kind) {
    case "reply":
      return enhancedWithClass(fault.reply, digit) ?? `${digit}.0.0`;
    case "network":
      if (fault.stage === "starttls") return `${digit}.7.5`;
      return fault.stage === "connect" ? `${digit}.4.1` : `${digit}.4.2`;
    case "dns":
      return leadingCode(fault.message, digit) ?? `${digit}.4.${digit === "4" ? 3 : 4}`;
    case "policy":
      return leadingCode(fault.message, digit) ?? `${digit}.${statusOfRule(fault.rule)}`;
    default:
      return assertNever(fault);
  }
}

function statusOfRule(rule: PolicyRule): string {
  switch (rule) {
    case "null-mx":
      return "1.10"; // RFC 7505
    case "loop":
      return "4.6";
    case "mta-sts":
    case "dane":
      return "7.5";
    case "require-tls":
      return "7.30"; // RFC 8689
    case "suppressed":
      return "7.1";
    case "internal-address":
      return "4.4";
    case "8bitmime":
      return "6.3";
    case "smtputf8":
      return "6.7"; // RFC 6531
    case "message-size":
      return "3.4";
    case "damaged-content":
    case "signing":
      return "3.0";
    default:
      return assertNever(rule);
  }
}

/** Messages of DNS and policy faults may begin with the enhanced status code that says it best. */
function leadingCode(message: string, digit: string): string | undefined {
  const code = leadingCodePattern.exec(message)?.[1];
  return code?.startsWith(digit) ? code : undefined;
}

const leadingCodePattern = /^([45]\.\d\.\d{1,3}) /;

function withoutCode(message: string): string {
  return message.replace(leadingCodePattern, "");
}

function enhancedWithClass(reply: Reply, digit: string): string | undefined {
  const { enhanced } = reply;
  return enhanced !== undefined && /^[245]\.\d{1,3}\.\d{1,3}$/.test(enhanced) && enhanced.startsWith(digit)
    ? enhanced
    : undefined;
}

/** Diagnostic-Code (RFC 3464 section 2.3.6): the peer's reply, or in a type of our own what we know instead. */
export function diagnosticOf(outcome: Outcome | undefined): string | undefined {
  if (outcome === undefined) return undefined;
  if (outcome.kind === "delivered") return `smtp; ${formatReply(outcome.reply)}`;
  const { fault } = outcome;
  switch (fault.kind) {
    case "reply":
      return `smtp; ${formatReply(fault.reply)}`;
    case "network":
      return `X-Postern; ${fault.stage}: ${fault.message}`;
    case "dns":
      return `X-Postern; DNS: ${fault.message}`;
    case "policy":
      return `X-Postern; ${fault.rule}: ${fault.message}`;
    default:
      return assertNever(fault);
  }
}

/** Whether the outcome comes from a dialogue with the remote MTA, so that it may be named. */
export function spokeToRemote(outcome: Outcome | undefined): boolean {
  if (outcome === undefined) return false;
  if (outcome.kind === "delivered" || outcome.fault.kind === "reply") return true;
  return outcome.fault.kind === "network" && outcome.fault.stage !== "resolve" && outcome.fault.stage !== "connect";
}

/** A line that belongs to the peer is set apart from ours. */
export interface Statement {
  readonly words: string;
  readonly quoted: string | undefined;
}

/** What happened to the recipient, in plain words. */
export function whatHappened(item: DsnRecipient): Statement {
  const { outcome, recipient } = item;
  const remote = item.remoteName ?? "The other mail server";
  if (recipient.state.kind === "cancelled")
    return { words: "The operators of this mail system took the message out of the queue.", quoted: undefined };
  if (outcome === undefined)
    return { words: "The time for delivery ended before an attempt could be made.", quoted: undefined };
  switch (outcome.kind) {
    case "delivered":
      return { words: `${remote} took the message and answered:`, quoted: formatReply(outcome.reply) };
    case "unknown":
      return {
        words: `The whole message was sent to ${item.remoteName ?? "the other mail server"}, but the connection ended before the answer. It may have arrived all the same.`,
        quoted: undefined,
      };
    case "transient":
    case "permanent":
      return ofFault(outcome.fault, remote, outcome.kind === "permanent");
    default:
      return assertNever(outcome);
  }
}

function ofFault(fault: Fault, remote: string, permanent: boolean): Statement {
  switch (fault.kind) {
    case "reply":
      return {
        words: `${remote} ${permanent ? "refused" : "put off"} the message ${moment(fault.stage)}. It answered:`,
        quoted: formatReply(fault.reply),
      };
    case "network":
      return { words: "The connection to the other mail server failed:", quoted: fault.message };
    case "dns":
      return {
        words: "The mail server of the recipient's domain could not be found in DNS:",
        quoted: withoutCode(fault.message),
      };
    case "policy":
      return { words: reasonOfRule(fault.rule), quoted: withoutCode(fault.message) };
    default:
      return assertNever(fault);
  }
}

function moment(stage: Stage): string {
  switch (stage) {
    case "mail":
      return "when it was told the sender";
    case "rcpt":
      return "when it was told this address";
    case "data":
      return "when it was asked to take the content";
    case "final-dot":
      return "after it had read the content";
    default:
      return "before it was told anything about it";
  }
}

function reasonOfRule(rule: PolicyRule): string {
  switch (rule) {
    case "null-mx":
      return "The recipient's domain declares that it takes no mail:";
    case "loop":
      return "The mail servers of the recipient's domain lead back to this one:";
    case "mta-sts":
    case "dane":
      return "The recipient's domain asks for a secure connection, and none could be made:";
    case "require-tls":
      return "A secure connection is required for this message, and none could be made:";
    case "suppressed":
      return "This mail system does not send to this address any more:";
    case "internal-address":
      return "The mail servers of the recipient's domain have addresses that mail is not sent to:";
    case "8bitmime":
      return "The other mail server cannot take the characters in this message:";
    case "smtputf8":
      return "The other mail server cannot take addresses or header fields with such characters:";
    case "message-size":
      return "The message is larger than the other mail server takes:";
    case "damaged-content":
      return "The stored message was found damaged and was not sent:";
    case "signing":
      return "The message could not be signed and was not sent:";
    default:
      return assertNever(rule);
  }
}

/** What follows for the recipient, in plain words. */
export function whatNext(item: DsnRecipient): string {
  switch (item.action) {
    case "failed":
      return item.recipient.state.kind === "expired"
        ? "The time for delivery is over. No further attempt will be made."
        : "No further attempt will be made.";
    case "delayed":
      return item.willRetryUntil === undefined
        ? "Delivery will be tried again. You need not send the message again."
        : `Delivery will be tried again until ${dateTime(item.willRetryUntil)}. You need not send the message again.`;
    case "relayed":
      return "That server does not tell what becomes of it, so you may get no further report.";
    case "delivered":
      return "Nothing remains to be done.";
    default:
      return assertNever(item.action);
  }
}
