// Stories of the disk: restarts, crashes, damage, a spool that fails, repeated submissions, back-pressure.

import { test } from "tap";
import { dayMs, minuteMs, secondMs } from "../../src/core/time.ts";
import { QueueWorld } from "../support/queue-world.ts";

const many = (count: number, mail: object = {}) => Array.from({ length: count }, () => ({ from: "", ...mail }));

test("a queue far deeper than its window is delivered whole and in order, over a restart too", async (t) => {
  for (const how of ["stop", "crash"] as const) {
    const world = new QueueWorld({ limits: { connectionsMax: 1, messagesPerConnectionMax: 10_000 } });
    world.host("mx.b.example").connect = "refuse";
    const ids = await world.acceptAll(many(700));
    const [charged] = ids;
    await world.advance(secondMs);
    world.host("mx.b.example").connect = "open";
    await world.until(() => world.sent.length >= 300);
    await world.restart(how);
    await world.advance(minuteMs);
    const order = world.sentIds().filter((queueId) => queueId !== charged);
    const seen = new Set<string>();
    const first = order.filter((queueId) => !seen.has(queueId) && seen.add(queueId));
    t.same(first, ids.slice(1), `${how}: in order`);
    t.ok(world.sent.length - 699 <= (how === "crash" ? 60 : 0), "only what a crash cut off goes twice");
    await world.advance(15 * minuteMs);
    t.ok(world.isEmpty);
  }
});

test("a restart keeps attempts, due times and states", async (t) => {
  for (const how of ["stop", "crash"] as const) {
    const world = new QueueWorld();
    world.host("mx.b.example").answer = ({ forwardPaths }) => forwardPaths.map((path) => (path[0] === "a" ? 250 : 450));
    const queueId = await world.accept({ to: ["a@b.example", "b@b.example"] });
    await world.advance(15 * minuteMs);
    const before = [world.attempts(queueId), world.states(queueId), world.spool.readEntry(queueId, 0)?.dueAt];
    t.equal(before[0], 2);
    await world.restart(how);
    await world.advance(minuteMs);
    t.same([world.attempts(queueId), world.states(queueId), world.spool.readEntry(queueId, 0)?.dueAt], before);
    world.host("mx.b.example").answer = 250;
    await world.advance(world.dueInMs(queueId) + secondMs);
    t.same(world.sent.at(-1)?.forwardPaths, ["b@b.example"]);
    t.ok(world.isEmpty);
  }
});

test("stop finishes the transactions under way and gives back the rest untouched", async (t) => {
  const world = new QueueWorld({ limits: { connectionsMax: 2 }, hosts: { "mx.b.example": { transactionMs: 2_000 } } });
  const ids = await world.acceptAll(many(20));
  await world.advance(secondMs);
  const stopping = world.queue.stop();
  t.equal(world.queue.pressure().kind, "refuse");
  t.equal((await world.answer(world.submit())).kind, "refused");
  await world.answer(stopping);
  t.equal(world.sent.length, 2);
  t.same(
    ids.map((queueId) => world.attempts(queueId)),
    [undefined, undefined, ...Array.from({ length: 18 }, () => 0)],
  );
  await world.advance(dayMs);
  t.equal(world.sent.length, 2);
  t.equal(world.events("delivery").length, 2, "the log is written to the end");
});

test("stop gives back what is being signed, and connections that do not stand yet end at once", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { connectMs: 60_000 }, "mx.c.example": {} } });
  world.signer = {
    signs: (domain) => domain !== undefined,
    sign: () =>
      new Promise((resolve) => world.clock.after(300, () => resolve({ headers: Buffer.alloc(0), signedBy: [] }))),
  };
  const ids = await world.acceptAll(many(3));
  await world.advance(500);
  const more = await world.acceptAll(many(3, { to: "x@c.example" }));
  await world.advance(50);
  const before = world.clock.now();
  await world.answer(world.queue.stop());
  t.ok(world.clock.now() - before < 3 * secondMs);
  await world.advance(minuteMs);
  t.same(world.sent, []);
  t.same(
    [...ids, ...more].map((queueId) => world.attempts(queueId)),
    [0, 0, 0, 0, 0, 0],
  );
});

