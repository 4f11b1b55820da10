// The reply to the final dot: what the content's faults, the intake and the queue say.

import type { SmtpListenerConfig } from "../config/config.ts";
import { assertNever } from "../core/assert.ts";
import type { Intake } from "../queue/queue.ts";
import type { Content, ContentFault } from "./content-reader.ts";
import { headerSectionTooLong, type IntakeFacts, makeSubmission } from "./intake.ts";
import { noMemory, reply, type SmtpReply } from "./replies.ts";

/**
 * Hands the message to the queue. Durable before polite: the reply is 250 only when the queue says that the message is
 * on the disk. Rejects when the spool failed.
 */
export async function submit(intake: Intake, content: Content, facts: IntakeFacts): Promise<SmtpReply> {
  const made = makeSubmission(content, facts);
  if (made.kind === "refused") return made.reply;
  const accepted = await intake.accept(made.submission);
  switch (accepted.kind) {
    case "accepted":
    case "replayed":
      return reply(250, "2.0.0", `queued as ${accepted.queueId}`);
    case "conflict":
      return reply(554, "5.6.0", `The idempotency key was used for another message, ${accepted.queueId}`);
    case "refused":
      return reply(452, "4.3.1", accepted.text);
    default:
      return assertNever(accepted);
  }
}

export function faultReply(fault: ContentFault, limits: SmtpListenerConfig): SmtpReply {
  switch (fault) {
    case "bare-cr-lf":
      return reply(550, "5.6.11", "Bare CR or LF in the content: lines end in CRLF (RFC 5321 section 2.3.8)");
    case "nul":
      // RFC 2045 sections 2.7 and 2.8: neither 7bit nor 8bit data holds NUL.
      return reply(550, "5.6.0", "NUL in the content");
    case "message-too-big":
      return reply(552, "5.3.4", `The message is larger than ${limits.messageBytesMax} octets`);
    case "line-too-long":
      return reply(554, "5.6.0", `A line is longer than ${limits.lineBytesMax} octets`);
    case "header-section-too-long":
      return reply(552, "5.3.4", headerSectionTooLong(limits));
    case "no-memory":
      return noMemory;
    default:
      return assertNever(fault);
  }
}
