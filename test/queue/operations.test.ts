// Stories of operators: hold, release, cancel, retry, and what they are told.

import { test } from "tap";
import { dayMs, minuteMs, secondMs } from "../../src/core/time.ts";
import type { Selection } from "../../src/spool/spool.ts";
import { QueueWorld } from "../support/queue-world.ts";

const slow = { limits: { connectionsMax: 1, rate: { count: 1, perMs: secondMs } } };
const many = (count: number, mail: object = {}) => Array.from({ length: count }, () => ({ from: "", ...mail }));

test("a hold by domain, stream, job, tenant or queue id keeps its mail back over restarts, and no other", async (t) => {
  const selections: readonly (Selection | "queueId")[] = [
    { domain: "b.example" },
    { stream: "receipts" },
    { job: "j1" },
    { tenant: "t1" },
    { domain: "b.example", job: "j1" },
    "queueId",
  ];
  for (const chosen of selections) {
    for (const how of ["stop", "crash"] as const) {
      const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 450 } } });
      const meant = { to: "u@b.example", stream: "receipts", job: "j1", tenant: "t1" };
      const first = await world.accept(meant);
      await world.advance(secondMs);
      const selection = chosen === "queueId" ? { queueId: first } : chosen;
      const result = await world.answer(world.queue.hold(selection, "complaints", "op"));
      t.equal(result.recipients, 1);
      world.host("mx.b.example").answer = 250;
      const later = chosen === "queueId" ? [] : [await world.accept(meant)];
      const other = await world.accept({ to: "u@c.example", stream: "news", job: "j2", tenant: "t2" });
      await world.restart(how);
      await world.advance(10 * minuteMs);
      t.same(world.sentIds("mx.c.example"), [other], JSON.stringify([selection, how]));
      t.equal(world.sentIds("mx.b.example").length, 1);
      t.same(
        world.queue.holds().map((hold) => [hold.selection, hold.reason, hold.by]),
        [[selection, "complaints", "op"]],
      );
      t.match(world.queue.explain(first)?.entries[0]?.waitsFor, /release \(held by op: complaints\)/);
      t.equal(world.queue.queues({ domain: "b.example" }).length, 1, "held mail is still listed after the restart");
      t.equal((await world.answer(world.queue.release(selection, "op"))).recipients, 1 + later.length);
      await world.advance(5 * secondMs);
      t.same(world.sentIds("mx.b.example").slice(1).sort(), [first, ...later].sort());
      t.ok(world.isEmpty);
      t.same(world.queue.holds(), []);
      t.same(
        world.events("hold", "release").map(({ kind }) => kind),
        ["hold", "release"],
      );
      const { domain, stream, job, tenant, queueId } = world.events("hold")[0] ?? {};
      const told = JSON.parse(JSON.stringify({ domain, stream, job, tenant, queueId }));
      t.same(told, selection, "the delivery log says what is held");
    }
  }
});

test("a hold stops what waits for a slot of its lane, and lets the attempt under way end", async (t) => {
  for (const selection of [{ domain: "b.example" }, { job: "j" }]) {
    const world = new QueueWorld({ ...slow, hosts: { "mx.b.example": { transactionMs: 500 } } });
    await world.acceptAll(many(5, { job: "j" }));
    await world.advance(200);
    await world.answer(world.queue.hold(selection, "stop", "op"));
    await world.advance(minuteMs);
    t.equal(world.sent.length, 1);
    t.equal(world.queue.queues({})[0]?.entries, 4);
    await world.answer(world.queue.release(selection, "op"));
    await world.advance(minuteMs);
    t.equal(world.sent.length, 5);
    t.ok(world.isEmpty);
  }
});

test("a hold on mail whose attempt is under way holds what the attempt leaves", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 450, transactionMs: secondMs } } });
  const queueId = await world.accept({ job: "j" });
  await world.advance(200);
  await world.answer(world.queue.hold({ job: "j" }, "stop", "op"));
  await world.advance(dayMs);
  t.equal(world.sent.length, 1);
  t.same(world.states(queueId), ["user@b.example pending"]);
});