test("damaged content is quarantined and never sent, and others go on", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { connect: "refuse" } } });
  const [first = "", bad = "", ...rest] = await world.acceptAll(many(5));
  await world.advance(secondMs);
  world.spool.damage(bad, "content");
  world.host("mx.b.example").connect = "open";
  await world.advance(12 * minuteMs);
  t.same(world.sentIds().sort(), [first, ...rest].sort());
  t.same(world.spool.messageIds, [bad], "its records stay");
  t.same([...world.spool.queues()], []);
  t.same(
    world.queue.depth().filter(({ recipients }) => recipients > 0),
    [],
  );
  await world.restart("crash");
  await world.advance(dayMs);
  t.notOk(world.sentIds().includes(bad));
  t.same(world.fatal, []);
});

test("a damaged message or entry record is quarantined too", async (t) => {
  for (const damage of ["message", { entryNo: 0 }] as const) {
    const world = new QueueWorld();
    await world.answer(world.queue.hold({ domain: "b.example" }, "x", "op"));
    const [bad = "", good = ""] = await world.acceptAll(many(2));
    await world.restart("stop");
    world.spool.damage(bad, damage);
    await world.answer(world.queue.release({ domain: "b.example" }, "op"));
    await world.advance(minuteMs);
    t.same(world.sentIds(), [good]);
    t.same(world.fatal, []);
  }
});

test("damage that shows when signing quarantines, and the rest goes on", async (t) => {
  const world = new QueueWorld({ limits: { connectionsMax: 1 } });
  const { DamagedRecordError } = await import("../../src/spool/spool.ts");
  let count = 0;
  world.signer = {
    signs: () => true,
    sign: async ({ queueId }) => {
      await new Promise<void>((resolve) => world.clock.after(5, resolve));
      if (count++ < 8) throw new DamagedRecordError(queueId, "bad chunk");
      return { headers: Buffer.alloc(0), signedBy: [] };
    },
  };
  await world.acceptAll(many(20));
  await world.advance(minuteMs);
  t.equal(world.sent.length, 12);
});

test("when signing fails for all that is in preparation, the rest is still asked for", async (t) => {
  const world = new QueueWorld({ limits: { connectionsMax: 1 } });
  let isBroken = true;
  world.signer = {
    signs: () => true,
    sign: async () => {
      await new Promise<void>((resolve) => world.clock.after(5, resolve));
      if (isBroken) throw new Error("key not readable");
      return { headers: Buffer.from("DKIM-Signature: x\r\n"), signedBy: ["s"] };
    },
  };
  const ids = await world.acceptAll(many(30));
  await world.advance(10);
  isBroken = false;
  await world.advance(secondMs);
  t.ok(world.sent.length >= 14, `${world.sent.length} sent`);
  await world.advance(12 * minuteMs);
  t.equal(world.sent.length, ids.length);
  t.match(world.sent[0]?.content, /^DKIM-Signature/);
  t.ok(world.isEmpty);
});

test("a failing commit calls fatal exactly once, and nothing is accepted or started after it", async (t) => {
  const world = new QueueWorld({ limits: { connectionsMax: 2 }, hosts: { "mx.b.example": { transactionMs: 100 } } });
  await world.acceptAll(many(50));
  await world.until(() => world.sent.length >= 4);
  world.spool.failNextCommit();
  const last = world.submit();
  await t.rejects(world.answer(last));
  const sentThen = world.sent.length;
  await world.advance(minuteMs);
  t.equal(world.fatal.length, 1);
  t.ok(world.sent.length <= sentThen + 2, "only what was under way");
  t.equal(world.queue.pressure().kind, "refuse");
  t.equal((await world.answer(world.submit())).kind, "refused");
  await world.answer(world.queue.stop());
});

