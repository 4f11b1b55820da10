// Stories of what senders and the delivery log are told: DSNs (RFC 3461) and events.

import { test } from "tap";
import { dayMs, hourMs, minuteMs, secondMs } from "../../src/core/time.ts";
import { QueueWorld, type WorldParts } from "../support/queue-world.ts";

/** DSNs that reached the sender's exchanger. */
function dsns(world: QueueWorld): string[] {
  return world.sent.filter(({ host }) => host === "mx.sender.example").map(({ content }) => content);
}

const failing: WorldParts = { hosts: { "mx.b.example": { answer: 550 } } };

test("a failure is told to the sender once, for all recipients of one domain together", async (t) => {
  const world = new QueueWorld(failing);
  const queueId = await world.accept({ to: ["a@b.example", "b@b.example"] });
  await world.advance(5 * secondMs);
  t.equal(dsns(world).length, 1);
  t.match(dsns(world)[0], /Final-Recipient: rfc822; ?a@b\.example[\s\S]*Final-Recipient: rfc822; ?b@b\.example/i);
  t.equal((dsns(world)[0]?.match(/^Action: failed/gim) ?? []).length, 2);
  t.match(dsns(world)[0], /550 5\.1\.1 no such user/);
  t.same(world.story(queueId), ["reception", "reception", "bounce", "bounce"]);
  const [dsn] = world.events("reception").filter((event) => event.queueId !== queueId);
  t.match(dsn, { reversePath: "", forwardPath: "app@sender.example" });
  t.ok(world.isEmpty);
});

test("nobody is told about mail from the null reverse-path, about a DSN, or against NOTIFY", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 550 }, "mx.sender.example": { answer: 550 } } });
  await world.accept({ from: "" });
  await world.accept({ notify: [] });
  await world.accept({ notify: ["success", "delay"] });
  await world.advance(5 * secondMs);
  t.same(dsns(world), []);
  await world.accept({ notify: ["failure"] });
  await world.advance(dayMs);
  t.equal(dsns(world).length, 1, "the DSN itself fails, and that is the end of it");
  t.ok(world.isEmpty);
});

test("a delay is told once, and not again after a restart", async (t) => {
  const world = new QueueWorld({
    hosts: { "mx.b.example": { answer: 450 } },
    streams: { news: { delayDsnMs: 4 * hourMs, retryMs: [hourMs] } },
  });
  const queueId = await world.accept();
  await world.advance(3 * hourMs);
  t.same(dsns(world), []);
  await world.advance(2 * hourMs);
  t.equal(dsns(world).length, 1);
  t.match(dsns(world)[0], /Action: delayed/i);
  t.match(dsns(world)[0], /Will-Retry-Until:/i);
  await world.restart("crash");
  await world.advance(10 * hourMs);
  t.equal(dsns(world).length, 1);
  t.same(world.states(queueId), ["user@b.example pending"]);
  await world.advance(4 * dayMs);
  t.equal(dsns(world).length, 2);
  t.match(dsns(world)[1], /Action: failed/i);
});

test("success is told as relayed, only when asked for and when the peer cannot tell it itself", async (t) => {
  for (const { notify, dsn, told } of [
    { notify: ["success" as const], dsn: false, told: 1 },
    { notify: ["success" as const], dsn: true, told: 0 },
    { notify: undefined, dsn: false, told: 0 },
    { notify: ["failure" as const], dsn: false, told: 0 },
  ]) {
    const world = new QueueWorld({ hosts: { "mx.b.example": { dsn } } });
    await world.accept({ notify });
    await world.advance(5 * secondMs);
    t.equal(dsns(world).length, told, JSON.stringify({ notify, dsn }));
    if (told === 1) t.match(dsns(world)[0], /Action: relayed/i);
  }
});

test("a cancelled recipient is not told as delayed", async (t) => {
  const world = new QueueWorld({
    hosts: { "mx.b.example": { answer: 450, transactionMs: 5 * secondMs } },
    streams: { news: { delayDsnMs: secondMs } },
  });
  const queueId = await world.accept();
  await world.advance(2 * secondMs);
  await world.answer(world.queue.cancel({ queueId }, "op"));
  await world.advance(minuteMs);
  t.same(dsns(world), []);
  t.same(world.story(queueId), ["reception", "transient-failure", "cancellation"]);
});

