// The queue's small tools: the heap, the wake-up list, and the settlement of an attempt.

import fc from "fast-check";
import { test } from "tap";
import type { StreamConfig } from "../../src/config/config.ts";
import type { Message, QueueEntry, RecipientState } from "../../src/core/message.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import { hourMs, minuteMs, secondMs } from "../../src/core/time.ts";
import { DueQueue } from "../../src/queue/due-queue.ts";
import { Heap } from "../../src/queue/heap.ts";
import { endEntry, pendingIndexes, settle } from "../../src/queue/settle.ts";
import type { Waiting } from "../../src/queue/waiting.ts";
import { WakeList } from "../../src/queue/wake-list.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock, simStart } from "../support/sim-clock.ts";

test("a heap gives back what was put in, smallest first, with pushes and pops mixed", (t) => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer({ min: 0, max: 50 }), { nil: undefined })), (steps) => {
      const heap = new Heap<number>((a, b) => a < b);
      const model: number[] = [];
      for (const item of steps) {
        if (item === undefined) {
          model.sort((a, b) => a - b);
          if (heap.peek() !== model[0]) return false;
          if (heap.pop() !== model.shift()) return false;
        } else {
          heap.push(item);
          model.push(item);
        }
        if (heap.size !== model.length) return false;
      }
      return (
        heap
          .drain()
          .sort((a, b) => a - b)
          .join() === model.sort((a, b) => a - b).join() && heap.size === 0
      );
    }),
  );
  t.pass();
  t.end();
});

function waiting(name: string): Waiting {
  const queue = { stream: "news", domain: name };
  return {
    name: queue,
    due: new DueQueue(queue, () => [], false),
    phase: { kind: "idle" },
    plan: undefined,
    route: undefined,
    wakeAt: undefined,
    wakeIndex: 0,
    entries: 0,
    recipients: 0,
    lastError: undefined,
  };
}

