// Queue ids: unique, rising, and told from other texts.

import { test } from "tap";
import { encodeBase32, isQueueId, QueueIds, shardOfQueueId, shardsMax } from "../../src/core/ids.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock, simStart } from "../support/sim-clock.ts";

test("ids are unique and rise with time, also while the wall clock is set back", async (t) => {
  const clock = new SimClock();
  const ids = new QueueIds(clock, new SeededRandom(1), 5);
  const made: string[] = [];
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < 100; i++) made.push(ids.next());
    await clock.advance(1);
    if (round === 25) clock.setWall(simStart - 3_600_000);
  }
  t.equal(new Set(made).size, made.length);
  t.ok(made.every(isQueueId));
  const times = made.map((id) => id.slice(0, 9));
  t.same(times, times.toSorted());
  t.ok(made.every((id) => shardOfQueueId(id) === 5));
});

test("shards and restarts do not make the same ids", (t) => {
  const clock = new SimClock();
  const made = new Set<string>();
  for (let shard = 0; shard < 40; shard++) {
    const ids = new QueueIds(clock, new SeededRandom(1), shard);
    for (let i = 0; i < 100; i++) made.add(ids.next());
  }
  const again = new QueueIds(clock, new SeededRandom(2), 0);
  for (let i = 0; i < 100; i++) made.add(again.next());
  t.equal(made.size, 4_100);
  t.equal(shardOfQueueId(new QueueIds(clock, new SeededRandom(1), shardsMax - 1).next()), shardsMax - 1);
  t.end();
});

test("the counter goes round without leaving its five characters", (t) => {
  const random = {
    ...new SeededRandom(1),
    next: () => 0,
    integer: (below: number) => below - 2,
    bytes: () => Buffer.alloc(0),
  };
  const ids = new QueueIds(new SimClock(), random, 0);
  const made = [ids.next(), ids.next(), ids.next()];
  t.ok(made.every(isQueueId));
  t.same(
    made.map((id) => id.slice(11)),
    ["zzzzz", "00000", "00001"],
  );
  t.end();
});

test("only texts of the right shape are queue ids", (t) => {
  t.ok(isQueueId("0123456789abcdef"));
  for (const text of [
    "",
    "0123456789abcde",
    "0123456789abcdefg",
    "0123456789ABCDEF",
    "0123456789abcdei",
    "../../etc/passwd",
    "0123456789abcde\n",
    "ilou000000000000",
  ]) {
    t.notOk(isQueueId(text), JSON.stringify(text));
  }
  t.equal(encodeBase32(0, 3), "000");
  t.equal(encodeBase32(32 ** 3 - 1, 3), "zzz");
  t.end();
});
