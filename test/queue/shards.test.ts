// Stories of several shards that send to one site: they share its limits, and none of them is left out.

import { test } from "tap";
import { minuteMs, secondMs } from "../../src/core/time.ts";
import { openShards, type QueueWorld } from "../support/queue-world.ts";

const many = (count: number) => Array.from({ length: count }, () => ({ from: "" }));
type Pair = [QueueWorld, QueueWorld];
const host = "mx.b.example";

test("two shards deliver all their mail over no more connections than the site allows", async (t) => {
  const [one, other] = openShards(2, { limits: { connectionsMax: 3 } }) as Pair;
  await one.acceptAll(many(200));
  await other.acceptAll(many(200));
  await one.advance(10 * secondMs);
  t.equal(one.sent.length, 200);
  t.equal(other.sent.length, 200);
  t.equal(one.host(host).openMax, 3);
  t.ok(one.isEmpty && other.isEmpty);
});

test("a shard with one message gets a connection soon, though another keeps the only one busy", async (t) => {
  const [one, other] = openShards(2, { limits: { connectionsMax: 1, messagesPerConnectionMax: 100_000 } }) as Pair;
  one.host(host).transactionMs = 100;
  await one.acceptAll(many(500));
  for (let round = 0; round < 3; round++) {
    await one.advance(5 * secondMs);
    const before = other.clock.now();
    await other.accept({ from: "" });
    t.ok(await other.until(() => other.sent.length > round, 5 * secondMs));
    t.ok(other.clock.now() - before < 1_500, `after ${other.clock.now() - before} ms`);
  }
  t.equal(one.host(host).openMax, 1);
  await one.advance(minuteMs);
  t.ok(one.isEmpty && other.isEmpty);
});

test("two busy shards with one connection take turns of a second", async (t) => {
  const [one, other] = openShards(2, { limits: { connectionsMax: 1, messagesPerConnectionMax: 100_000 } }) as Pair;
  one.host(host).transactionMs = 50;
  await one.acceptAll(many(400));
  await other.acceptAll(many(400));
  const from = one.host(host).connects.length;
  const [oneBefore, otherBefore] = [one.sent.length, other.sent.length];
  await one.advance(20 * secondMs);
  const connects = one.host(host).connects.length - from;
  t.ok(connects >= 15 && connects <= 21, `${connects} connections in 20 s`);
  const [oneSent, otherSent] = [one.sent.length - oneBefore, other.sent.length - otherBefore];
  t.ok(Math.abs(oneSent - otherSent) <= 45, `${oneSent} and ${otherSent}`);
  t.ok(oneSent + otherSent >= 350, `${oneSent + otherSent} of 400 that one shard could have sent`);
});

test("a connection that idles is given back at once when another shard has work", async (t) => {
  const [one, other] = openShards(2, { limits: { connectionsMax: 1 }, idleMs: minuteMs }) as Pair;
  await one.accept({ from: "" });
  await one.advance(200);
  t.equal(one.sent.length, 1);
  t.equal(one.host(host).open, 1, "it idles");
  await other.accept({ from: "" });
  await one.advance(200);
  t.equal(other.sent.length, 1);
  t.equal(one.host(host).openMax, 1);
});

test("a shard keeps what it uses now and then, and gives back what it does not use", async (t) => {
  const [one, other] = openShards(2, { limits: { connectionsMax: 3 }, idleMs: minuteMs }) as Pair;
  one.host(host).transactionMs = 100;
  await other.accept({ from: "" });
  await one.advance(100);
  await one.acceptAll(many(1_000));
  for (let i = 0; i < 10; i++) {
    await other.accept({ from: "" });
    await one.advance(500);
  }
  t.equal(
    new Set(other.sent.map(({ sessionId }) => sessionId)).size,
    1,
    "one connection for a message each half second",
  );
  await one.advance(3 * secondMs);
  t.equal(one.queue.lanes()[0]?.connections.busy, 3);
  t.equal(one.host(host).openMax, 3);
});

test("a peer that takes fewer connections than are allowed serves both shards", async (t) => {
  const [one, other] = openShards(2, { limits: { connectionsMax: 8, messagesPerConnectionMax: 100_000 } }) as Pair;
  one.host(host).connect = (open) => (open < 2 ? "open" : "banner-421");
  one.host(host).transactionMs = 50;
  await one.acceptAll(many(600));
  await one.advance(2 * secondMs);
  await other.acceptAll(many(50));
  await one.advance(10 * secondMs);
  t.equal(other.sent.length, 50);
  t.same(other.events("suspension"), []);
  t.ok(one.sent.length < 600, "while the first still had much to do");
});

test("a reload that lowers the limit holds for both shards", async (t) => {
  const parts = { limits: { connectionsMax: 6, messagesPerConnectionMax: 20 } };
  const shards = openShards(2, parts) as Pair;
  const [one, other] = shards;
  one.host(host).transactionMs = 20;
  await one.acceptAll(many(1_500));
  await other.acceptAll(many(1_500));
  await one.advance(secondMs);
  t.equal(one.host(host).openMax, 6);
  for (const shard of shards) shard.reconfigure({ limits: { connectionsMax: 2, messagesPerConnectionMax: 20 } });
  await one.advance(2 * secondMs);
  one.host(host).openMax = 0;
  await one.advance(3 * secondMs);
  t.equal(one.host(host).openMax, 2);
  await one.advance(minuteMs);
  t.ok(one.isEmpty && other.isEmpty);
});

test("a shard that stops leaves its connections to the others", async (t) => {
  const [one, other] = openShards(2, { limits: { connectionsMax: 2 }, idleMs: minuteMs }) as Pair;
  one.host(host).transactionMs = 100;
  await one.acceptAll(many(200));
  await other.acceptAll(many(200));
  await one.advance(2 * secondMs);
  await one.answer(one.queue.stop(), minuteMs);
  const before = other.sent.length;
  await other.advance(5 * secondMs);
  t.ok(other.sent.length - before >= 80, `${other.sent.length - before} of 100 in 5 s with both connections`);
});