test("the wake-up list wakes each queue once, at its last instant, with one timer for all", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(9), fc.option(fc.nat(100_000), { nil: undefined })), { maxLength: 60 }),
      async (sets) => {
        const clock = new SimClock();
        const woken: { readonly domain: string; readonly at: number }[] = [];
        const list = new WakeList(clock, ({ name }) => woken.push({ domain: name.domain, at: clock.now() - simStart }));
        const queues = Array.from({ length: 10 }, (_, i) => waiting(`d${i}.example`));
        const meant = new Map<string, number>();
        for (const [which, at] of sets) {
          const queue = queues[which] as Waiting;
          list.set(queue, at === undefined ? undefined : simStart + at);
          if (at === undefined) meant.delete(queue.name.domain);
          else meant.set(queue.name.domain, at);
          if (clock.pendingTimers > 1) throw new Error(`${clock.pendingTimers} timers`);
        }
        await clock.advance(100_001);
        const order = (a: { at: number; domain: string }, b: { at: number; domain: string }) =>
          a.at - b.at || (a.domain < b.domain ? -1 : 1);
        const expected = [...meant].map(([domain, at]) => ({ domain, at })).sort(order);
        const found = woken.toSorted(order);
        if (JSON.stringify(found) !== JSON.stringify(expected))
          throw new Error(`${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
        if (woken.some((one, i) => i > 0 && one.at < (woken[i - 1]?.at ?? 0))) throw new Error("out of order");
        if (clock.pendingTimers > 1) throw new Error("timers are left");
      },
    ),
    { numRuns: 60, seed: 7 },
  );
});

test("the wake-up list notices a wall clock that was set, forward and back", async (t) => {
  const clock = new SimClock();
  let woken = 0;
  const list = new WakeList(clock, () => woken++);
  const queue = waiting("b.example");
  list.set(queue, simStart + hourMs);
  clock.setWall(simStart + 2 * hourMs);
  await clock.advance(31 * secondMs);
  t.equal(woken, 1);
  list.set(queue, clock.now() + minuteMs);
  clock.setWall(simStart);
  await clock.advance(2 * minuteMs);
  t.equal(woken, 1, "not before its instant by the clock that counts now");
});

test("many queues due at one instant are woken in steps, and all of them", async (t) => {
  const clock = new SimClock();
  let woken = 0;
  const list = new WakeList(clock, () => woken++);
  for (let i = 0; i < 1_000; i++) list.set(waiting(`d${i}.example`), simStart + 10);
  await clock.advance(20);
  t.equal(woken, 1_000);
  list.set(waiting("b.example"), simStart + 30);
  list.stop();
  await clock.advance(minuteMs);
  t.equal(woken, 1_000, "none after stop");
});

// ---- settle

const at = simStart;
const network = { kind: "network", stage: "final-dot", message: "reset" } as const;
const outcomes: Readonly<Record<"delivered" | "transient" | "permanent" | "unknown", Outcome>> = {
  delivered: { kind: "delivered", at, reply: { code: 250, enhanced: undefined, text: "ok" } },
  transient: { kind: "transient", at, fault: network },
  permanent: { kind: "permanent", at, fault: network },
  unknown: { kind: "unknown", at, fault: network },
};
const kinds = Object.keys(outcomes) as (keyof typeof outcomes)[];
const states: readonly RecipientState[] = [
  { kind: "pending", last: undefined },
  { kind: "delivered", outcome: outcomes.delivered },
  { kind: "failed", outcome: outcomes.permanent },
  { kind: "cancelled", by: "op", at },
];

const stream: StreamConfig = {
  name: "news",
  pool: "all",
  class: "batch",
  share: 1,
  deadlineMs: undefined,
  expireMs: 24 * hourMs,
  retryMs: [minuteMs, 10 * minuteMs],
  delayDsnMs: 4 * hourMs,
};

function entryOf(recipients: readonly RecipientState[], parts: Partial<QueueEntry> = {}): QueueEntry {
  return {
    queueId: "0".repeat(16),
    entryNo: 0,
    stream: "news",
    domain: "b.example",
    attempts: 0,
    dueAt: simStart,
    delayNotifiedAt: undefined,
    recipients: recipients.map((state, i) => ({
      forwardPath: `u${i}@b.example`,
      orcpt: undefined,
      notify: undefined,
      state,
    })),
    ...parts,
  };
}

const messageOf = (receivedAt: number) => ({ receivedAt, expiresAt: receivedAt + stream.expireMs }) as Message;

test("settling: each pending recipient gets its own state, and final ones are never touched", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...states), { minLength: 1, maxLength: 8 }),
      fc.array(fc.constantFrom(...kinds), { minLength: 8, maxLength: 8 }),
      fc.nat(24 * hourMs),
      fc.nat(5),
      fc.constantFrom("retry" as const, "bounce" as const, "assume-delivered" as const),
      (before, drawn, ageMs, attempts, unknownOutcome) => {
        const entry = entryOf(before, { attempts });
        const pending = pendingIndexes(entry);
        const now = simStart + ageMs;
        const policy = { unknownOutcome, unknownRetryMinMs: 15 * minuteMs };
        const settled = settle(
          {
            message: messageOf(simStart),
            entry,
            pending,
            outcomes: pending.map((_, i) => outcomes[drawn[i] ?? "transient"]),
            now,
            stream,
            policy,
          },
          new SeededRandom(ageMs),
        );
        const after = settled.entry.recipients.map(({ state }) => state.kind);
        const another = after.includes("pending");
        before.forEach((state, i) => {
          const position = pending.indexOf(i);
          if (position === -1) {
            if (settled.entry.recipients[i]?.state !== state) throw new Error("a final state was changed");
            return;
          }
          const kind = drawn[position] ?? "transient";
          const allowed = {
            delivered: ["delivered"],
            permanent: ["failed"],
            transient: ["pending", "expired"],
            unknown:
              unknownOutcome === "retry"
                ? ["pending", "expired"]
                : unknownOutcome === "bounce"
                  ? ["failed"]
                  : ["delivered"],
          }[kind];
          if (!allowed.includes(after[i] ?? "")) throw new Error(`${kind} became ${after[i]}`);
        });
        if (another && after.includes("expired")) throw new Error("one waits and one expired");
        if (settled.done === another) throw new Error("done is wrong");
        if (another) {
          const isUnknown = unknownOutcome === "retry" && pending.some((_, i) => drawn[i] === "unknown");
          const least = isUnknown ? 15 * minuteMs : minuteMs;
          if (settled.entry.dueAt < now + least) throw new Error("too soon");
          if (settled.entry.dueAt >= simStart + stream.expireMs) throw new Error("after its end");
        }
        if (settled.entry.attempts !== attempts + 1) throw new Error("attempts");
        const finals = pending.filter((i) => after[i] !== "pending");
        if (finals.join() !== settled.finished.join()) throw new Error("finished");
        const waits = pending.filter((i) => after[i] === "pending");
        const told = ageMs >= 4 * hourMs ? waits : [];
        if (told.join() !== settled.delayed.join()) throw new Error("delayed");
        if ((settled.entry.delayNotifiedAt !== undefined) !== told.length > 0) throw new Error("delayNotifiedAt");
      },
    ),
    { seed: 3 },
  );
  t.pass();
  t.end();
});

test("settling: a delay is told once", (t) => {
  const entry = entryOf([{ kind: "pending", last: undefined }], { delayNotifiedAt: simStart });
  const policy = { unknownOutcome: "retry" as const, unknownRetryMinMs: 0 };
  const message = messageOf(simStart);
  const input = {
    message,
    entry,
    pending: [0],
    outcomes: [outcomes.transient],
    now: simStart + 6 * hourMs,
    stream,
    policy,
  };
  const settled = settle(input, new SeededRandom(1));
  t.same(settled.delayed, []);
  t.equal(settled.entry.delayNotifiedAt, simStart);
  t.throws(() => settle({ ...input, outcomes: [] }, new SeededRandom(1)), /one outcome/);
  t.throws(
    () => settle({ ...input, entry: entryOf([{ kind: "cancelled", by: "op", at }]) }, new SeededRandom(1)),
    /not attempted again/,
  );
  t.end();
});

test("ending an entry ends what is pending, with the last outcome known, and nothing else", (t) => {
  const entry = entryOf([{ kind: "pending", last: outcomes.transient }, ...states.slice(1)]);
  const { entry: ended, finished } = endEntry(entry, (last) => ({ kind: "expired", last }));
  t.same(finished, [0]);
  t.same(
    ended.recipients.map(({ state }) => state),
    [{ kind: "expired", last: outcomes.transient }, ...states.slice(1)],
  );
  t.end();
});
