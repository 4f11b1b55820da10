// Delivery events: the log that operators and their programs read (see the README for the fields).

import type { TlsInfo } from "./attempt.ts";
import type { QueueId } from "./ids.ts";
import type { Reply } from "./reply.ts";
import type { Instant } from "./time.ts";

export type EventKind =
  | "reception"
  | "rejection"
  | "delivery"
  | "transient-failure"
  | "bounce"
  | "expiration"
  | "cancellation"
  | "unknown-outcome"
  | "redirect"
  | "suspension"
  | "resumption"
  | "hold"
  | "release";

/** One line of the delivery log. Fields that do not apply are left out. */
export interface DeliveryEvent {
  /** Unique: a consumer can drop a repeat by it. */
  readonly id: string;
  readonly kind: EventKind;
  /** Milliseconds here; written to the log as RFC 3339 in UTC. */
  readonly at: Instant;
  readonly node: string;
  readonly shard: number;
  readonly queueId?: QueueId | undefined;
  readonly stream?: string | undefined;
  readonly tenant?: string | undefined;
  readonly job?: string | undefined;
  readonly reversePath?: string | undefined;
  readonly forwardPath?: string | undefined;
  /** The destination domain that a hold or a release is about. */
  readonly domain?: string | undefined;
  readonly contentBytes?: number | undefined;
  readonly site?: string | undefined;
  readonly source?: string | undefined;
  readonly pool?: string | undefined;
  readonly relay?: string | undefined;
  readonly remote?: { readonly name: string; readonly address: string } | undefined;
  readonly reply?: Reply | undefined;
  readonly stage?: string | undefined;
  readonly bounceClass?: string | undefined;
  readonly attempts?: number | undefined;
  readonly tls?: TlsInfo | undefined;
  /** Acceptance to this attempt. */
  readonly queuedMs?: number | undefined;
  readonly transactionMs?: number | undefined;
  readonly sessionId?: string | undefined;
  /** `selector._domainkey.domain` of each signature. */
  readonly signedBy?: readonly string[] | undefined;
  readonly messageIdHeader?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** What an operator or a governor gave as the reason, or a fault without a reply. */
  readonly reason?: string | undefined;
  /** A suspension's end. */
  readonly until?: Instant | undefined;
}

/** Where events go after their commit. */
export interface EventSink {
  /**
   * Appends a batch of lines (each ended by LF). Resolves when they are on the disk; rejects when they cannot be
   * written, and the batch is then offered again. Order is kept.
   */
  append(lines: Buffer): Promise<void>;
}
