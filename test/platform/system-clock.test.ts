// The real clock and the real chance.

import { test } from "tap";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { SystemRandom } from "../../src/platform/system-random.ts";

test("a timer never fires early, and once", async (t) => {
  const clock = new SystemClock();
  await Promise.all(
    Array.from({ length: 40 }, (_, i) => {
      const delayMs = i / 3;
      const dueMs = clock.monotonicMs() + delayMs;
      return new Promise<void>((resolve) => {
        clock.after(delayMs, () => {
          if (clock.monotonicMs() < dueMs) t.fail(`${dueMs - clock.monotonicMs()} ms early`);
          resolve();
        });
        // A timer that is not waited for does not keep the process alive, so something else must.
        setTimeout(resolve, 1000).unref();
        setTimeout(() => {}, 30);
      });
    }),
  );
  t.pass("all fired");
});

test("a cancelled timer does not fire, and a wait of years does not fire at once", async (t) => {
  const clock = new SystemClock();
  const fired: string[] = [];
  const cancelled = clock.after(1, () => fired.push("cancelled"));
  cancelled.cancel();
  cancelled.cancel();
  const years = clock.after(2 ** 40, () => fired.push("years"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  years.cancel();
  t.same(fired, []);
});

test("wall and monotonic time", (t) => {
  const clock = new SystemClock();
  t.ok(Math.abs(clock.now() - Date.now()) < 1000);
  const first = clock.monotonicMs();
  t.ok(clock.monotonicMs() >= first);
  t.end();
});

test("chance is even, in range, and of the asked length", (t) => {
  const random = new SystemRandom();
  const counts = new Array<number>(10).fill(0);
  let sum = 0;
  for (let i = 0; i < 20_000; i++) {
    const draw = random.next();
    if (draw < 0 || draw >= 1) t.fail(String(draw));
    sum += draw;
    const place = random.integer(10);
    counts[place] = (counts[place] ?? 0) + 1;
  }
  t.ok(Math.abs(sum / 20_000 - 0.5) < 0.02, String(sum / 20_000));
  t.ok(
    counts.every((count) => count > 1700 && count < 2300),
    String(counts),
  );
  t.equal(random.integer(1), 0);
  t.throws(() => random.integer(0));
  t.equal(random.bytes(33).length, 33);
  t.notSame(random.bytes(16), random.bytes(16));
  t.end();
});

test("a wall clock that is set back is followed at half speed, and one that is set forward at once", async (t) => {
  let wall = 1_000_000;
  let monotonic = 0;
  const pass = (ms: number): void => {
    wall += ms;
    monotonic += ms;
  };
  const clock = new SystemClock(
    () => wall,
    () => monotonic,
  );
  pass(500);
  t.equal(clock.now(), 1_000_500);
  wall -= 10_000;
  t.equal(clock.now(), 1_000_500, "never back");
  pass(1_000);
  t.equal(clock.now(), 1_001_000, "half of the second that passed");
  for (let i = 0; i < 30; i++) {
    pass(1_000);
    clock.now();
  }
  t.equal(clock.now(), wall, "caught up");
  wall += 3_600_000;
  t.equal(clock.now(), wall);
});
