// Work as the queue sees it: what delivery sends, and where it came from.

import type { QueuePosition } from "../core/message.ts";
import type { Exchanger } from "../core/plan.ts";
import type { Work } from "../delivery/delivery.ts";
import type { Waiting } from "./waiting.ts";

/** The exchangers that take a domain's mail. Domains with equal keys share connections. */
export interface Route {
  readonly key: string;
  readonly exchangers: readonly Exchanger[];
}

export interface QueuedWork extends Work {
  readonly queue: Waiting;
  readonly position: QueuePosition;
  readonly route: Route;
  readonly realtime: boolean;
  readonly signedBy: readonly string[];
  /** How often a connection gave it back untouched. */
  returns: number;
  /** An operator cancelled it while it was on its way: what is pending after the attempt is not tried again. */
  cancelledBy: string | undefined;
}
