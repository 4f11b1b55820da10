// A queue as the dispatcher sees it: the due queue, and what it waits for at the moment.

import type { QueueName } from "../core/message.ts";
import type { MxPlan } from "../core/plan.ts";
import type { Instant } from "../core/time.ts";
import type { DueQueue } from "./due-queue.ts";
import type { Route } from "./work.ts";

export type Phase =
  /** Nothing is due; the wake-up list knows when something will be. */
  | { readonly kind: "idle" }
  | { readonly kind: "resolving" }
  /** The domain could not be resolved (`failures` lookups in a row), or its exchangers could not be reached. */
  | { readonly kind: "backoff"; readonly until: Instant; readonly failures: number; readonly because: string }
  /** In its site's ring: something is due. */
  | { readonly kind: "contending" }
  | { readonly kind: "held"; readonly holdId: string };

/** The same for all queues, which nearly all are idle. */
export const idle: Phase = { kind: "idle" };

export interface Waiting {
  readonly name: QueueName;
  readonly due: DueQueue;
  phase: Phase;
  plan: MxPlan | undefined;
  route: Route | undefined;
  /** Set while it stands in the wake-up list: the instant that is meant. */
  wakeAt: Instant | undefined;
  /** Its place in that list; meaningless while `wakeAt` is undefined. */
  wakeIndex: number;
  /** Entries of this queue on the disk, held ones included. */
  entries: number;
  /** Pending recipients in them. */
  recipients: number;
  lastError: { readonly at: Instant; readonly text: string } | undefined;
}
