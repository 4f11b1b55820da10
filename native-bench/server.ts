// A mail server under test: Postern, or one of its peers.

import type { PosternFigures } from "./postern-figures.ts";
import type { Cpu, Resident } from "./process-usage.ts";
import type { LoadPlan } from "./source/load-plan.ts";

export interface RunningServer {
  /** Where it takes mail. */
  readonly target: LoadPlan["target"];
  /** CPU time so far, of all its processes. */
  cpu(): Cpu;
  memory(): Resident;
  /** What it says of itself; undefined when it says nothing (now). */
  figures(): Promise<PosternFigures | undefined>;
  /** Resolves to how it ended once it has, in words. */
  readonly ended: Promise<string>;
  /** Octets of its log of deliveries on disk, of its spool and so on are its own business; this ends it all. */
  stop(): Promise<void>;
}