test("a commit that fails while a settlement is written lets stop come to its end", async (t) => {
  const world = new QueueWorld();
  await world.accept();
  world.spool.setCommitMs(500);
  await world.until(() => world.sent.length === 1, minuteMs, 1);
  const stopping = world.queue.stop();
  world.spool.failNextCommit();
  await world.answer(stopping);
  t.equal(world.fatal.length, 1);
});

test("a spool that fails while nobody waits for mail is fatal all the same", async (t) => {
  for (const act of ["trim", "hold", "rejected"] as const) {
    const world = new QueueWorld();
    if (act === "trim") {
      await world.accept();
      await world.until(() => world.isEmpty, minuteMs, 1);
    }
    world.spool.failNextCommit();
    if (act === "hold") await t.rejects(world.answer(world.queue.hold({ job: "j" }, "x", "op")));
    if (act === "rejected") {
      const reply = { code: 550, enhanced: "5.7.1", text: "no" };
      const remote = { name: "a", address: "127.0.0.1" };
      const rest = { reversePath: "", forwardPath: "u@b.example", sessionId: "s" };
      world.queue.rejected({ ...rest, remote, reply });
    }
    await world.advance(minuteMs);
    t.equal(world.fatal.length, 1, act);
  }
});

test("the same idempotency key with the same message is taken once, with another it is a conflict", async (t) => {
  for (const how of ["stop", "crash"] as const) {
    const world = new QueueWorld();
    const queueId = await world.accept({ key: "k", user: "app" });
    t.same(await world.answer(world.submit({ key: "k", user: "app" })), { kind: "replayed", queueId });
    t.same(await world.answer(world.submit({ key: "k", user: "app", body: "Other\r\n" })), {
      kind: "conflict",
      queueId,
    });
    t.same((await world.answer(world.submit({ key: "k", user: "app", to: "x@c.example" }))).kind, "conflict");
    t.same((await world.answer(world.submit({ key: "k", user: "app2" }))).kind, "accepted", "keys are each user's own");
    await world.restart(how);
    t.same(await world.answer(world.submit({ key: "k", user: "app" })), { kind: "replayed", queueId });
    await world.advance(3 * dayMs);
    t.same(
      (await world.answer(world.submit({ key: "k", user: "app" }))).kind,
      "accepted",
      "two days later it is forgotten",
    );
  }
});

test("of equal idempotency keys at one moment one is accepted, and the others are answers to it", async (t) => {
  const world = new QueueWorld();
  const results = await world.answer(
    Promise.all(Array.from({ length: 5 }, () => world.submit({ key: "k", user: "app" }))),
  );
  t.same(
    results.map(({ kind }) => kind),
    ["accepted", "replayed", "replayed", "replayed", "replayed"],
  );
  t.equal(new Set(results.map((result) => (result.kind === "refused" ? "" : result.queueId))).size, 1);
  await world.advance(secondMs);
  t.equal(world.sent.length, 1);
});

test("when the first of equal keys is refused, one of the others is accepted and not two", async (t) => {
  const world = new QueueWorld();
  const submissions = Array.from({ length: 4 }, () => world.submission({ key: "k", user: "app" }));
  const first = world.queue.accept(submissions[0] as never);
  const others = submissions.slice(1).map((submission) => world.queue.accept(submission));
  const results = await world.answer(Promise.all([first, ...others]));
  t.equal(results.filter(({ kind }) => kind === "accepted").length, 1);
});

