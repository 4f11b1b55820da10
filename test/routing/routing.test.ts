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

test("a pick looks at the members that are open, and at no others", (t) => {
  const pick = new WeightedPick(Array.from({ length: 256 }, (_, item) => ({ item, weight: (item % 4) + 1 })));
  let looks = 0;
  const open = new Proxy([7, 200, 3], {
    get: (places, key) => {
      if (typeof key === "string" && /^\d+$/.test(key)) looks++;
      return Reflect.get(places, key) as unknown;
    },
  });
  const picks = Array.from({ length: 900 }, () => pick.nextAt(open));
  t.equal(looks, 3 * 900);
  t.same(
    [7, 200, 3].map((item) => picks.filter((picked) => picked === item).length),
    [400, 100, 400],
    "and the shares among them are by their weights",
  );
  t.end();
});

const onePool = (weights: readonly number[]): Config =>
  ({
    pools: new Map([["all", { name: "all", members: weights.map((weight, i) => ({ source: `s${i}`, weight })) }]]),
  }) as unknown as Config;

test("sites share the turns of a pool, so that its shares hold over the mail to all of them", (t) => {
  const weights = Array.from({ length: 256 }, (_, i) => (i % 4) + 1);
  const router = new PoolRouter(onePool(weights));
  const sites = Array.from({ length: 10 }, () => router.open("all"));
  const counts = new Map<string, number>();
  for (let turn = 0; turn < 640; turn++) {
    const source = sites[(turn * 7) % 10]?.next() as string;
    counts.set(source, (counts.get(source) ?? 0) + 1);
  }
  t.same(
    weights.map((_, i) => counts.get(`s${i}`)),
    weights,
  );
  t.end();
});

test("a member is closed at one site and open at another, and opens again", (t) => {
  const router = new PoolRouter(onePool([1, 1, 2]));
  const [one, other] = [router.open("all"), router.open("all")];
  one.set("s2", true);
  one.set("nobody", false);
  t.equal(one.count, 3, "to open what is open, or to close what is no member, changes nothing");
  one.set("s0", false);
  one.set("s0", false);
  t.equal(one.count, 2);
  t.equal(other.count, 3);
  t.notOk(Array.from({ length: 12 }, () => one.next()).includes("s0"));
  t.equal(Array.from({ length: 12 }, () => other.next()).filter((source) => source === "s0").length, 3);
  one.set("s1", false);
  one.set("s2", false);
  t.equal(one.count, 0);
  t.equal(one.next(), undefined);
  one.set("s0", true);
  one.set("s0", true);
  t.same([one.count, one.next(), one.next()], [1, "s0", "s0"]);
  t.end();
});

test("each pool has its own turns", (t) => {
  const member = (source: string) => ({ source, weight: 1 });
  const pools = new Map([
    ["one", { name: "one", members: [member("a1"), member("a2")] }],
    ["two", { name: "two", members: [member("a2"), member("a1")] }],
  ]);
  const router = new PoolRouter({ pools } as unknown as Config);
  const [one, two] = [router.open("one"), router.open("two")];
  t.same(
    [one, two, one, two].map((members) => members.next()),
    ["a1", "a2", "a2", "a1"],
  );
  t.throws(() => router.open("three"), /in the config/);
  t.end();
});
