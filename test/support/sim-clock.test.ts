// The simulated clock and the seeded chance keep what other tests rely on.

import { test } from "tap";
import { SeededRandom } from "./seeded-random.ts";
import { SimClock, simStart } from "./sim-clock.ts";

test("timers run in due order, and those made on the way run in the same advance", async (t) => {
  const clock = new SimClock();
  const seen: string[] = [];
  clock.after(30, () => seen.push(`c@${clock.monotonicMs()}`));
  clock.after(10, () => {
    seen.push(`a@${clock.monotonicMs()}`);
    clock.after(5, () => seen.push(`b@${clock.monotonicMs()}`));
  });
  clock.after(10, () => seen.push(`a2@${clock.monotonicMs()}`));
  const cancelled = clock.after(20, () => seen.push("never"));
  cancelled.cancel();
  cancelled.cancel();
  clock.after(100, () => seen.push("late"));
  await clock.advance(50);
  t.same(seen, ["a@10", "a2@10", "b@15", "c@30"]);
  t.equal(clock.now(), simStart + 50);
  t.equal(clock.pendingTimers, 1);
  t.equal(clock.nextTimerInMs, 50);
});

test("promises settle between timers", async (t) => {
  const clock = new SimClock();
  const seen: number[] = [];
  const sleep = (ms: number) => new Promise<void>((resolve) => clock.after(ms, resolve));
  const walk = (async () => {
    for (let i = 0; i < 5; i++) {
      await sleep(10);
      seen.push(clock.monotonicMs());
    }
  })();
  await clock.advance(50);
  await walk;
  t.same(seen, [10, 20, 30, 40, 50]);
});

test("the wall clock jumps without the monotonic one", async (t) => {
  const clock = new SimClock();
  await clock.advance(10);
  clock.setWall(5);
  t.equal(clock.now(), 5);
  t.equal(clock.monotonicMs(), 10);
});

test("many timers of random delay run in order", async (t) => {
  const clock = new SimClock();
  const random = new SeededRandom(7);
  const seen: number[] = [];
  for (let i = 0; i < 500; i++) clock.after(random.integer(100), () => seen.push(clock.monotonicMs()));
  await clock.advance(100);
  t.equal(seen.length, 500);
  t.same(
    seen,
    seen.toSorted((a, b) => a - b),
  );
});

test("one seed gives one sequence, evenly spread", async (t) => {
  const draw = (seed: number) => {
    const random = new SeededRandom(seed);
    return Array.from({ length: 2000 }, () => random.integer(10));
  };
  t.same(draw(42), draw(42));
  t.notSame(draw(42), draw(43));
  const counts = new Array<number>(10).fill(0);
  for (const value of draw(1)) counts[value] = (counts[value] ?? 0) + 1;
  t.ok(
    counts.every((count) => count > 130 && count < 270),
    String(counts),
  );
  t.equal(new SeededRandom(1).bytes(8).length, 8);
});