test("a long queue is held and released whole, and counted once", async (t) => {
  const world = new QueueWorld({
    streams: { news: { expireMs: dayMs } },
    hosts: { "mx.b.example": { connect: "refuse" } },
  });
  await world.acceptAll(many(350, { job: "j" }));
  await world.advance(secondMs);
  t.equal((await world.answer(world.queue.hold({ job: "j" }, "stop", "op"))).recipients, 350);
  await world.advance(minuteMs);
  t.equal(world.queue.lanes()[0]?.ready ?? 0, 0);
  world.host("mx.b.example").connect = "open";
  t.equal((await world.answer(world.queue.release({ job: "j" }, "op"))).recipients, 350);
  await world.advance(minuteMs);
  t.equal(world.sent.length, 350);
  t.ok(world.isEmpty);
});

test("of two holds one released leaves the other standing", async (t) => {
  const world = new QueueWorld();
  await world.answer(world.queue.hold({ job: "j" }, "one", "op"));
  await world.answer(world.queue.hold({ tenant: "x" }, "two", "op"));
  await world.accept({ job: "j", tenant: "x" });
  await world.advance(secondMs);
  await world.answer(world.queue.release({ job: "j" }, "op"));
  await world.advance(secondMs);
  t.same(world.sent, []);
  t.same(await world.answer(world.queue.release({ job: "j" }, "op")), { recipients: 0 }, "nothing is left of it");
  await world.answer(world.queue.release({ tenant: "x" }, "op"));
  await world.advance(secondMs);
  t.equal(world.sent.length, 1);
});

test("a crash in the middle of a release leaves nothing held that cannot be released", async (t) => {
  const world = new QueueWorld();
  await world.answer(world.queue.hold({ job: "j" }, "stop", "op"));
  await world.acceptAll(many(300, { job: "j" }));
  await world.advance(5 * secondMs);
  t.same(world.sent, []);
  void world.queue.release({ job: "j" }, "op");
  await world.advance(4);
  await world.restart("crash");
  await world.advance(secondMs);
  t.ok(world.sent.length < 300, "the crash came in the middle");
  await world.answer(world.queue.release({ job: "j" }, "op"));
  await world.advance(minuteMs);
  t.ok(world.isEmpty);
});

test("release does not shorten the wait after an unknown outcome", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: "unknown" } } });
  await world.accept({ job: "j" });
  await world.advance(minuteMs);
  await world.answer(world.queue.hold({ job: "j" }, "stop", "op"));
  await world.answer(world.queue.release({ job: "j" }, "op"));
  await world.advance(13 * minuteMs);
  t.equal(world.sent.length, 1);
  await world.advance(3 * minuteMs);
  t.equal(world.sent.length, 2);
});

test("a place put back behind the window does not hide what lies between", async (t) => {
  const world = new QueueWorld({ limits: { connectionsMax: 1, rate: { count: 10, perMs: secondMs } } });
  world.host("mx.b.example").answer = 450;
  const late = await world.accept({ job: "late" });
  await world.advance(secondMs);
  world.host("mx.b.example").answer = 250;
  await world.answer(world.queue.hold({ job: "late", domain: "b.example" }, "stop", "op"));
  await world.answer(world.queue.release({ job: "late", domain: "b.example" }, "op"));
  const ids = await world.acceptAll(many(600));
  // An action that looks at everything and changes nothing.
  await world.answer(world.queue.hold({ tenant: "nobody" }, "stop", "op"));
  await world.answer(world.queue.release({ tenant: "nobody" }, "op"));
  await world.advance(2 * minuteMs);
  t.same(
    world.sentIds().filter((queueId) => queueId !== late),
    ids,
  );
});

