// The window over a queue against a simple model: a sorted list of everything.

import fc from "fast-check";
import { test } from "tap";
import { heldInstant, type QueuePosition } from "../../src/core/message.ts";
import { DueQueue, isBefore, windowMax } from "../../src/queue/due-queue.ts";

const name = { stream: "news", domain: "b.example" };

/** A disk of places, kept in order. */
class Disk {
  places: QueuePosition[] = [];

  put(place: QueuePosition): void {
    this.places.splice(this.#indexOf(place), 0, place);
  }

  drop(place: QueuePosition): void {
    this.places.splice(this.#indexOf(place), 1);
  }

  scan(after: QueuePosition | undefined, limit: number): QueuePosition[] {
    let start = after === undefined ? 0 : this.#indexOf(after);
    const first = this.places[start];
    if (after !== undefined && first !== undefined && !isBefore(after, first)) start++;
    return this.places.slice(start, start + limit);
  }

  /** The first that is not before `place`. */
  #indexOf(place: QueuePosition): number {
    let low = 0;
    let high = this.places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(this.places[middle] as QueuePosition, place)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const place = (dueAt: number, number: number): QueuePosition => ({
  dueAt,
  queueId: String(number).padStart(16, "0"),
  entryNo: number % 3,
});

type Step =
  | { readonly kind: "insert"; readonly dueIn: number; readonly count: number }
  | { readonly kind: "take"; readonly count: number }
  | { readonly kind: "finish" | "putBack" | "retry"; readonly which: number; readonly dueIn: number }
  | { readonly kind: "act"; readonly which: number; readonly to: "same" | "now" | "held"; readonly dueIn: number }
  | { readonly kind: "tick"; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("insert" as const),
      dueIn: fc.nat(50),
      count: fc.integer({ min: 1, max: 120 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("take" as const), count: fc.integer({ min: 1, max: 90 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("finish" as const, "putBack" as const, "retry" as const),
      which: fc.nat(1_000),
      dueIn: fc.nat(60),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("act" as const),
      which: fc.nat(1_000),
      to: fc.constantFrom("same" as const, "now" as const, "held" as const),
      dueIn: fc.nat(60),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("tick" as const), ms: fc.nat(40) }) },
);

test("what is taken is always the first that is due, whatever was inserted, put back, moved or held before", (t) => {
  fc.assert(
    fc.property(fc.nat(300), fc.boolean(), fc.array(step, { maxLength: 60 }), (atStart, isLateFirst, steps) => {
      const disk = new Disk();
      let number = 0;
      let now = 100;
      for (let i = 0; i < atStart; i++) disk.put(place(isLateFirst ? 400 - i : i, number++));
      const queue = new DueQueue(name, (_, after, limit) => disk.scan(after, limit), atStart > 0);
      const claimed: QueuePosition[] = [];
      const isClaimed = (one: QueuePosition) => claimed.some((other) => other.queueId === one.queueId);
      const firstWaiting = () => disk.places.find((one) => one.dueAt !== heldInstant && !isClaimed(one));
      const take = () => {
        const expected = firstWaiting();
        const head = queue.headDueAt();
        if (head !== expected?.dueAt) throw new Error(`head ${head}, not ${expected?.dueAt}`);
        const taken = queue.takeDue(now);
        const due = expected !== undefined && expected.dueAt <= now ? expected : undefined;
        if (taken?.queueId !== due?.queueId || taken?.entryNo !== due?.entryNo)
          throw new Error(`took ${taken?.queueId} at ${taken?.dueAt}, not ${due?.queueId} at ${due?.dueAt}`);
        if (taken !== undefined) claimed.push(taken);
        return taken !== undefined;
      };
      const move = (from: QueuePosition, dueAt: number) => {
        disk.drop(from);
        disk.put({ ...from, dueAt });
        queue.release(from.queueId, from.entryNo);
        queue.insert({ ...from, dueAt });
      };
      const apply = (one: Step) => {
        switch (one.kind) {
          case "insert":
            for (let i = 0; i < one.count; i++) {
              const inserted = place(now - 25 + one.dueIn, number++);
              disk.put(inserted);
              queue.insert(inserted);
            }
            return;
          case "take":
            for (let i = 0; i < one.count && take(); i++);
            return;
          case "finish":
          case "putBack":
          case "retry": {
            const [held] = claimed.splice(one.which % Math.max(1, claimed.length), 1);
            if (held === undefined) return;
            if (one.kind === "putBack") queue.putBack(held);
            else if (one.kind === "retry") move(held, now + one.dueIn);
            else {
              disk.drop(held);
              queue.release(held.queueId, held.entryNo);
            }
            return;
          }
          case "act": {
            const target = disk.places[one.which % Math.max(1, disk.places.length)];
            if (target === undefined) return;
            const got = queue.claim(target.queueId, target.entryNo);
            if (got === isClaimed(target)) throw new Error("a claim is for one only");
            if (!got) return;
            if (one.to !== "same") move(target, one.to === "now" ? now : heldInstant);
            else if (target.dueAt === heldInstant) queue.release(target.queueId, target.entryNo);
            else queue.putBack(target);
            return;
          }
          case "tick":
            now += one.ms;
            return;
        }
      };
      for (const one of steps) {
        apply(one);
        if (queue.claimed !== claimed.length) throw new Error(`${queue.claimed} claimed, not ${claimed.length}`);
      }
      now = heldInstant - 1;
      while (take()) {
        const taken = claimed.pop();
        if (taken === undefined) break;
        disk.drop(taken);
        queue.release(taken.queueId, taken.entryNo);
      }
      if (firstWaiting() !== undefined) throw new Error("a place was never taken");
      if (claimed.length === 0 && !queue.isEmpty) throw new Error("not empty though nothing waits");
    }),
    { numRuns: 250, seed: 20_260_101 },
  );
  t.pass();
  t.end();
});

test("the window stays bounded however much comes in or is looked at", (t) => {
  const disk = new Disk();
  let scanned = 0;
  const queue = new DueQueue(
    name,
    (_, after, limit) => {
      scanned++;
      return disk.scan(after, limit);
    },
    false,
  );
  const places = Array.from({ length: 3_000 }, (_, i) => place(i, i));
  disk.places = places.slice();
  for (const one of places) queue.insert(one);
  t.equal(queue.claimed, 0);
  for (const one of places) {
    queue.claim(one.queueId, one.entryNo);
    queue.putBack(one);
  }
  const taken: (string | undefined)[] = [];
  for (const expected of places) {
    taken.push(queue.takeDue(5_000)?.queueId);
    disk.drop(expected);
    queue.release(expected.queueId, expected.entryNo);
  }
  t.ok(taken.join() === places.map(({ queueId }) => queueId).join(), "all in order");
  t.ok(queue.isEmpty);
  t.ok(scanned >= 3_000 / windowMax - 8, "most of it was read back from the disk in steps");
  t.end();
});

test("of an entry that is put in only its place is kept, not its recipients and replies", (t) => {
  const queue = new DueQueue(name, () => [], false);
  const entry = { dueAt: 5, queueId: "q1", entryNo: 0, recipients: ["much"] };
  queue.insert(entry);
  t.strictSame(queue.head(), { dueAt: 5, queueId: "q1", entryNo: 0 });
  t.end();
});
