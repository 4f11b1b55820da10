// The delivery room's door: one SMTP connection of a lane, from connect to QUIT.
//
// A connection asks its lane for work, tells the outcome of each recipient, and waits when there is none. It never
// chooses what to send, and the lane never sees the dialogue.

import type { DeliveryTimeouts } from "../config/config.ts";
import type { AttemptInfo, TlsInfo } from "../core/attempt.ts";
import type { Message, QueueEntry } from "../core/message.ts";
import type { Network } from "../core/network.ts";
import type { Fault, Outcome } from "../core/outcome.ts";
import type { Exchanger } from "../core/plan.ts";
import type { Random } from "../core/random.ts";
import type { Clock } from "../core/time.ts";
import type { Log } from "../telemetry/log.ts";
import { OutboundConnection } from "./connection.ts";
import { Quirks } from "./quirks.ts";

/** The pending recipients of one entry, ready to be sent in one transaction. */
export interface Work {
  readonly message: Message;
  readonly entry: QueueEntry;
  /** Indexes into `entry.recipients` of the pending ones, which the transaction is about. Never empty. */
  readonly pending: readonly number[];
  /** Header fields to send before the stored content (DKIM-Signature), CRLF included; may be empty. */
  readonly addedHeaders: Buffer;
  /** The stored content, chunk by chunk. Throws when it is damaged: then nothing of it may reach the peer as complete. */
  content(): Iterable<Buffer>;
}

export type WorkResult =
  /** One outcome for each of `work.pending`, in its order. */
  | { readonly kind: "attempted"; readonly outcomes: readonly Outcome[]; readonly info: AttemptInfo }
  /**
   * The connection ended before the peer answered anything of this transaction, and the message was not sent: it is
   * as if no attempt had been made.
   */
  | { readonly kind: "returned"; readonly fault: Fault };

/** What a connection needs from its lane. All calls are synchronous and may come at any time until `closed`. */
export interface LaneFeed {
  /** The next work, or undefined when there is none that may be sent now. The connection must report each once. */
  next(): Work | undefined;
  settled(work: Work, result: WorkResult): void;
  /** A session with an exchanger is ready to take mail. */
  opened(info: {
    readonly remote: { readonly name: string; readonly address: string };
    readonly tls: TlsInfo | undefined;
  }): void;
  /** No exchanger of the plan could be had; the connection is over. */
  failed(fault: Fault, remote: { readonly name: string; readonly address: string } | undefined): void;
  /** The peer answered 421 or asked to slow down between transactions, or broke the connection. */
  closedByPeer(fault: Fault): void;
  /** The connection is over; nothing more comes from it. Called exactly once, last. */
  closed(): void;
}

export interface ConnectionSpec {
  readonly sessionId: string;
  readonly source: { readonly name: string; readonly address: string | undefined; readonly ehlo: string };
  readonly exchangers: readonly Exchanger[];
  readonly port: number;
  readonly tls: "off" | "opportunistic" | "required";
  readonly messagesMax: number;
  readonly recipientsPerMessageMax: number;
}

export interface LaneConnection {
  /** How it stands: `idle` waits for `wake`. */
  readonly state: "connecting" | "busy" | "idle" | "closed";
  /** There may be work again. Does nothing unless idle. */
  wake(): void;
  /** Finishes the transaction under way, then QUITs. A connection without one ends at once. */
  drain(): void;
  /** Ends at once, in the midst of a transaction: its outcome is unknown when the whole content was sent (RFC 1047). */
  breakOff(): void;
}

export interface DeliveryPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly log: Log;
}

export interface DeliveryOptions {
  readonly timeouts: DeliveryTimeouts;
  /** Whether mail may go to that IP address. Asked before the connect, and again for what was connected to. */
  readonly isAllowedAddress: (address: string) => boolean;
  /** What peers offered and broke: one memory for all connections of a shard. */
  readonly quirks: Quirks;
}

export type { Quirks };

/** An empty memory of peers that break what they offer. One per shard. */
export function newQuirks(clock: Clock): Quirks {
  return new Quirks(clock);
}

/** Begins to connect. No call of the feed comes before this has returned. */
export function openConnection(
  ports: DeliveryPorts,
  options: DeliveryOptions,
  spec: ConnectionSpec,
  feed: LaneFeed,
): LaneConnection {
  const connection = new OutboundConnection({ ...ports, ...options, spec, feed });
  // It rejects only for a bug, which is to end the process like any other.
  void connection.run();
  return connection;
}
