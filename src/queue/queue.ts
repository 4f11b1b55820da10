// The queue's door, as the floors above see it.

import type { Envelope, Recipient } from "../core/envelope.ts";
import type { QueueId, StreamName } from "../core/ids.ts";
import type { AttemptNote } from "../core/message.ts";
import type { Instant, Millis } from "../core/time.ts";
import type { HoldRecord, Selection } from "../spool/spool.ts";

/** A message as ingest hands it over: checked, headers completed, not yet owned by us. */
export interface Submission {
  readonly stream: StreamName;
  readonly tenant: string | undefined;
  readonly job: string | undefined;
  readonly envelope: Envelope;
  readonly recipients: readonly Recipient[];
  readonly content: readonly Buffer[];
  readonly contentBytes: number;
  readonly headerBytes: number;
  readonly hasDotLines: boolean;
  readonly fromDomain: string | undefined;
  readonly messageIdHeader: string | undefined;
  readonly loggedHeaders: Readonly<Record<string, string>>;
  readonly user: string | undefined;
  /** The queue id was reserved with `reserveId` because Received names it. */
  readonly queueId: QueueId;
  readonly receivedAt: Instant;
  readonly sessionId: string;
  readonly remote: { readonly name: string; readonly address: string };
  readonly idempotencyKey: string | undefined;
}

export type AcceptResult =
  | { readonly kind: "accepted"; readonly queueId: QueueId }
  /** The same idempotency key came with the same message before. */
  | { readonly kind: "replayed"; readonly queueId: QueueId }
  /** The same idempotency key came with another message. */
  | { readonly kind: "conflict"; readonly queueId: QueueId }
  /** Not kept; the client may try again. */
  | { readonly kind: "refused"; readonly text: string };

/** Whether new mail may come in; `text` says why not in words for a 4yz reply. */
export type Pressure = { readonly kind: "ok" } | { readonly kind: "refuse"; readonly text: string };

export interface RejectionNote {
  readonly reversePath: string | undefined;
  readonly forwardPath: string | undefined;
  readonly remote: { readonly name: string; readonly address: string };
  readonly sessionId: string;
  readonly reply: { readonly code: number; readonly enhanced: string; readonly text: string };
}

/** What ingest sees of the queue. */
export interface Intake {
  reserveId(): QueueId;
  /** Resolves after the message is on the disk (or was not taken). Rejects only when the spool failed. */
  accept(submission: Submission): Promise<AcceptResult>;
  pressure(): Pressure;
  /** Notes a refused transaction in the delivery log. Best effort: nothing waits for it. */
  rejected(note: RejectionNote): void;
}

export interface QueueSummary {
  readonly stream: StreamName;
  readonly domain: string;
  readonly site: string | undefined;
  /** Entries: a message's recipients at this domain, at most 100 in one. */
  readonly entries: number;
  /** Pending recipients in them. */
  readonly recipients: number;
  readonly held: boolean;
  readonly oldestDueAt: Instant | undefined;
  readonly nextDueAt: Instant | undefined;
  readonly inFlight: number;
  readonly lastError: { readonly at: Instant; readonly text: string } | undefined;
  /** What the head of the queue waits for, in words. */
  readonly waitsFor: string;
}

export interface LaneSummary {
  readonly source: string;
  readonly site: string;
  readonly ready: number;
  readonly connections: {
    readonly max: number;
    readonly connecting: number;
    readonly busy: number;
    readonly idle: number;
  };
  readonly rate: string;
  readonly connectionRate: string;
  readonly messagesPerConnectionMax: number;
  readonly suspendedUntil: Instant | undefined;
  readonly suspendedBecause: string | undefined;
  readonly lastReplies: readonly { readonly at: Instant; readonly text: string }[];
  readonly where: string;
}

export interface RecipientExplanation {
  readonly forwardPath: string;
  readonly state: string;
  readonly detail: string;
}

export interface MessageExplanation {
  readonly queueId: QueueId;
  readonly stream: StreamName;
  readonly tenant: string | undefined;
  readonly job: string | undefined;
  readonly reversePath: string;
  readonly contentBytes: number;
  readonly receivedAt: Instant;
  readonly expiresAt: Instant;
  readonly entries: readonly {
    readonly domain: string;
    readonly site: string | undefined;
    readonly attempts: number;
    readonly dueAt: Instant;
    /** What it waits for, until when, and which config line decides. */
    readonly waitsFor: string;
    /** The last attempts, oldest first. */
    readonly history: readonly AttemptNote[];
    readonly recipients: readonly RecipientExplanation[];
  }[];
}

export interface ActionResult {
  /** Recipients that the action touched. */
  readonly recipients: number;
  readonly hold?: HoldRecord | undefined;
  /** Why nothing was done, in words. */
  readonly refused?: string | undefined;
}

/** What the admin floor sees of the queue. */
export interface Operations {
  queues(filter: { readonly stream?: string | undefined; readonly domain?: string | undefined }): QueueSummary[];
  lanes(): LaneSummary[];
  explain(queueId: QueueId): MessageExplanation | undefined;
  /** `by`, here and below: who does it, and why if that was said. It is shown in the delivery log. */
  hold(selection: Selection, reason: string, by: string): Promise<ActionResult>;
  release(selection: Selection, by: string): Promise<ActionResult>;
  cancel(selection: Selection, by: string): Promise<ActionResult>;
  retry(selection: Selection, by: string): Promise<ActionResult>;
  holds(): HoldRecord[];
  /** Counters for the metrics, by stream and state. */
  depth(): readonly { readonly stream: StreamName; readonly state: string; readonly recipients: number }[];
  readonly oldestAgeMs: Millis;
}
