// The governors of one lane in several shards: what they admit counts together, and nobody is left out.

import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { test } from "tap";
import { hourMs, type Millis, secondMs } from "../../src/core/time.ts";
import { LaneGovernor, type LaneLimits, LaneTable, newLaneMemory } from "../../src/shaping/shaping.ts";
import type { StressData } from "./lane-stress-worker.ts";

const name = { source: "a1", site: "mx.big" };
const unlimited: LaneLimits = { connectionsMax: 2, rate: undefined, connectionRate: undefined };

/** One governor of the lane for each shard. `changes` counts what each of them was told. */
function governorsOf(shards: number, limits: Partial<LaneLimits>, lanesMax = 100) {
  const memory = newLaneMemory(shards, 5, lanesMax);
  const changes = new Array<number>(shards).fill(0);
  const governors = Array.from({ length: shards }, (_, shard) => {
    const told = (): void => {
      changes[shard] = (changes[shard] ?? 0) + 1;
    };
    return new LaneGovernor(new LaneTable(memory, shard, shards), name, { ...unlimited, ...limits }, 1, told);
  });
  return { memory, changes, governors: governors as [LaneGovernor, LaneGovernor, ...LaneGovernor[]] };
}

const nextTurn = () => new Promise<void>((resolve) => setTimeout(resolve, 5));

/** Word from another shard comes by way of the system, in its own time: it is waited for, for at most two seconds. */
async function soon(holds: () => boolean): Promise<boolean> {
  for (let turns = 0; turns < 400 && !holds(); turns++) await nextTurn();
  return holds();
}

test("over any span the shards together admit no more messages than the rate and a burst", (t) => {
  const rate = fc.record({
    count: fc.integer({ min: 1, max: 200 }),
    perMs: fc.constantFrom(secondMs, 10 * secondMs, hourMs),
  });
  const asks = fc.array(fc.tuple(fc.integer({ min: 0, max: 3_000 }), fc.nat(2)), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(rate, asks, (limit, steps) => {
      const { governors } = governorsOf(3, { rate: limit });
      const admitted: number[] = [];
      let now = 1_000;
      for (const [step, shard] of steps) {
        now += step;
        while (governors[shard]?.admitMessage(now).kind === "go") admitted.push(now);
      }
      const burst = Math.max(1, Math.floor((100 * limit.count) / limit.perMs));
      for (let from = 0; from < admitted.length; from++) {
        for (let to = from; to < admitted.length; to++) {
          const most = (((admitted[to] as number) - (admitted[from] as number)) * limit.count) / limit.perMs + burst;
          if (to - from + 1 > most + 1e-6) throw new Error(`${to - from + 1} where ${most} are allowed`);
        }
      }
    }),
    { numRuns: 60, seed: 3 },
  );
  t.pass();
  t.end();
});

test("shards that both use up a rate have it by halves, though one always asks first", (t) => {
  const { governors } = governorsOf(2, { rate: { count: 10, perMs: secondMs } });
  const counts = [0, 0];
  for (let now: Millis = 1_000; now < 61_000; now += 1) {
    for (const [shard, governor] of governors.entries()) {
      if (governor.admitMessage(now).kind === "go") counts[shard] = (counts[shard] ?? 0) + 1;
    }
  }
  const [first = 0, second = 0] = counts;
  t.ok(first + second >= 599 && first + second <= 601, `${first} and ${second}`);
  t.ok(Math.abs(first - second) <= 2, `${first} and ${second}`);
  t.end();
});

test("a shard alone loses nothing of a rate that another one has given up", (t) => {
  const { governors } = governorsOf(2, { rate: { count: 10, perMs: secondMs } });
  const [one, other] = governors;
  t.equal(one.admitMessage(1_000).kind, "go");
  t.equal(other.admitMessage(1_001).kind, "wait");
  let count = 0;
  for (let now: Millis = 1_001; now < 11_001; now++) if (one.admitMessage(now).kind === "go") count++;
  t.ok(count >= 99 && count <= 100, `${count} of 100`);
  t.end();
});

test("a new rate is taken up once, not once by each shard", (t) => {
  const { governors } = governorsOf(2, { rate: { count: 1, perMs: hourMs } });
  const [one, other] = governors;
  t.equal(one.admitMessage(1_000).kind, "go");
  const limits = { ...unlimited, rate: { count: 10, perMs: secondMs } };
  one.setLimits(limits, 1_000);
  other.setLimits(limits, 1_000);
  t.same(one.tokens(1_000).messages, 0);
  t.equal(other.admitMessage(1_099).kind, "wait");
  t.equal(other.admitMessage(1_100).kind, "go");
  t.end();
});

