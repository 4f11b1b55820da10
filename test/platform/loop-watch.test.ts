// How late the loop runs, as the shard tells it.

import { test } from "tap";
import { LoopWatch } from "../../src/platform/loop-watch.ts";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test("a loop that is held up for 60 ms has a delay of that, told again at each question, and many small ones", async (t) => {
  const delays: number[] = [];
  const watch = new LoopWatch((seconds) => delays.push(seconds));
  t.teardown(() => watch.close());
  await pause(100);
  block(60);
  await pause(50);
  const { worstSeconds } = watch;
  t.ok(worstSeconds >= 0.045, `the worst delay: ${worstSeconds}`);
  await pause(20);
  t.ok(watch.worstSeconds >= worstSeconds, "a question does not forget it");
  t.equal(Math.max(...delays), watch.worstSeconds);
  t.ok(delays.length >= 5, `${delays.length} looks`);
  t.ok(
    delays.every((delay) => delay >= 0),
    "no delay is negative",
  );
});

test("a closed watch looks no more", async (t) => {
  let looks = 0;
  const watch = new LoopWatch(() => looks++);
  watch.close();
  await pause(40);
  t.equal(looks, 0);
});
