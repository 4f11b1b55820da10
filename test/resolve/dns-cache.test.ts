// What is kept of DNS, and for how long.

import { test } from "tap";
import { hourMs, minuteMs, secondMs } from "../../src/core/time.ts";
import { cachedResolver, LookupCache, recordsMax } from "../../src/resolve/dns-cache.ts";
import { SimClock } from "../support/sim-clock.ts";
import { ZoneResolver } from "../support/zone-resolver.ts";

test("answers are kept until their time, negative ones and failures too", async (t) => {
  const clock = new SimClock();
  const zone = new ZoneResolver(clock, {
    "x.example": { a: ["8.8.4.1"], ttlMs: minuteMs },
    "dead.example": { a: "timeout" },
  });
  const resolver = cachedResolver(zone, clock);
  const ask = () => Promise.all([resolver.a("x.example"), resolver.a("gone.example"), resolver.a("dead.example")]);
  await ask();
  await ask();
  t.equal(zone.queries.length, 3);
  await clock.advance(3 * secondMs);
  await ask();
  t.same(zone.queries.slice(3), ["A dead.example"]);
  await clock.advance(minuteMs - 3 * secondMs);
  await ask();
  t.same(zone.queries.slice(4).sort(), ["A dead.example", "A x.example"]);
});

test("types of one name are kept apart", async (t) => {
  const clock = new SimClock();
  const zone = new ZoneResolver(clock, {
    "x.example": { a: ["8.8.4.1"], aaaa: ["2a00::1"], txt: ["v=x"], mx: [[1, "y"]] },
  });
  const resolver = cachedResolver(zone, clock);
  for (let i = 0; i < 2; i++) {
    t.match(await resolver.a("x.example"), { records: ["8.8.4.1"] });
    t.match(await resolver.aaaa("x.example"), { records: ["2a00::1"] });
    t.match(await resolver.txt("x.example"), { records: ["v=x"] });
    t.match(await resolver.mx("x.example"), { records: [{ preference: 1, exchange: "y" }] });
  }
  t.equal(zone.queries.length, 4);
});

test("a wall clock that is set back does not keep an answer for ever", async (t) => {
  const clock = new SimClock();
  const zone = new ZoneResolver(clock, { "x.example": { a: ["8.8.4.1"], ttlMs: minuteMs } });
  const resolver = cachedResolver(zone, clock);
  await resolver.a("x.example");
  clock.setWall(clock.now() - 1000 * hourMs);
  await clock.advance(minuteMs);
  await resolver.a("x.example");
  t.equal(zone.queries.length, 2);
});

test("of too many records those with the lowest preference are kept", async (t) => {
  const clock = new SimClock();
  const mx = Array.from({ length: 1000 }, (_, i) => [1000 - i, `mx${i}.example`] as const);
  const resolver = cachedResolver(new ZoneResolver(clock, { "x.example": { mx } }), clock);
  const answer = await resolver.mx("x.example");
  const records = answer.kind === "found" ? answer.records : [];
  t.equal(records.length, recordsMax);
  t.same(records[0], { preference: 1, exchange: "mx999.example" });
});

test("a full cache forgets what was used longest ago", async (t) => {
  const clock = new SimClock();
  const cache = new LookupCache<string>(clock, 2);
  const looked: string[] = [];
  const get = (key: string) =>
    cache.get(key, async () => {
      looked.push(key);
      return { value: key, until: clock.now() + minuteMs };
    });
  await get("a");
  await get("b");
  await get("a");
  await get("c");
  t.equal(cache.size, 2);
  await get("a");
  await get("b");
  t.same(looked, ["a", "b", "c", "b"]);
});

test("a lookup that throws is kept by nobody and asked for again", async (t) => {
  const clock = new SimClock();
  const cache = new LookupCache<string>(clock, 2);
  await t.rejects(cache.get("a", () => Promise.reject(new Error("bug"))));
  t.equal(await cache.get("a", async () => ({ value: "well", until: clock.now() + 1 })), "well");
});
