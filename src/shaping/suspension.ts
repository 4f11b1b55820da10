// How long a lane or a site rests after a failure that punishes it.

import type { Millis } from "../core/time.ts";

const suspensionBaseMs: Millis = 5_000;
const suspensionMaxMs: Millis = 600_000;

/** The rest after the `failures`-th failure in a row (1 for the first): it doubles up to ten minutes. */
export function suspensionMs(failures: number): Millis {
  return Math.min(suspensionMaxMs, suspensionBaseMs * 2 ** Math.min(failures - 1, 20));
}