test("new connections keep to one rate in all shards", (t) => {
  const { governors } = governorsOf(2, { connectionsMax: 100, connectionRate: { count: 1, perMs: secondMs } });
  const [one, other] = governors;
  t.equal(one.admitConnection(1_000).kind, "go");
  t.same(other.admitConnection(1_000), { kind: "wait", untilMs: 2_000 });
  t.same(one.admitConnection(1_500), { kind: "wait", untilMs: 2_000 });
  t.same(one.admitConnection(2_000), { kind: "wait", untilMs: 3_000 }, "it has one, and the other has none yet");
  t.equal(other.admitConnection(2_001).kind, "go");
  t.equal(one.admitConnection(3_001).kind, "go");
  t.end();
});

test("a shard that finds all connections taken is told when one is free, and has it first", async (t) => {
  const { governors, changes } = governorsOf(2, {});
  const [one, other] = governors;
  t.equal(one.admitConnection(10).kind, "go");
  t.equal(one.admitConnection(10).kind, "go");
  t.equal(one.admitConnection(10).kind, "full");
  t.notOk(one.isWanted, "who waits for more itself is not another shard");
  t.equal(other.admitConnection(20).kind, "full");
  t.ok(one.isWanted);
  t.ok(await soon(() => (changes[0] ?? 0) > 0), "the one that has them is told that somebody waits");
  const before = changes[1] ?? 0;
  one.closed(false, false);
  t.same(one.admitConnection(30), { kind: "wait", untilMs: 1_030 }, "it is the other's turn");
  t.ok(await soon(() => (changes[1] ?? 0) > before), "the other is told that it is its turn");
  t.equal(other.admitConnection(40).kind, "go");
  t.equal(other.admitConnection(40).kind, "full");
});

test("a turn that nobody takes is over after a second", (t) => {
  const { governors } = governorsOf(2, { connectionsMax: 1 });
  const [one, other] = governors;
  one.admitConnection(10);
  other.admitConnection(20);
  one.closed(false, false);
  t.equal(one.admitConnection(100).kind, "wait");
  t.equal(one.admitConnection(1_099).kind, "wait");
  t.equal(one.admitConnection(1_100).kind, "go");
  t.equal(other.admitConnection(1_200).kind, "full");
  t.end();
});

test("a shard that needs none any more keeps nobody waiting", (t) => {
  const { governors } = governorsOf(2, { connectionsMax: 1 });
  const [one, other] = governors;
  one.admitConnection(10);
  other.admitConnection(20);
  other.withdraw();
  t.notOk(one.isWanted);
  t.notOk(one.givesBack("busy", 5_000));
  one.closed(false, false);
  t.equal(one.admitConnection(100).kind, "go");
  t.end();
});

test("what has more gives back until the shards are even, one at a time for each that waits", (t) => {
  const { governors } = governorsOf(2, { connectionsMax: 5 });
  const [one, other] = governors;
  for (let i = 0; i < 5; i++) one.admitConnection(10);
  let has = 5;
  for (let now = 20; other.admitConnection(now).kind === "full" && one.givesBack("busy", now); now++) {
    t.notOk(one.givesBack("busy", now), "one is on its way back");
    one.closed(false, true);
    has--;
    t.equal(other.admitConnection(now).kind, "go");
  }
  t.equal(has, 3, "three and two: one more would only change sides");
  t.notOk(other.givesBack("idle", 100), "who has less keeps even what idles for a moment");
  t.equal(one.admitConnection(100).kind, "full");
  t.ok(other.givesBack("rested", 2_000), "but not what it has not used for long");
  t.end();
});

test("more shards than connections take turns", (t) => {
  const { governors } = governorsOf(3, { connectionsMax: 2 });
  const [one, two, three] = governors as [LaneGovernor, LaneGovernor, LaneGovernor];
  one.admitConnection(10);
  two.admitConnection(10);
  t.equal(three.admitConnection(20).kind, "full");
  t.ok(one.givesBack("busy", 30));
  t.notOk(two.givesBack("busy", 30), "one is enough for one that waits");
  one.closed(true, true);
  t.equal(one.admitConnection(40).kind, "wait");
  t.equal(three.admitConnection(50).kind, "go");
  t.equal(one.admitConnection(60).kind, "full");
  t.end();
});

test("a peer that takes fewer connections is believed by all shards for a time", (t) => {
  const { governors } = governorsOf(2, { connectionsMax: 10 });
  const [one, other] = governors;
  for (let i = 0; i < 3; i++) {
    one.admitConnection(10);
    one.established();
  }
  t.equal(other.establishedCount, 3);
  t.equal(other.admitConnection(20).kind, "go");
  other.setCeiling(60_000);
  other.closed(false, false);
  t.equal(other.admitConnection(30).kind, "full");
  t.ok(one.givesBack("busy", 40), "so the one that has them gives one back");
  one.closed(true, true);
  t.equal(other.admitConnection(50).kind, "go");
  t.equal(one.connectionsMax(50), 3);
  t.equal(one.connectionsMax(60_000), 10);
  t.end();
});

