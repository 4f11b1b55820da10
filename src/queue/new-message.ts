// From a submission to the message and the queue entries that the spool keeps.

import type { StreamConfig } from "../config/config.ts";
import type { Recipient } from "../core/envelope.ts";
import type { Domain } from "../core/ids.ts";
import { entryRecipientsMax, type Message, type QueueEntry } from "../core/message.ts";
import { domainOf } from "../smtp/path.ts";
import type { Submission } from "./queue.ts";

export interface NewMessage {
  readonly message: Message;
  readonly entries: readonly QueueEntry[];
}

/** One entry for each destination domain, more for domains with over `entryRecipientsMax` recipients; all due at once. */
export function newMessage(submission: Submission, stream: StreamConfig, origin: Message["origin"]): NewMessage {
  const { queueId, receivedAt } = submission;
  const entries: QueueEntry[] = [];
  for (const [domain, recipients] of byDomain(submission.recipients)) {
    for (let start = 0; start < recipients.length; start += entryRecipientsMax) {
      entries.push({
        queueId,
        entryNo: entries.length,
        stream: stream.name,
        domain,
        attempts: 0,
        dueAt: receivedAt,
        delayNotifiedAt: undefined,
        recipients: recipients
          .slice(start, start + entryRecipientsMax)
          .map((recipient) => ({ ...recipient, state: { kind: "pending", last: undefined } })),
      });
    }
  }
  const message: Message = {
    queueId,
    stream: stream.name,
    tenant: submission.tenant,
    job: submission.job,
    envelope: submission.envelope,
    contentBytes: submission.contentBytes,
    headerBytes: submission.headerBytes,
    hasDotLines: submission.hasDotLines,
    receivedAt,
    expiresAt: receivedAt + stream.expireMs,
    fromDomain: submission.fromDomain,
    messageIdHeader: submission.messageIdHeader,
    loggedHeaders: submission.loggedHeaders,
    origin,
    user: submission.user,
    recipientCount: submission.recipients.length,
    entryCount: entries.length,
  };
  return { message, entries };
}

function byDomain(recipients: readonly Recipient[]): Iterable<readonly [Domain, readonly Recipient[]]> {
  const [first, second] = recipients;
  // Most messages have one recipient, and need no map.
  if (first !== undefined && second === undefined) return [[domainOf(first.forwardPath), recipients]];
  const domains = new Map<Domain, Recipient[]>();
  for (const recipient of recipients) {
    const domain = domainOf(recipient.forwardPath);
    const list = domains.get(domain);
    if (list === undefined) domains.set(domain, [recipient]);
    else list.push(recipient);
  }
  return domains;
}
