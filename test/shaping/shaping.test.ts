// Governors and schedules: what may go now, and when it is tried again.

import fc from "fast-check";
import { test } from "tap";
import type { Rate, SiteLimits } from "../../src/config/config.ts";
import { hourMs, minuteMs, secondMs } from "../../src/core/time.ts";
import {
  LaneTable,
  limitsFor,
  newLaneMemory,
  nextDueAt,
  RateGovernor,
  suspensionMs,
} from "../../src/shaping/shaping.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const rate = fc.record({
  count: fc.integer({ min: 1, max: 5_000 }),
  perMs: fc.constantFrom(secondMs, 10 * secondMs, minuteMs, hourMs, 24 * hourMs),
});

function governorOf(limit: Rate, table = new LaneTable(newLaneMemory(1, 7, 300), 0, 1), site = "b"): RateGovernor {
  return new RateGovernor(table, table.take({ source: "a1", site }) ?? -1, "message", limit, 0);
}

/** A tenth of a second's worth may go at once, and at least one. */
const burstOf = ({ count, perMs }: { count: number; perMs: number }) => Math.max(1, Math.floor((100 * count) / perMs));

test("over any span a governor admits no more than its rate and a burst", (t) => {
  fc.assert(
    fc.property(
      rate,
      fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 300 }),
      (limit, steps) => {
        const governor = governorOf(limit);
        const admitted: number[] = [];
        let now = 1_000;
        for (const step of steps) {
          now += step;
          for (let i = 0; i < 20; i++) {
            const answer = governor.admit(now);
            if (answer.kind === "go") admitted.push(now);
            else {
              if (answer.untilMs <= now) throw new Error("a wait that is over already");
              break;
            }
          }
        }
        for (let from = 0; from < admitted.length; from++) {
          for (let to = from; to < admitted.length; to++) {
            const span = (admitted[to] as number) - (admitted[from] as number);
            const most = (span * limit.count) / limit.perMs + burstOf(limit);
            if (to - from + 1 > most + 1e-6) throw new Error(`${to - from + 1} in ${span} ms, at most ${most}`);
          }
        }
      },
    ),
    { numRuns: 60, seed: 11 },
  );
  t.pass();
  t.end();
});

test("whoever waits as told loses nothing of the rate", (t) => {
  for (const limit of [
    { count: 83, perMs: 10 * minuteMs },
    { count: 100, perMs: secondMs },
    { count: 5_000, perMs: 24 * hourMs },
  ]) {
    const governor = governorOf(limit);
    let now = 0;
    let count = 0;
    const end = 20 * limit.perMs;
    while (now < end && count < 3_000) {
      const answer = governor.admit(now);
      if (answer.kind === "go") count++;
      else now = answer.untilMs;
    }
    const due = Math.min(3_000, (now * limit.count) / limit.perMs);
    t.ok(count >= due - 1 && count <= due + burstOf(limit) + 1, `${count}, due are ${due}`);
  }
  t.end();
});

test("a raised rate holds at once, and a lowered one is not paid for twice", (t) => {
  const governor = governorOf({ count: 1, perMs: hourMs });
  t.equal(governor.admit(1_000).kind, "go");
  t.same(governor.admit(1_000), { kind: "wait", untilMs: 1_000 + hourMs });
  governor.setRate({ count: 10, perMs: secondMs }, 1_000);
  t.same(governor.admit(1_000), { kind: "wait", untilMs: 1_100 });
  t.equal(governor.admit(1_100).kind, "go");
  governor.setRate(undefined, 1_100);
  for (let i = 0; i < 100; i++) t.equal(governor.admit(1_100).kind, "go");
  t.equal(governor.tokens(1_100), Number.POSITIVE_INFINITY);
  t.end();
});