test("the last shard to leave a lane takes its state with it", (t) => {
  const { governors, memory } = governorsOf(2, { rate: { count: 1, perMs: hourMs } });
  const [one, other] = governors;
  one.admitMessage(1_000);
  one.close();
  t.equal(other.admitMessage(1_000).kind, "wait");
  other.close();
  const anew = new LaneGovernor(
    new LaneTable(memory, 1, 2),
    name,
    { ...unlimited, rate: { count: 1, perMs: hourMs } },
    1_000,
    () => {},
  );
  t.equal(anew.admitMessage(1_000).kind, "go");
  t.end();
});

test("places are used again, and a lane without one waits for it", (t) => {
  const memory = newLaneMemory(2, 5, 3);
  const table = new LaneTable(memory, 0, 2);
  const open = (site: string, now: Millis) =>
    new LaneGovernor(table, { source: "a1", site }, { ...unlimited, rate: { count: 1, perMs: hourMs } }, now, () => {});
  for (let round = 0; round < 50; round++) {
    const lanes = ["x", "y", "z"].map((site) => open(`${site}${round}`, 1_000));
    t.ok(lanes.every((lane) => lane.admitMessage(1_000).kind === "go"));
    for (const lane of lanes) lane.close();
  }
  const [first] = [open("x", 1_000), open("y", 1_000), open("z", 1_000)];
  const late = open("late", 1_000);
  t.ok(late.hasNoPlace);
  t.same(late.admitConnection(1_500), { kind: "wait", untilMs: 2_000 });
  t.equal(late.admitMessage(1_500).kind, "wait");
  first?.close();
  t.equal(late.admitConnection(1_999).kind, "wait");
  t.equal(late.admitConnection(2_000).kind, "go");
  t.notOk(late.hasNoPlace);
  t.end();
});

test("threads that all want one lane never have more than it allows", async (t) => {
  const shards = 4;
  const memory = newLaneMemory(shards, 5, 10);
  /** Connections open now, the most at a time, all that were opened, and all messages. */
  const tally = new Int32Array(new SharedArrayBuffer(16));
  const startedAt = performance.now();
  const data = { memory, tally, shards, connectionsMax: 3, ratePerSecond: 2_000, forMs: 1_200 };
  const file = fileURLToPath(new URL("./lane-stress-worker.ts", import.meta.url));
  const opened = await Promise.all(
    Array.from({ length: shards }, (_, shard) => {
      const workerData: StressData = { ...data, shard };
      const worker = new Worker(file, { workerData });
      return new Promise<number>((resolve, reject) => worker.once("message", resolve).once("error", reject));
    }),
  );
  const seconds = (performance.now() - startedAt) / secondMs;
  const [open, most, all = 0, messages = 0] = tally;
  t.equal(open, 0);
  t.equal(most, 3);
  t.ok(messages <= seconds * 2_000 + 200, `${messages} messages in ${seconds} s`);
  t.ok(messages >= 1_000, `${messages} messages`);
  t.ok(all > 100, `${all} connections`);
  t.ok(
    opened.every((count) => count > all / 20),
    `connections by shard: ${opened}`,
  );
});

test("a shard that waits at a peer's ceiling learns its end, is called when its turn comes, and told when it lost it", async (t) => {
  const { governors, changes } = governorsOf(2, { connectionsMax: 10, rate: { count: 1, perMs: secondMs } });
  const [one, other] = governors;
  t.equal(one.admitConnection(1).kind, "go");
  one.established();
  one.setCeiling(60_000);
  t.same(other.admitConnection(2), { kind: "full", untilMs: 60_000 }, "it can set a timer");
  await nextTurn();
  const before = changes[1] as number;
  // The ceiling is over. The first shard has used up its message rate, so that it does not wait itself.
  t.equal(one.admitMessage(60_500).kind, "go");
  t.equal(one.admitConnection(60_600).kind, "wait", "the other one goes first");
  t.ok(await soon(() => (changes[1] as number) > before), "it was called");
  const called = changes[1] as number;
  t.equal(one.admitMessage(61_500).kind, "go");
  t.equal(one.admitConnection(61_700).kind, "go", "it did not come");
  t.ok(await soon(() => (changes[1] as number) > called), "it was told, so that it asks again");
  t.equal(other.admitConnection(61_800).kind, "go");
  for (const governor of governors) governor.close();
});
