// Random changes, many at once, on the spool on LMDB and on its twin in memory: both must end alike, and the check must
// find nothing.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "tap";
import { checkSpool, type Spool, type SpoolChange } from "../../src/spool/spool.ts";
import { acceptOf, finishOf, idOf, patternOf, rescheduleOf, start } from "../contract/spool-fixture.ts";
import { MemorySpool } from "../support/memory-spool.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock } from "../support/sim-clock.ts";
import { openTestSpool } from "./lmdb-fixture.ts";

const messagesMax = 6;

type Step =
  | { readonly kind: "accept"; readonly number: number; readonly entries: number; readonly bytes: number }
  | {
      readonly kind: "finish" | "reschedule";
      readonly number: number;
      readonly entryNo: number;
      readonly stale: boolean;
    }
  | { readonly kind: "quarantine"; readonly number: number }
  | { readonly kind: "events"; readonly text: string }
  | { readonly kind: "trim" };

const number = fc.integer({ min: 0, max: messagesMax - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("accept" as const),
      number,
      entries: fc.integer({ min: 1, max: 4 }),
      bytes: fc.constantFrom(0, 10, 3_000, 70_000),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constantFrom("finish" as const, "finish" as const, "reschedule" as const),
      number,
      entryNo: fc.integer({ min: 0, max: 3 }),
      stale: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("quarantine" as const), number }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("events" as const), text: fc.string({ maxLength: 5 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("trim" as const) }) },
);
/** Rounds of changes that are committed at once; a change has one or a few steps. */
const rounds = fc.array(fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 }), {
  minLength: 1,
  maxLength: 12,
});

/** The outbox numbers its batches, and rounds fall into batches differently: each spool trims its own. */
function changeOf(steps: readonly Step[], model: MemorySpool, spool: Spool, dueAt: number): SpoolChange {
  return steps.flatMap((made): SpoolChange => {
    switch (made.kind) {
      case "accept": {
        const domains = Array.from({ length: made.entries }, (_, n) => `d${n}.example`);
        return [acceptOf(made.number, { domains, content: patternOf(made.bytes, made.number) })];
      }
      case "finish":
      case "reschedule": {
        const entry = model.readEntry(idOf(made.number), made.entryNo);
        if (entry === undefined) return [];
        const from = made.stale ? entry.dueAt + 1 : entry.dueAt;
        if (made.kind === "finish") return [finishOf(entry, from)];
        return entry.recipients[0]?.state.kind === "pending" ? [rescheduleOf(entry, dueAt, from)] : [];
      }
      case "quarantine":
        return model.readMessage(idOf(made.number)) === undefined
          ? []
          : [{ kind: "quarantine", queueId: idOf(made.number), reason: "test", at: start }];
      case "events":
        return [{ kind: "events", lines: `${made.text}\n` }];
      case "trim":
        return [{ kind: "trim-outbox", throughSequence: spool.readOutbox(0, 1_000).at(-1)?.sequence ?? 0 }];
      default:
        return [];
    }
  });
}

/** All that a reader can see. */
function view(spool: Spool) {
  const queues = [...spool.queues()].map((queue) => ({ ...queue, places: spool.scanQueue(queue, undefined, 1_000) }));
  const messages = Array.from({ length: messagesMax }, (_, n) => ({
    message: spool.readMessage(idOf(n)),
    entries: spool.readEntries(idOf(n)),
    content: Buffer.concat([...spool.readContent(idOf(n))]).toString("latin1"),
  }));
  const outbox = spool.readOutbox(0, 1_000).map(({ lines }) => lines.toString());
  return JSON.parse(JSON.stringify({ queues, messages, outbox: outbox.join("") })) as unknown;
}

test("the spool on LMDB and the one in memory do the same with any changes", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  let run = 0;
  await fc.assert(
    fc.asyncProperty(rounds, async (drawn) => {
      const path = join(folder, String(run++));
      const clock = new SimClock();
      const model = new MemorySpool({ clock, random: new SeededRandom(run) });
      let spool = await openTestSpool(path, { clock });
      let due = start;
      try {
        for (const round of drawn) {
          due += 10;
          const changesFor = (on: Spool) => round.map((steps, n) => changeOf(steps, model, on, due + n));
          const [forModel, forSpool] = [changesFor(model), changesFor(spool)];
          const expected = Promise.allSettled(forModel.map((change) => model.commit(change)));
          const got = await Promise.allSettled(forSpool.map((change) => spool.commit(change)));
          await clock.advance(10);
          const statuses = (results: readonly PromiseSettledResult<void>[]) => results.map(({ status }) => status);
          t.same(statuses(got), statuses(await expected), "the same changes are refused");
          t.strictSame(view(spool), view(model));
        }
        await spool.close();
        const result = await checkSpool(path);
        t.same(result.problemCount, 0, JSON.stringify(result.problems));
        spool = await openTestSpool(path, { clock });
        t.strictSame(view(spool), view(model), "and after a restart");
      } finally {
        await spool.close();
        await rm(path, { recursive: true, force: true });
      }
    }),
    { numRuns: 25 },
  );
});
