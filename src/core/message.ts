// A message, the recipients that wait for it, and the states they go through.

import type { Envelope, Recipient } from "./envelope.ts";
import type { Domain, QueueId, StreamName } from "./ids.ts";
import type { Outcome } from "./outcome.ts";
import type { Instant } from "./time.ts";

/** What never changes about an accepted message. Its recipients live in its queue entries, its octets in the spool. */
export interface Message {
  readonly queueId: QueueId;
  readonly stream: StreamName;
  readonly tenant: string | undefined;
  readonly job: string | undefined;
  readonly envelope: Envelope;
  /** Octets of the whole content, header section included, as stored: CRLF line ends, not dot-stuffed. */
  readonly contentBytes: number;
  /** Octets of the header section with the empty line that ends it. */
  readonly headerBytes: number;
  /** Whether a line of the content begins with a dot, so that DATA must stuff it (RFC 5321 section 4.5.2). */
  readonly hasDotLines: boolean;
  readonly receivedAt: Instant;
  readonly expiresAt: Instant;
  /** Domain of the first From address (RFC 5322 section 3.6.2), lower-case A-labels: it chooses the DKIM keys. */
  readonly fromDomain: Domain | undefined;
  /** The Message-ID field's value, for the delivery log. */
  readonly messageIdHeader: string | undefined;
  /** The header fields that the config asks the delivery log to show, name in lower case. */
  readonly loggedHeaders: Readonly<Record<string, string>>;
  /** A DSN that we made ourselves is never answered with another one (RFC 5321 section 4.5.5). */
  readonly origin: "submission" | "dsn";
  /** Who submitted: the user's name, or undefined for a trusted network or a DSN. */
  readonly user: string | undefined;
  readonly recipientCount: number;
  readonly entryCount: number;
}

/** A recipient is pending until exactly one of the four final states holds. */
export type RecipientState =
  | { readonly kind: "pending"; readonly last: Outcome | undefined }
  | { readonly kind: "delivered"; readonly outcome: Outcome }
  | { readonly kind: "failed"; readonly outcome: Outcome }
  | { readonly kind: "expired"; readonly last: Outcome | undefined }
  | { readonly kind: "cancelled"; readonly by: string; readonly at: Instant };

export interface QueuedRecipient extends Recipient {
  readonly state: RecipientState;
}

/**
 * The recipients of one message that share a destination domain, at most `entryRecipientsMax` of them. They are
 * attempted together and share the due time and the number of attempts; each has its own state.
 */
export interface QueueEntry {
  readonly queueId: QueueId;
  /** 0 .. message.entryCount - 1. */
  readonly entryNo: number;
  readonly stream: StreamName;
  readonly domain: Domain;
  /** Attempts made so far. */
  readonly attempts: number;
  /** When the pending recipients are due; `heldInstant` while an operator holds the entry. */
  readonly dueAt: Instant;
  /** Set once a delay DSN has been sent (RFC 3461 section 4.1), so that there is at most one. */
  readonly delayNotifiedAt: Instant | undefined;
  readonly recipients: readonly QueuedRecipient[];
  /** The last attempts, oldest first, at most `historyMax`; left out before the first one that left something to do. */
  readonly history?: readonly AttemptNote[] | undefined;
}

/** What an attempt is remembered by, for people. */
export interface AttemptNote {
  readonly at: Instant;
  readonly source: string | undefined;
  /** `name [address]` of the exchanger, where one was reached. */
  readonly remote: string | undefined;
  /** What it came to, in words. */
  readonly result: string;
}

export const historyMax = 10;

/** The place of an entry in its queue. Queues are ordered by due time, then by queue id. */
export interface QueuePosition {
  readonly dueAt: Instant;
  readonly queueId: QueueId;
  readonly entryNo: number;
}

/** A queue: what waits for one destination domain in one stream. */
export interface QueueName {
  readonly stream: StreamName;
  readonly domain: Domain;
}

/** The due time of entries that an operator holds: later than any real one, so they sort behind. */
export const heldInstant: Instant = 0xffff_ffff_ffff;

/** RFC 5321 section 4.5.3.1.8: a receiver must take at least 100 recipients. */
export const entryRecipientsMax = 100;

export function isFinal(state: RecipientState): boolean {
  return state.kind !== "pending";
}