test("cancel ends matching mail without a further attempt, and no DSN is sent", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 450 } } });
  const gone = await world.accept({ to: ["a@b.example", "b@b.example"], tenant: "t", from: "app@sender.example" });
  const kept = await world.accept({ to: "c@b.example" });
  await world.advance(secondMs);
  t.same(await world.answer(world.queue.cancel({ tenant: "t" }, "op")), { recipients: 2 });
  world.host("mx.b.example").answer = 250;
  await world.advance(dayMs);
  t.same(world.story(gone).slice(-2), ["cancellation", "cancellation"]);
  for (const { reason } of world.events("cancellation")) t.equal(reason, "op", "the delivery log says who did it");
  t.equal(world.sentIds().filter((id) => id === gone).length, 1);
  t.equal(world.sentIds().filter((id) => id === kept).length, 2);
  t.ok(world.isEmpty);
});

test("cancel reaches held mail", async (t) => {
  const world = new QueueWorld();
  await world.answer(world.queue.hold({ job: "j" }, "stop", "op"));
  await world.acceptAll(many(3, { job: "j" }));
  await world.advance(secondMs);
  t.same(await world.answer(world.queue.cancel({ domain: "b.example" }, "op")), { recipients: 3 });
  await world.advance(secondMs);
  t.ok(world.isEmpty);
  t.same(world.sent, []);
});

test("cancel while an attempt is under way: taken is taken, and what fails is not tried again", async (t) => {
  for (const answer of [250, 450] as const) {
    const world = new QueueWorld({ hosts: { "mx.b.example": { answer, transactionMs: secondMs } } });
    const queueId = await world.accept({ from: "" });
    await world.advance(200);
    t.same(await world.answer(world.queue.cancel({ queueId }, "op")), { recipients: 1 });
    await world.advance(dayMs);
    t.equal(world.sent.length, 1);
    t.equal(world.story(queueId).at(-1), answer === 250 ? "delivery" : "cancellation");
    t.ok(world.isEmpty);
  }
});

test("cancel reaches mail that waits for a slot, that is being signed, and whose outcome is being written", async (t) => {
  const ready = new QueueWorld({ ...slow, hosts: { "mx.b.example": { transactionMs: 500 } } });
  await ready.acceptAll(many(5, { job: "j" }));
  await ready.advance(200);
  t.same(await ready.answer(ready.queue.cancel({ job: "j" }, "op")), { recipients: 5 });
  await ready.advance(minuteMs);
  t.equal(ready.sent.length, 1, "only the one under way");
  t.ok(ready.isEmpty);

  const signing = new QueueWorld();
  signing.signer = {
    signs: () => true,
    sign: () =>
      new Promise((resolve) =>
        signing.clock.after(200, () => resolve({ headers: Buffer.from("DKIM-Signature: x\r\n"), signedBy: ["s"] })),
      ),
  };
  await signing.acceptAll(many(3, { job: "j" }));
  await signing.advance(50);
  t.same(await signing.answer(signing.queue.cancel({ job: "j" }, "op")), { recipients: 3 });
  await signing.advance(minuteMs);
  t.ok(signing.sent.length <= 2, "no more than what connections had taken up when the cancel looked again");
  t.equal(signing.events("cancellation").length + signing.sent.length, 3);
  t.ok(signing.isEmpty);

  const writing = new QueueWorld({ hosts: { "mx.b.example": { answer: 450 } } });
  const queueId = await writing.accept({ from: "" });
  await writing.advance(30);
  writing.spool.setCommitMs(100);
  await writing.until(() => writing.sent.length === 1, minuteMs, 1);
  t.same(await writing.answer(writing.queue.cancel({ queueId }, "op")), { recipients: 1 });
  await writing.advance(dayMs);
  t.equal(writing.sent.length, 1);
  t.equal(writing.story(queueId).at(-1), "cancellation");
});

test("retry makes mail due now and ends the suspension it waits for, but leaves held mail held", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { connect: "refuse" } } });
  const ids = await world.acceptAll(many(3));
  await world.answer(world.queue.hold({ job: "j" }, "stop", "op"));
  const held = await world.accept({ job: "j" });
  await world.advance(4 * minuteMs);
  world.host("mx.b.example").connect = "open";
  t.same(await world.answer(world.queue.retry({ domain: "b.example" }, "op")), { recipients: 3 });
  await world.advance(secondMs);
  t.same(world.sentIds().sort(), ids.sort());
  t.same(world.states(held), ["user@b.example pending"]);
});

