// The wall clock is set while plans are kept (NTP after a suspended machine): mail goes on, and nothing spins.

import { test } from "tap";
import { hourMs, minuteMs } from "../../src/core/time.ts";
import { makePlanResolver } from "../../src/resolve/resolve.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { SimClock } from "../support/sim-clock.ts";
import { siteLimits } from "../support/site-limits.ts";
import { ZoneResolver } from "../support/zone-resolver.ts";

test("a clock set forward or back leaves a plan that may be used now", async (t) => {
  const clock = new SimClock();
  const zone = new ZoneResolver(clock, {
    "b.example": { mx: [[10, "mx.b.example"]] },
    "mx.b.example": { a: ["8.8.4.1"] },
  });
  const plans = makePlanResolver(
    { resolver: zone, clock, log: silentLog },
    {
      ownNames: [],
      ownAddresses: [],
      sites: { defaults: siteLimits, named: [] },
      ip: [4],
      internalNetworksAllowed: [],
    },
  );
  for (const jumpMs of [0, 10 * hourMs, -20 * hourMs, 30 * hourMs]) {
    clock.setWall(clock.now() + jumpMs);
    const resolution = await plans.resolve("b.example");
    const until = resolution.kind === "plan" ? resolution.plan.until : 0;
    t.ok(until > clock.now(), `after ${jumpMs / minuteMs} min`);
  }
});
