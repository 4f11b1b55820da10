// The spool in memory keeps the contract, and its faults are what the simulation takes them for.

import { test } from "tap";
import { type SpoolUnderTest, spoolContract } from "../contract/spool-contract.ts";
import { acceptOf, idOf } from "../contract/spool-fixture.ts";
import { MemorySpool } from "../support/memory-spool.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock } from "../support/sim-clock.ts";

function simulated(seed = 1) {
  const clock = new SimClock();
  const spool = new MemorySpool({ clock, random: new SeededRandom(seed), commitLatencyMaxMs: 100 });
  return { clock, spool };
}

spoolContract("memory", async (): Promise<SpoolUnderTest> => {
  const { clock, spool } = simulated();
  const settle = async <Value>(promise: Promise<Value>): Promise<Value> => {
    let settled = false;
    const end = () => {
      settled = true;
    };
    promise.then(end, end);
    while (!settled) await clock.advance(1);
    return promise;
  };
  const under: SpoolUnderTest = {
    spool,
    commit(change) {
      return settle(under.spool.commit(change));
    },
    commitAll(changes) {
      return settle(Promise.allSettled(changes.map((change) => under.spool.commit(change))));
    },
    async advance(ms) {
      await clock.advance(ms);
    },
    async reopen() {
      under.spool = await (under.spool as MemorySpool).reopen();
    },
    async damageContent(queueId) {
      (under.spool as MemorySpool).damage(queueId, "content");
    },
    async dispose() {},
  };
  return under;
});

test("a crash keeps what was acknowledged and never a part of a commit", async (t) => {
  const kept = new Set<number>();
  for (let seed = 1; seed <= 40; seed++) {
    const { clock, spool } = simulated(seed);
    const first = spool.commit([acceptOf(1)]);
    await clock.advance(5);
    await first;
    void spool.commit([acceptOf(2)]);
    void spool.commit([acceptOf(3)]);
    void spool.commit([acceptOf(4)]);
    const next = spool.crash();
    const count = next.messageIds.length;
    t.ok(next.readMessage(idOf(1)), "what was acknowledged is there");
    t.equal(next.readMessage(idOf(3)), undefined, "what only waited is not");
    kept.add(count);
    t.equal(await Promise.race([spool.commit([acceptOf(5)]), "silence"]), "silence", "the dead do not answer");
  }
  t.same([...kept].sort(), [1, 2], "what was under way may be there or not");
});

test("a commit that fails stops the spool for good", async (t) => {
  const { clock, spool } = simulated();
  spool.failNextCommit(new Error("EIO"));
  const results = Promise.allSettled([spool.commit([acceptOf(1)]), spool.commit([acceptOf(2)])]);
  await clock.advance(10);
  t.ok((await results).every((result) => result.status === "rejected"));
  await t.rejects(spool.commit([acceptOf(3)]), /EIO/);
  t.equal(spool.health().kind, "failed");
  t.same(spool.crash().messageIds, []);
});

test("a slow disk and a full one are told, and pass", async (t) => {
  const { clock, spool } = simulated();
  spool.setCommitMs(500);
  const done = spool.commit([acceptOf(1)]);
  await clock.advance(200);
  t.equal(spool.health().kind, "slow", "while it is under way");
  await clock.advance(400);
  await done;
  t.equal(spool.health().kind, "slow", "just after it");
  await clock.advance(6_000);
  t.equal(spool.health().kind, "ok");
  spool.setLowSpace(5);
  t.same(spool.health(), { kind: "low-space", freeBytes: 5 });
  spool.setLowSpace(undefined);
  t.equal(spool.health().kind, "ok");
});
