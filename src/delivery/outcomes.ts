// From the replies of one transaction to the outcome of each of its recipients: pure functions.

import type { Fault, Outcome, Stage } from "../core/outcome.ts";
import type { Reply } from "../core/reply.ts";
import type { Instant } from "../core/time.ts";
import type { Command } from "../smtp/client-session.ts";
import type { Transaction } from "./parcel.ts";

export function isPositive(reply: Reply | undefined): boolean {
  return reply !== undefined && reply.code < 300;
}

export function isRefusal(reply: Reply | undefined): boolean {
  return reply !== undefined && reply.code >= 400;
}

/**
 * Whether a refused RCPT only says that the transaction has enough recipients (RFC 5321 section 4.5.3.1.10, which has a
 * 552 taken as 452 then). Full mailboxes have the same codes, so the code alone is not enough.
 */
export function isTooManyRecipients(reply: Reply): boolean {
  if (reply.enhanced !== undefined) return /^[45]\.5\.3$/.test(reply.enhanced);
  return (reply.code === 452 || reply.code === 552) && /too many recipients/i.test(reply.text);
}

/**
 * What the transaction did to its recipient number `index`. `sessionFault` tells why the session is over, if it is:
 * then commands may have no reply.
 */
export function outcomeOf(
  transaction: Transaction,
  index: number,
  sessionFault: Fault | undefined,
  at: Instant,
): Outcome {
  const { mail, data, end } = transaction;
  const rcpt = transaction.rcpts[index] as Command;
  // The last word counts, even of a peer that refused MAIL in the same flight and then took the content.
  if (transaction.contentSent && !transaction.isDistrusted && isPositive(rcpt.reply) && isPositive(end.reply)) {
    return { kind: "delivered", at, reply: end.reply as Reply };
  }
  const before = refusalOf(mail) ?? refusalOf(rcpt);
  if (before !== undefined) return byReply(before.stage, before.reply, at);
  if (isOdd(mail.reply) || isOdd(rcpt.reply)) {
    const message = "protocol error: neither taken nor refused";
    return { kind: "transient", at, fault: { kind: "network", stage: isOdd(mail.reply) ? "mail" : "rcpt", message } };
  }
  if (transaction.isDamaged) {
    const message = "the stored content is damaged";
    return { kind: "transient", at, fault: { kind: "policy", rule: "damaged-content", message } };
  }
  if (transaction.isDistrusted) {
    const message = sessionFault?.kind === "network" ? sessionFault.message : "the session ended";
    return { kind: "transient", at, fault: { kind: "network", stage: "data", message } };
  }
  const refusedBlock = transaction.blocks.find((block) => isRefusal(block.reply));
  const refused = refusalOf(refusedBlock) ?? refusalOf(end) ?? refusalOf(data);
  if (refused !== undefined) return byReply(refused.stage, refused.reply, at);
  if (end.reply !== undefined) return byFinalReply(transaction, end.reply, at);
  return unanswered(transaction, sessionFault, at);
}

/** 3yz, which neither MAIL nor RCPT is answered with (RFC 5321 section 4.3.2). */
function isOdd(reply: Reply | undefined): boolean {
  return reply !== undefined && reply.code >= 300 && reply.code < 400;
}

function refusalOf(command: Command | undefined): { readonly stage: Stage; readonly reply: Reply } | undefined {
  const reply = command?.reply;
  return command === undefined || reply === undefined || reply.code < 400 ? undefined : { stage: command.stage, reply };
}

/** A reply to the final dot or to `BDAT n LAST` that is no refusal, and no consent either. */
function byFinalReply(transaction: Transaction, reply: Reply, at: Instant): Outcome {
  const fault: Fault = { kind: "network", stage: "final-dot", message: `protocol error: unexpected ${reply.code}` };
  // A yes to what was not sent whole is no yes; what is neither yes nor no after the whole leaves it open.
  return { kind: transaction.contentSent ? "unknown" : "transient", at, fault };
}

function unanswered(transaction: Transaction, sessionFault: Fault | undefined, at: Instant): Outcome {
  // A peer that says 421 has not taken the message, and says so.
  if (sessionFault?.kind === "reply") return { kind: "transient", at, fault: sessionFault };
  const message = sessionFault?.kind === "network" ? sessionFault.message : "the session ended";
  // RFC 1047: it may have been delivered or not.
  if (transaction.contentSent) {
    return { kind: "unknown", at, fault: { kind: "network", stage: "final-dot", message } };
  }
  return { kind: "transient", at, fault: { kind: "network", stage: stageReached(transaction), message } };
}

function stageReached(transaction: Transaction): Stage {
  if (transaction.contentBegun) return "data";
  if (transaction.mail.reply === undefined) return "mail";
  return transaction.rcpts.some((rcpt) => rcpt.reply === undefined) ? "rcpt" : "data";
}

/** A refusal as an outcome. */
export function byReply(stage: Stage, reply: Reply, at: Instant): Outcome {
  const isPermanent = reply.code >= 500 && !(stage === "rcpt" && isTooManyRecipients(reply));
  return { kind: isPermanent ? "permanent" : "transient", at, fault: { kind: "reply", stage, reply } };
}
