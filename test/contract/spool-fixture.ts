// Mail for the spool's tests.

import { encodeBase32, type QueueId } from "../../src/core/ids.ts";
import type { Message, QueueEntry, RecipientState } from "../../src/core/message.ts";
import type { Instant } from "../../src/core/time.ts";
import type { SpoolOperation } from "../../src/spool/spool.ts";

export const start: Instant = 1_767_225_600_000;

/** The queue id of the message with this number; rising with it. */
export function idOf(number: number): QueueId {
  return encodeBase32(start, 9) + encodeBase32(0, 2) + encodeBase32(number, 5);
}

export interface MailShape {
  readonly domains?: readonly string[];
  readonly stream?: string;
  readonly dueAt?: Instant;
  readonly content?: Buffer;
  /** Where the content is cut when it is handed over. */
  readonly pieceBytes?: number;
  readonly idempotency?: { readonly key: string; readonly expiresAt: Instant } | undefined;
}

export type Accept = Extract<SpoolOperation, { kind: "accept" }>;

/** The operation that accepts message `number`, with one entry for each domain. */
export function acceptOf(number: number, shape: MailShape = {}): Accept {
  const { domains = ["example.com"], stream = "news", dueAt = start } = shape;
  const content = shape.content ?? Buffer.from(`Subject: mail ${number}\r\n\r\nHello number ${number}.\r\n`);
  const queueId = idOf(number);
  const message: Message = {
    queueId,
    stream,
    tenant: undefined,
    job: "j1",
    envelope: {
      reversePath: "shop@example.org",
      envid: undefined,
      ret: "hdrs",
      body: "8bitmime",
      smtpUtf8: true,
      requireTls: false,
    },
    contentBytes: content.length,
    headerBytes: Math.min(content.length, 20),
    hasDotLines: false,
    receivedAt: start,
    expiresAt: start + 86_400_000,
    fromDomain: "example.org",
    messageIdHeader: `<${number}@example.org>`,
    loggedHeaders: { subject: `grüße ${number} 🙂` },
    origin: "submission",
    user: "shop",
    recipientCount: domains.length,
    entryCount: domains.length,
  };
  const entries = domains.map(
    (domain, entryNo): QueueEntry => ({
      queueId,
      entryNo,
      stream,
      domain,
      attempts: 0,
      dueAt,
      delayNotifiedAt: undefined,
      recipients: [
        {
          forwardPath: `joe@${domain}`,
          orcpt: undefined,
          notify: ["failure"],
          state: { kind: "pending", last: undefined },
        },
      ],
    }),
  );
  const idempotency = shape.idempotency === undefined ? undefined : { ...shape.idempotency, digest: "00ff", queueId };
  return { kind: "accept", message, entries, content: cut(content, shape.pieceBytes ?? 1_000_000), idempotency };
}

function cut(content: Buffer, pieceBytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < content.length; at += pieceBytes) pieces.push(content.subarray(at, at + pieceBytes));
  return pieces;
}

const delivered: RecipientState = {
  kind: "delivered",
  outcome: { kind: "delivered", at: start, reply: { code: 250, enhanced: "2.0.0", text: "ok" } },
};

export function finishOf(entry: QueueEntry, from: Instant = entry.dueAt): SpoolOperation {
  const recipients = entry.recipients.map((recipient) => ({ ...recipient, state: delivered }));
  return { kind: "finish", entry: { ...entry, attempts: entry.attempts + 1, recipients }, from };
}

export function rescheduleOf(entry: QueueEntry, dueAt: Instant, from: Instant = entry.dueAt): SpoolOperation {
  return { kind: "reschedule", entry: { ...entry, attempts: entry.attempts + 1, dueAt }, from };
}

/** What a value looks like after it has been stored: fields that are undefined are gone. */
export function stored<Value>(value: Value): Value {
  return JSON.parse(JSON.stringify(value)) as Value;
}

/** Octets that differ from place to place. */
export function patternOf(bytes: number, seed: number): Buffer {
  const out = Buffer.alloc(bytes);
  let state = seed * 2_654_435_761 + 1;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[at] = state >>> 24;
  }
  return out;
}
