// The admin room's door: what the HTTP API needs from the server behind it. main.ts implements it over the shards.

import type { ActionResult, LaneSummary, MessageExplanation, QueueSummary } from "../queue/queue.ts";
import type { HoldRecord, Selection } from "../spool/spool.ts";

export type OperatorAction = "hold" | "release" | "cancel" | "retry";

export interface AdminBackend {
  queues(filter: {
    readonly stream?: string | undefined;
    readonly domain?: string | undefined;
  }): Promise<QueueSummary[]>;
  lanes(): Promise<LaneSummary[]>;
  explain(queueId: string): Promise<MessageExplanation | undefined>;
  act(action: OperatorAction, selection: Selection, reason: string, by: string): Promise<ActionResult>;
  holds(): Promise<HoldRecord[]>;
  /** The Prometheus text of all shards and the main thread together: the metrics of these names, or all if none is named. */
  metrics(names: readonly string[]): Promise<{ readonly contentType: string; readonly text: string }>;
  /** `ready` is false while starting, draining, refusing mail or after a failure; `reasons` says why in words. */
  health(): Promise<{ readonly live: boolean; readonly ready: boolean; readonly reasons: readonly string[] }>;
  /** Reads the config file again, whole, and swaps it in; on errors the old one stays. */
  reload(): Promise<{ readonly reloaded: boolean; readonly errors: readonly string[] }>;
}