test("a DSN and the end of what it tells are one change: a crash leaves both or neither", async (t) => {
  for (let seed = 1; seed <= 12; seed++) {
    const world = new QueueWorld({ ...failing, seed });
    await world.accept();
    await world.until(() => world.sent.length === 1, minuteMs, 1);
    await world.advance(seed % 4);
    await world.restart("crash");
    await world.advance(10 * secondMs);
    t.ok(dsns(world).length >= 1 && dsns(world).length <= 2);
    const distinct = new Set(world.events("bounce").map(({ id }) => id));
    t.equal(distinct.size, 1, "one bounce in the log");
    t.ok(world.isEmpty);
  }
});

test("events have the fields that the log promises", async (t) => {
  const world = new QueueWorld();
  const queueId = await world.accept({ job: "j", tenant: "t" });
  await world.advance(secondMs);
  t.match(world.events("delivery")[0], {
    kind: "delivery",
    node: "test",
    shard: 0,
    queueId,
    stream: "news",
    tenant: "t",
    job: "j",
    reversePath: "app@sender.example",
    forwardPath: "user@b.example",
    site: "mx.b.example",
    source: "a1",
    pool: "all",
    remote: { name: "mx.b.example", address: "192.0.2.1" },
    reply: { code: 250 },
    stage: "final-dot",
    attempts: 1,
    transactionMs: 10,
  });
});

test("the outbox survives a sink that fails: nothing is lost, order is kept, ids are unique", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: [250, 450] } } });
  let failures = 0;
  const write = world.append;
  world.append = (lines) => {
    if (failures++ < 10) return Promise.reject(new Error("disk full"));
    return write(lines);
  };
  const ids: string[] = [];
  for (let i = 0; i < 20; i++) {
    ids.push(await world.accept({ to: ["a@b.example", "c@b.example"], from: "" }));
    await world.advance(300);
  }
  t.equal(world.sent.length, 20, "mail went on while the log could not be written");
  t.ok(failures < 10 && world.lines.length === 0);
  failures = 3;
  await world.advance(5 * minuteMs);
  const events = world.events();
  t.equal(new Set(events.map(({ id }) => id)).size, events.length);
  for (const queueId of ids) {
    t.same(world.story(queueId), ["reception", "reception", "delivery", "transient-failure"]);
  }
  const times = events.map(({ at }) => at as unknown as string);
  t.same(times, times.toSorted());
  t.equal(failures, 11, "after a failure all is offered again in one piece");
  t.same(world.spool.readOutbox(0, 10), [], "what is in the log is not kept any longer");
});

test("events that no sink took are in the log after a crash, each at least once", async (t) => {
  const world = new QueueWorld();
  const write = world.append;
  world.append = () => new Promise(() => {});
  const queueId = await world.accept();
  await world.advance(secondMs);
  world.append = write;
  await world.restart("crash");
  await world.advance(secondMs);
  t.same(world.story(queueId), ["reception", "delivery"]);
});

test("an event written before the crash that its trim did not outlive comes again with the same id", async (t) => {
  const world = new QueueWorld();
  await world.accept();
  world.spool.setCommitMs(50);
  await world.until(() => world.events("reception").length === 1, minuteMs, 1);
  await world.advance(10);
  await world.restart("crash");
  await world.advance(5 * secondMs);
  const events = world.events("reception");
  t.ok(events.length >= 1);
  t.equal(new Set(events.map(({ id }) => id)).size, 1);
  t.ok(world.isEmpty);
});

test("ids of events stay unique over restarts", async (t) => {
  const world = new QueueWorld();
  for (let i = 0; i < 5; i++) {
    await world.accept();
    await world.restart(i % 2 === 0 ? "stop" : "crash");
  }
  await world.advance(minuteMs);
  const ids = world.events().map(({ id }) => id);
  t.ok(ids.length >= 10);
  const byId = new Map(world.events().map((event) => [event.id, JSON.stringify(event)]));
  t.ok(
    world.events().every((event) => byId.get(event.id) === JSON.stringify(event)),
    "an id that comes twice is one event",
  );
});

test("suspension and resumption, hold and release are in the log though no mail moves", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { connect: "no-port" } } });
  await world.answer(world.queue.hold({ job: "j" }, "why", "op"));
  await world.advance(secondMs);
  t.match(world.events("hold"), [{ job: "j", reason: "op: why" }]);
  await world.accept();
  await world.advance(secondMs);
  t.match(world.events("suspension"), [{ site: "mx.b.example", source: "a1", reason: /EADDRNOTAVAIL/ }]);
});