test("back-pressure refuses new mail while the disk is full or slow or the process is loaded, and recovers", async (t) => {
  const world = new QueueWorld();
  t.same(world.queue.pressure(), { kind: "ok" });
  world.spool.setLowSpace(5 * 1024 * 1024);
  t.match(world.queue.pressure(), { kind: "refuse", text: /insufficient system storage: 5 MiB/ });
  t.match(await world.answer(world.submit()), { kind: "refused", text: /storage/ });
  world.spool.setLowSpace(undefined);
  world.overload = "out of memory";
  t.match(world.queue.pressure(), { kind: "refuse", text: "out of memory" });
  world.overload = undefined;
  world.spool.setCommitMs(6_000);
  const slow = world.submit();
  await world.advance(5_500);
  t.match(world.queue.pressure(), { kind: "refuse", text: /disk is slow/ });
  await world.answer(slow);
  world.spool.setCommitMs(undefined);
  await world.advance(10 * secondMs);
  t.same(world.queue.pressure(), { kind: "ok" });
  t.equal((await world.answer(world.submit())).kind, "accepted");
  world.spool.setCommitMs(2_000);
  const body = "x".repeat(8 * 1024 * 1024);
  const heaps = Array.from({ length: 9 }, () => world.submit({ body }));
  t.match(world.queue.pressure(), { kind: "refuse", text: /waits for the disk/ });
  await world.answer(Promise.all(heaps));
  world.spool.setCommitMs(undefined);
  t.same(world.queue.pressure(), { kind: "ok" });
});

test("too many outcomes that wait for the disk stop the start of further mail, which goes on by itself", async (t) => {
  const world = new QueueWorld({
    limits: { connectionsMax: 50, messagesPerConnectionMax: 10_000 },
    hosts: { "mx.b.example": { transactionMs: 1 }, "mx.dead.example": { connect: "refuse" } },
  });
  world.spool.setCommitMs(5);
  await world.acceptAll(many(3_000));
  await world.accept({ to: "u@dead.example", from: "" });
  world.spool.setCommitMs(20_000);
  await world.advance(15 * secondMs);
  const stalled = world.sent.length;
  t.ok(stalled >= 2_000 && stalled <= 2_060, `${stalled} were started`);
  // The dead host's rest ends while everything is halted.
  world.host("mx.dead.example").connect = "open";
  world.spool.setCommitMs(5);
  await world.advance(minuteMs);
  t.equal(world.sentIds("mx.b.example").length, 3_000);
  await world.advance(15 * minuteMs);
  t.equal(world.sentIds("mx.dead.example").length, 1);
  t.ok(world.isEmpty);
});

test("a rest that ends while everything is halted is over when it goes on", async (t) => {
  const world = new QueueWorld({
    limits: { connectionsMax: 50, messagesPerConnectionMax: 10_000 },
    hosts: { "mx.b.example": { transactionMs: 1 }, "mx.dead.example": { connect: "refuse" } },
  });
  world.spool.setCommitMs(5);
  await world.acceptAll(many(2, { to: "u@dead.example" }));
  const waits = () => world.queue.queues({ domain: "dead.example" })[0]?.waitsFor ?? "";
  t.ok(await world.until(() => waits().startsWith("another try at"), minuteMs, 10));
  world.host("mx.dead.example").connect = "open";
  await world.acceptAll(many(2_500));
  world.spool.setCommitMs(8_000);
  await world.advance(7 * secondMs);
  world.spool.setCommitMs(5);
  await world.advance(30 * secondMs);
  t.ok(world.sentIds("mx.dead.example").length >= 1);
});

test("thousands of expired messages before one that has not expired end, and that one goes", async (t) => {
  const world = new QueueWorld();
  await world.answer(world.queue.hold({ domain: "b.example" }, "x", "op"));
  await world.acceptAll(many(2_200));
  await world.advance(5 * dayMs);
  const fresh = await world.accept({ from: "" });
  await world.answer(world.queue.release({ domain: "b.example" }, "op"));
  await world.advance(minuteMs);
  t.same(world.sentIds(), [fresh]);
  t.equal(world.events("expiration").length, 2_200);
  t.ok(world.isEmpty);
});