test("retry works on what DNS could not resolve", async (t) => {
  const world = new QueueWorld();
  world.dns.set("b.example", { kind: "transient", fault: { kind: "dns", stage: "resolve", message: "SERVFAIL" } });
  await world.acceptAll(many(3));
  await world.advance(10 * minuteMs);
  world.dns.clear();
  await world.answer(world.queue.retry({ domain: "b.example" }, "op"));
  await world.advance(secondMs);
  t.equal(world.sent.length, 3);
});

test("explain says what a recipient waits for in each state", async (t) => {
  const waits = (world: QueueWorld, queueId: string) => world.queue.explain(queueId)?.entries[0]?.waitsFor ?? "";

  const deferred = new QueueWorld({ hosts: { "mx.b.example": { answer: [450, 550] } } });
  const later = await deferred.accept({ to: ["a@b.example", "b@b.example"], from: "", job: "j", tenant: "t" });
  await deferred.advance(secondMs);
  t.match(waits(deferred, later), /its due time 2026-01-01T00:1.*streams.news.retry/);
  t.match(deferred.queue.explain(later), {
    queueId: later,
    job: "j",
    tenant: "t",
    entries: [
      {
        domain: "b.example",
        site: "mx.b.example",
        attempts: 1,
        history: [{ result: /transient: 450 4.2.1 not now/ }],
        recipients: [
          { state: "pending", detail: /transient at 2026.*: 450 4.2.1 not now/ },
          { state: "failed", detail: /permanent at .*: 550 5.1.1 no such user/ },
        ],
      },
    ],
  });

  const dead = new QueueWorld({ hosts: { "mx.b.example": { connect: "refuse" } } });
  const [, waiting = ""] = await dead.acceptAll(many(2));
  await dead.advance(secondMs);
  t.match(waits(dead, waiting), /another try at .*ECONNREFUSED/);

  const unresolved = new QueueWorld();
  const asking = await unresolved.accept();
  t.equal(waits(unresolved, asking), "DNS");

  const busy = new QueueWorld({ hosts: { "mx.b.example": { transactionMs: secondMs } } });
  const going = await busy.accept();
  await busy.advance(200);
  t.match(waits(busy, going), /the attempt under way/);

  const full = new QueueWorld(slow);
  const last = (await full.acceptAll(many(200))).at(-1) ?? "";
  await full.advance(2 * secondMs);
  t.match(waits(full, last), /a slot at mx.b.example \(limits: sites.defaults\)/);

  t.equal(full.queue.explain("0000000000000000"), undefined);
});

test("lists and counts follow what happens", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 450 } } });
  await world.acceptAll([{ to: ["a@b.example", "b@b.example"] }, { to: "c@c.example" }, { stream: "receipts" }]);
  await world.advance(secondMs);
  t.match(world.queue.queues({ stream: "news" }), [
    { domain: "b.example", entries: 1, recipients: 2, held: false, lastError: { text: /450/ } },
  ]);
  t.equal(world.queue.queues({ stream: "news" }).length, 1);
  t.same(world.queue.queues({ domain: "c.example" }), []);
  t.equal(
    world.queue.depth().reduce((sum, { recipients }) => sum + recipients, 0),
    3,
  );
  await world.advance(10 * secondMs);
  t.equal(world.queue.oldestAgeMs, 0);
});

test("holds have an end, and one that stands already is still taken", async (t) => {
  const world = new QueueWorld();
  for (let i = 0; i < 1_000; i++) await world.answer(world.queue.hold({ job: `j${i}` }, "many", "op"));
  const refused = await world.answer(world.queue.hold({ job: "one more" }, "many", "op"));
  t.match(refused, { recipients: 0, refused: /^1000 holds are in force already/ });
  t.equal((await world.answer(world.queue.hold({ job: "j7" }, "again", "op"))).hold?.reason, "again");
  t.equal(world.queue.holds().length, 1_000);
});
