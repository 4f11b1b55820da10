// Back-pressure: whether new mail may come in. What it depends on recovers by itself, and so does the answer.

import { assertNever } from "../core/assert.ts";
import type { Spool } from "../spool/spool.ts";
import type { Pressure } from "./queue.ts";

/** Octets that may wait for the disk before no more are taken. */
const waitingMaxBytes = 64 * 1024 * 1024;

export function pressureOf(spool: Spool, overload: string | undefined): Pressure {
  const health = spool.health();
  switch (health.kind) {
    case "ok":
      break;
    case "low-space":
      return refuse(`insufficient system storage: ${Math.floor(health.freeBytes / 1024 / 1024)} MiB free`);
    case "slow":
      return refuse(`the disk is slow: a commit took ${Math.round(health.commitMs)} ms`);
    case "failed":
      return refuse("the spool has failed; the server is stopping");
    default:
      assertNever(health);
  }
  if (spool.waitingBytes > waitingMaxBytes) return refuse("too much mail waits for the disk");
  if (overload !== undefined) return refuse(overload);
  return { kind: "ok" };
}

function refuse(text: string): Pressure {
  return { kind: "refuse", text };
}