test("tokens tell what would be admitted now", (t) => {
  const governor = governorOf({ count: 100, perMs: secondMs });
  t.equal(governor.tokens(500), 10);
  for (let left = 10; left > 0; left--) {
    t.equal(governor.tokens(500), left);
    t.equal(governor.admit(500).kind, "go");
  }
  t.equal(governor.tokens(500), 0);
  t.equal(governor.admit(500).kind, "wait");
  t.notOk(governor.isRested(500));
  t.ok(governor.isRested(600));
  t.end();
});

test("a place that is given back starts afresh, and no lane's governor knows of another's", (t) => {
  const table = new LaneTable(newLaneMemory(1, 7, 300), 0, 1);
  const limit = { count: 1, perMs: hourMs };
  const governors = Array.from({ length: 200 }, (_, i) => governorOf(limit, table, `site${i}`));
  for (const governor of governors) governor.admit(1_000);
  t.ok(governors.every((governor) => governor.admit(1_000).kind === "wait"));
  const place = table.take({ source: "a1", site: "site3" }) as number;
  table.give(place);
  table.give(place);
  t.equal(governorOf(limit, table, "site3").admit(1_000).kind, "go");
  t.equal(governors[4]?.admit(1_000).kind, "wait");
  t.end();
});

test("retries follow the schedule, never sooner than asked, never after the end of the message", (t) => {
  fc.assert(
    fc.property(
      fc.record({
        now: fc.nat(100 * hourMs),
        attempts: fc.integer({ min: 1, max: 12 }),
        retryMs: fc.array(fc.integer({ min: 1, max: 6 * hourMs }), { minLength: 1, maxLength: 6 }),
        expiresAt: fc.nat(120 * hourMs),
        waitMinMs: fc.constantFrom(0, 15 * minuteMs),
      }),
      fc.nat(1_000),
      (input, seed) => {
        const due = nextDueAt(input, new SeededRandom(seed));
        const step = input.retryMs[Math.min(input.attempts, input.retryMs.length) - 1] as number;
        const wait = Math.max(step, input.waitMinMs);
        if (due === undefined) {
          if (input.now + wait * 1.1 + 1 < input.expiresAt) throw new Error("there was time for another attempt");
          return;
        }
        if (due >= input.expiresAt) throw new Error("after the end");
        if (due - input.now < input.waitMinMs) throw new Error("sooner than asked");
        if (due > input.now + Math.round(wait * 1.1)) throw new Error("later than the schedule");
        const isLast = due === input.expiresAt - secondMs;
        if (due < input.now + wait && !isLast) throw new Error("sooner than the schedule");
      },
    ),
    { numRuns: 2_000, seed: 5 },
  );
  t.pass();
  t.end();
});

test("retries of mail that was deferred together do not come back as one", (t) => {
  const random = new SeededRandom(1);
  const input = { now: 0, attempts: 1, retryMs: [10 * minuteMs], expiresAt: 96 * hourMs, waitMinMs: 0 };
  const dues = Array.from({ length: 100 }, () => nextDueAt(input, random) ?? 0);
  t.ok(new Set(dues).size > 90);
  t.ok(Math.max(...dues) - Math.min(...dues) > 45 * secondMs);
  t.end();
});

test("a rest doubles with each failure in a row, up to ten minutes", (t) => {
  t.same([1, 2, 3, 7, 8, 50, 5_000].map(suspensionMs), [5_000, 10_000, 20_000, 320_000, 600_000, 600_000, 600_000]);
  t.end();
});

test("limits are those of the named site, else the defaults, and say where they come from", (t) => {
  const defaults = { connectionsMax: 10 } as SiteLimits;
  const google = { ...defaults, name: "google", connectionsMax: 20, exchangers: [], where: "sites.yaml:3" };
  const sites = { defaults, named: [google] };
  t.match(limitsFor("google", sites), { connectionsMax: 20, where: "sites.yaml:3" });
  t.match(limitsFor("mx.b.example", sites), { connectionsMax: 10, where: "sites.defaults" });
  t.end();
});
