// What the queue is built from: the ports and rooms below it, handed in by the composition root.

import type { Notify } from "../core/envelope.ts";
import type { DeliveryEvent, EventSink } from "../core/event.ts";
import type { Random } from "../core/random.ts";
import type { Clock } from "../core/time.ts";
import type { Classifier, DsnAction, DsnWriter } from "../outcome/outcome.ts";
import type { PlanResolver } from "../resolve/resolve.ts";
import type { LaneTable } from "../shaping/shaping.ts";
import type { Signer } from "../signing/signing.ts";
import type { Spool } from "../spool/spool.ts";
import type { Log } from "../telemetry/log.ts";
import type { OpenConnection } from "./lane.ts";

/** What the metrics want to know. Spans in seconds. */
export interface QueueObserver {
  ingestMessage(stream: string, contentBytes: number): void;
  acceptToDelivery(stream: string, seconds: number): void;
  deliveryAttempt(site: string, source: string, kind: "delivered" | "transient" | "permanent" | "unknown"): void;
  deliveryConnections(site: string, source: string, count: number): void;
  suspension(site: string, source: string): void;
  bounce(bounceClass: string): void;
}

export interface QueuePorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly spool: Spool;
  readonly signer: Signer;
  readonly planResolver: PlanResolver;
  readonly openConnection: OpenConnection;
  readonly sink: EventSink;
  readonly classifier: Classifier;
  readonly dsnWriter: DsnWriter;
  /** RFC 3461 section 4.1: whether this recipient's sender is told of this action. */
  readonly dsnDue: (notify: Notify, action: DsnAction) => boolean;
  readonly formatEvent: (event: DeliveryEvent) => string;
  readonly observer: QueueObserver;
  readonly log: Log;
  readonly node: string;
  readonly shard: number;
  /** What the lanes of all shards have open and have sent. */
  readonly laneTable: LaneTable;
  /** Why the process can take no more mail at the moment (memory), in words; undefined when it can. */
  readonly overload: () => string | undefined;
  /** The spool failed: nothing may be accepted or delivered any more, and the process must end. Called once. */
  readonly fatal: (error: Error) => void;
}
