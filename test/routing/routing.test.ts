// Which source carries the next message: shares by weight, among those that may be used.

import fc from "fast-check";
import { test } from "tap";
import type { Config } from "../../src/config/config.ts";
import { PoolRouter, WeightedPick } from "../../src/routing/routing.ts";

const weights = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 6 });

test("over one round each member has exactly its share, and never falls behind by more than a turn", (t) => {
  fc.assert(
    fc.property(weights, (drawn) => {
      const pick = new WeightedPick(drawn.map((weight, item) => ({ item, weight })));
      const total = drawn.reduce((sum, weight) => sum + weight, 0);
      const counts = drawn.map(() => 0);
      for (let turn = 1; turn <= 3 * total; turn++) {
        const item = pick.next(() => true) as number;
        counts[item] = (counts[item] ?? 0) + 1;
        counts.forEach((count, i) => {
          const due = (turn * (drawn[i] as number)) / total;
          if (Math.abs(count - due) > drawn.length)
            throw new Error(`after ${turn} turns ${i} had ${count}, due ${due}`);
        });
      }
      return counts.every((count, i) => count === 3 * (drawn[i] as number));
    }),
    { numRuns: 200, seed: 2 },
  );
  t.pass();
  t.end();
});

test("a heavy member's turns are spread out", (t) => {
  const pick = new WeightedPick([
    { item: "a", weight: 5 },
    { item: "b", weight: 1 },
    { item: "c", weight: 1 },
  ]);
  t.equal(Array.from({ length: 7 }, () => pick.next(() => true)).join(""), "aabacaa");
  t.end();
});

test("only eligible members are picked, by their weights among themselves, and none gives none", (t) => {
  const pick = new WeightedPick([
    { item: "a", weight: 1 },
    { item: "b", weight: 2 },
    { item: "c", weight: 1 },
  ]);
  const picks = Array.from({ length: 30 }, () => pick.next((item) => item !== "a"));
  t.equal(picks.filter((item) => item === "b").length, 20);
  t.equal(picks.filter((item) => item === "c").length, 10);
  t.equal(
    pick.next(() => false),
    undefined,
  );
  t.equal(
    new WeightedPick<string>([]).next(() => true),
    undefined,
  );
  t.end();
});

test("a member that was out for long does not come back with all the turns it missed", (t) => {
  const pick = new WeightedPick([
    { item: "a", weight: 1 },
    { item: "b", weight: 1 },
  ]);
  for (let i = 0; i < 1_000; i++) pick.next((item) => item === "a");
  const picks = Array.from({ length: 10 }, () => pick.next(() => true));
  t.equal(picks.filter((item) => item === "b").length, 5);
  t.end();
});

test("each pool has its own turns", (t) => {
  const pools = new Map([
    [
      "one",
      {
        name: "one",
        members: [
          { source: "a1", weight: 1 },
          { source: "a2", weight: 1 },
        ],
      },
    ],
    [
      "two",
      {
        name: "two",
        members: [
          { source: "a2", weight: 1 },
          { source: "a1", weight: 1 },
        ],
      },
    ],
  ]);
  const router = new PoolRouter({ pools } as unknown as Config);
  t.same(
    ["one", "two", "one", "two"].map((pool) => router.pick(pool, () => true)),
    ["a1", "a2", "a2", "a1"],
  );
  t.throws(() => router.pick("three", () => true), /in the config/);
  t.end();
});
