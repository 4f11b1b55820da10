// How exchangers that cannot be reached rest.

import { test } from "tap";
import { hourMs, secondMs } from "../../src/core/time.ts";
import { Routes } from "../../src/queue/routes.ts";
import { SimClock } from "../support/sim-clock.ts";

test("a rest doubles with each failure in a row, and one session ends that", async (t) => {
  const clock = new SimClock();
  const routes = new Routes(clock);
  const first = routes.rest("r", "refused").until - clock.now();
  await clock.advance(first);
  t.equal(routes.restOf("r"), undefined, "over at the instant that was told");
  t.equal(routes.rest("r", "refused").until - clock.now(), 2 * first);
  t.equal(routes.reached("r"), true);
  t.equal(routes.restOf("r"), undefined);
  t.equal(routes.reached("r"), false, "told once");
  t.equal(routes.rest("r", "refused").until - clock.now(), first);
});

test("a clock that is set neither ends a rest nor draws it out, and its end is never in the past", async (t) => {
  const clock = new SimClock();
  const routes = new Routes(clock);
  const restMs = routes.rest("r", "refused").until - clock.now();
  for (const jump of [hourMs, -2 * hourMs]) {
    clock.setWall(clock.now() + jump);
    t.equal((routes.restOf("r")?.until ?? 0) - clock.now(), restMs);
  }
  await clock.advance(restMs);
  t.equal(routes.restOf("r"), undefined);
});

test("what was reached of late counts as reachable for ten minutes, and what is idle is forgotten", async (t) => {
  const clock = new SimClock();
  const routes = new Routes(clock);
  t.equal(routes.isReached("r"), false);
  routes.reached("r");
  t.equal(routes.isReached("r"), true);
  await clock.advance(599 * secondMs);
  t.equal(routes.isReached("r"), true);
  await clock.advance(2 * secondMs);
  t.equal(routes.isReached("r"), false);
  routes.rest("r", "refused");
  await clock.advance(hourMs);
  routes.sweep();
  t.equal(routes.rest("r", "refused").until - clock.now(), 5 * secondMs, "as if it had never failed");
});
