// Stories of mail on its way: what becomes of a message after each answer that an exchanger may give.

import { test } from "tap";
import { dayMs, minuteMs, secondMs } from "../../src/core/time.ts";
import { QueueWorld } from "../support/queue-world.ts";

test("accepted mail is delivered and leaves nothing in the spool", async (t) => {
  const world = new QueueWorld();
  const queueId = await world.accept({ to: ["a@b.example", "b@b.example", "c@c.example"] });
  await world.advance(secondMs);
  t.same(
    world.sent.map(({ host, forwardPaths }) => [host, forwardPaths]),
    [
      ["mx.b.example", ["a@b.example", "b@b.example"]],
      ["mx.c.example", ["c@c.example"]],
    ],
  );
  t.match(world.sent[0]?.content, `Message-ID: <${queueId}@`);
  t.ok(world.isEmpty);
  t.same(world.story(queueId).sort(), ["delivery", "delivery", "delivery", "reception", "reception", "reception"]);
  t.same(world.spool.readOutbox(0, 10), []);
  t.same(world.queue.queues({}), []);
  t.same(world.queue.depth(), []);
});

test("a transient reply is tried again by the stream's schedule, whose last wait repeats", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 450 } } });
  const queueId = await world.accept();
  const waits: number[] = [];
  await world.advance(secondMs);
  for (let i = 0; i < 4; i++) {
    const before = world.sent.at(-1)?.at ?? 0;
    t.equal(world.attempts(queueId), i + 1);
    await world.advance(world.dueInMs(queueId) + secondMs);
    waits.push((world.sent.at(-1)?.at ?? 0) - before);
  }
  const expected = [10, 20, 60, 60].map((minutes) => minutes * minuteMs);
  for (const [i, wait] of waits.entries()) {
    const least = expected[i] as number;
    t.ok(wait >= least && wait <= least * 1.1 + 2 * secondMs, `wait ${i + 1} of ${wait} ms`);
  }
});

test("mixed recipients each get their own state, and only the pending ones are tried again", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: [250, 450, 550, "unknown"] } } });
  const to = ["a@b.example", "b@b.example", "c@b.example", "d@b.example"];
  const queueId = await world.accept({ to, from: "" });
  await world.advance(secondMs);
  t.same(world.states(queueId), [
    "a@b.example delivered",
    "b@b.example pending",
    "c@b.example failed",
    "d@b.example pending",
  ]);
  t.same(
    world
      .events("delivery", "transient-failure", "bounce", "unknown-outcome")
      .map((event) => [event.kind, event.forwardPath]),
    [
      ["delivery", "a@b.example"],
      ["transient-failure", "b@b.example"],
      ["bounce", "c@b.example"],
      ["unknown-outcome", "d@b.example"],
    ],
  );
  world.host("mx.b.example").answer = 250;
  await world.advance(world.dueInMs(queueId) + secondMs);
  t.same(world.sent[1]?.forwardPaths, ["b@b.example", "d@b.example"]);
  t.ok(world.isEmpty);
});

test("a 421 before MAIL leaves every recipient pending and suspends the lane", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { closesAfter: 0 } } });
  const queueId = await world.accept({ to: ["a@b.example", "b@b.example"] });
  await world.advance(secondMs);
  t.same(world.states(queueId), ["a@b.example pending", "b@b.example pending"]);
  t.equal(world.attempts(queueId), 0, "nobody was asked, so nothing is charged");
  t.same(world.sent, []);
  const [lane] = world.queue.lanes();
  t.match(lane?.suspendedBecause, /421/);
  t.equal(world.events("suspension").length, 1);
  world.host("mx.b.example").closesAfter = 10;
  await world.advance(10 * secondMs);
  t.ok(world.isEmpty);
  t.equal(world.events("resumption").length, 1);
});

test("mail that a suspended lane gives back leaves its place in memory to other mail", async (t) => {
  const hosts = { "mx.b.example": { connect: "banner-421" as const, connectMs: 100 } };
  const world = new QueueWorld({ hosts, limits: { connectionsMax: 100 } });
  const read = world.spool.readContent.bind(world.spool);
  const reads: string[] = [];
  world.spool.readContent = (queueId) => {
    reads.push(queueId);
    return read(queueId);
  };
  // As much as may be kept in memory, and all of it ready when the lane is suspended.
  const body = `${"x".repeat(996)}\r\n`.repeat(240);
  await world.acceptAll(Array.from({ length: 150 }, () => ({ to: "a@b.example", body })));
  t.ok(await world.until(() => world.events("suspension").length > 0, 2 * secondMs));
  await world.acceptAll(Array.from({ length: 20 }, () => ({ to: "c@c.example", body })));
  await world.advance(secondMs);
  t.equal(world.sent.length, 20);
  t.same(reads, [], "all of it was sent from memory");
});

test("a 421 to MAIL charges its message only and suspends the lane, for longer each time", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 421 } }, limits: { connectionsMax: 1 } });
  const ids = await world.acceptAll([{}, {}, {}, {}, {}, {}, {}, {}]);
  await world.advance(secondMs);
  t.same(
    ids.map((queueId) => world.attempts(queueId)),
    [1, 0, 0, 0, 0, 0, 0, 0],
  );
  await world.advance(3 * minuteMs);
  const gaps = world.sent.slice(1).map(({ at }, i) => Math.round((at - (world.sent[i]?.at ?? 0)) / secondMs));
  t.same(gaps.slice(0, 4), [5, 10, 20, 40], "a peer that greets and then refuses is not asked every five seconds");
});

test("a 421 after some mail only ends the session", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { closesAfter: 3 } }, limits: { connectionsMax: 1 } });
  await world.acceptAll(Array.from({ length: 10 }, () => ({})));
  await world.advance(2 * secondMs);
  t.ok(world.isEmpty);
  t.equal(new Set(world.sent.map(({ sessionId }) => sessionId)).size, 4);
  t.same(world.events("suspension"), []);
});

test("a 421 to MAIL after other mail charges nobody: the message goes out with the next connection", async (t) => {
  const world = new QueueWorld({ limits: { connectionsMax: 1 } });
  const carried = new Map<string, number>();
  world.host("mx.b.example").answer = ({ sessionId }) => {
    carried.set(sessionId, (carried.get(sessionId) ?? 0) + 1);
    return (carried.get(sessionId) ?? 0) > 3 ? 421 : 250;
  };
  const ids = await world.acceptAll(Array.from({ length: 10 }, () => ({})));
  await world.advance(2 * secondMs);
  t.ok(world.isEmpty);
  t.same(
    world.sent.filter(({ answer }) => answer === 250).map(({ queueId }) => queueId),
    ids,
  );
  t.same(world.events("suspension", "transient-failure"), []);
});

test("a session whose mail was taken for some recipients only has carried something all the same", async (t) => {
  const world = new QueueWorld({
    hosts: { "mx.b.example": { closesAfter: 2, answer: [250, 550] } },
    limits: { connectionsMax: 1 },
  });
  await world.acceptAll(Array.from({ length: 4 }, () => ({ to: ["a@b.example", "x@b.example"], from: "" })));
  await world.advance(2 * secondMs);
  t.ok(world.isEmpty);
  t.same(world.events("suspension"), []);
});

test("failure to connect charges one attempt and rests the exchangers, and other domains go on", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { connect: "refuse" } } });
  const ids = await world.acceptAll([{}, {}, {}, { to: "x@c.example" }]);
  await world.advance(secondMs);
  t.same(
    ids.slice(0, 3).map((queueId) => world.attempts(queueId)),
    [1, 0, 0],
  );
  t.equal(world.sentIds("mx.c.example").length, 1);
  world.host("mx.b.example").connect = "open";
  await world.advance(5 * secondMs);
  t.equal(world.sentIds("mx.b.example").length, 2, "those that were not charged go with the end of the rest");
  t.match(
    world.events("suspension", "resumption").map(({ reason }) => reason),
    [/^exchangers 10 mx\.b\.example: connect: /, /^exchangers 10 mx\.b\.example$/],
    "the log says who rested",
  );
  await world.advance(11 * minuteMs);
  t.ok(world.isEmpty);
});

test("a source without a port left rests, and no message is charged for it", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { connect: "no-port" } } });
  const queueId = await world.accept();
  await world.advance(secondMs);
  t.equal(world.attempts(queueId), 0);
  t.equal(world.queue.lanes()[0]?.suspendedUntil !== undefined, true);
  t.equal(world.events("suspension").length, 1, "the log says so at once, though no mail moved");
});

test("an unknown outcome waits at least a quarter of an hour, and goes nowhere meanwhile", async (t) => {
  const world = new QueueWorld({
    sources: ["a1", "a2"],
    hosts: { "mx.b.example": { answer: "unknown" } },
    streams: { receipts: { class: "realtime", expireMs: 60 * minuteMs, retryMs: [5 * secondMs] } },
  });
  const queueId = await world.accept();
  await world.advance(14 * minuteMs + 55 * secondMs);
  t.equal(world.sent.length, 1);
  t.equal(world.attempts(queueId), 1);
  world.host("mx.b.example").answer = 250;
  await world.advance(2 * minuteMs);
  t.equal(world.sent.length, 2);
  t.ok(world.isEmpty);
  t.same(world.story(queueId), ["reception", "unknown-outcome", "delivery"]);
});

test("an unknown outcome waits over a crash too", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: "unknown" } } });
  await world.accept();
  await world.advance(minuteMs);
  await world.restart("crash");
  await world.advance(13 * minuteMs);
  t.equal(world.sent.length, 1);
});

test("the policies for unknown outcomes: bounce tells the sender, assume-delivered tells nobody", async (t) => {
  for (const [unknownOutcome, story] of [
    ["bounce", ["reception", "unknown-outcome", "bounce"]],
    ["assume-delivered", ["reception", "unknown-outcome", "delivery"]],
  ] as const) {
    const world = new QueueWorld({ hosts: { "mx.b.example": { answer: "unknown" } }, delivery: { unknownOutcome } });
    const queueId = await world.accept();
    await world.advance(5 * secondMs);
    t.same(world.story(queueId), story);
    t.equal(world.sentIds("mx.b.example").length, 1);
    t.equal(world.sentIds("mx.sender.example").length, unknownOutcome === "bounce" ? 1 : 0);
    t.ok(world.isEmpty);
  }
});

test("an expired message ends without a further attempt, and its sender is told", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { connect: "refuse" } } });
  await world.answer(world.queue.hold({ domain: "c.example" }, "test", "op"));
  const queueId = await world.accept({ to: "x@c.example" });
  await world.advance(5 * dayMs);
  await world.answer(world.queue.release({ domain: "c.example" }, "op"));
  await world.advance(5 * secondMs);
  t.same(world.sentIds("mx.c.example"), []);
  t.same(world.story(queueId), ["reception", "expiration"]);
  t.match(world.sent[0]?.content, /delivery-status/);
  t.same(world.sent[0]?.forwardPaths, ["app@sender.example"]);
});

test("mail for a dead host is tried to the end of its life, and then expires", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: 450 } } });
  const queueId = await world.accept({ from: "" });
  await world.advance(4 * dayMs + minuteMs);
  t.equal(world.story(queueId).at(-1), "expiration");
  t.equal(world.story(queueId).filter((kind) => kind === "expiration").length, 1);
  t.ok((world.sent.at(-1)?.at ?? 0) >= (world.sent[0]?.at ?? 0) + 4 * dayMs - 70 * minuteMs);
  t.ok(world.isEmpty);
});

test("real-time mail goes before batch at the same site", async (t) => {
  const world = new QueueWorld({ limits: { connectionsMax: 1, rate: { count: 1, perMs: secondMs } } });
  await world.acceptAll(Array.from({ length: 30 }, () => ({ stream: "news" })));
  await world.advance(5 * secondMs);
  const receipts = await world.acceptAll(Array.from({ length: 3 }, () => ({ stream: "receipts" })));
  const before = world.sent.length;
  await world.advance(6 * secondMs);
  t.same(world.sentIds().slice(before, before + 3), receipts, "they are next, though batch mail was ready before them");
});

test("a dead or slow domain never delays another", async (t) => {
  const world = new QueueWorld({
    hosts: {
      "mx.dead.example": { connect: "refuse", connectMs: 30_000 },
      "mx.slow.example": { transactionMs: 60_000 },
    },
  });
  const bad = Array.from({ length: 200 }, (_, i) => ({ to: `u@${i % 2 === 0 ? "dead" : "slow"}.example` }));
  await world.acceptAll(bad);
  const before = world.clock.now();
  const ids = await world.acceptAll(Array.from({ length: 50 }, () => ({ to: "u@good.example" })));
  await world.until(() => world.sentIds("mx.good.example").length === 50);
  t.same(world.sentIds("mx.good.example"), ids);
  t.ok(world.clock.now() - before < 2 * secondMs, `took ${world.clock.now() - before} ms`);
});

test("mail for a domain that DNS does not know now waits, and the first of it is charged", async (t) => {
  const world = new QueueWorld();
  world.dns.set("b.example", { kind: "transient", fault: { kind: "dns", stage: "resolve", message: "SERVFAIL" } });
  const ids = await world.acceptAll([{}, {}, {}]);
  await world.advance(secondMs);
  t.same(
    ids.map((queueId) => world.attempts(queueId)),
    [1, 0, 0],
  );
  t.match(world.queue.queues({})[0]?.waitsFor, /another try at/);
  world.dns.clear();
  await world.advance(11 * minuteMs);
  t.ok(world.isEmpty);
});

test("mail that expired while DNS was silent ends with the next look, all of it", async (t) => {
  const world = new QueueWorld({ streams: { news: { expireMs: 20 * minuteMs, retryMs: [minuteMs] } } });
  world.dns.set("b.example", { kind: "transient", fault: { kind: "dns", stage: "resolve", message: "SERVFAIL" } });
  await world.acceptAll(Array.from({ length: 300 }, () => ({ from: "" })));
  await world.advance(45 * minuteMs);
  t.equal(world.events("expiration").length, 300);
  t.ok(world.isEmpty);
});

test("mail for a domain that takes none fails at once, however much of it there is", async (t) => {
  const world = new QueueWorld();
  world.dns.set("b.example", {
    kind: "permanent",
    fault: { kind: "policy", rule: "null-mx", message: "the domain takes no mail" },
  });
  await world.acceptAll(Array.from({ length: 180 }, () => ({ from: "" })));
  await world.advance(5 * secondMs);
  t.equal(world.events("bounce").length, 180);
  t.ok(world.isEmpty);
});

test("messages that connections give back are not charged, but not for ever", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.b.example": { answer: "returned" } }, limits: { connectionsMax: 1 } });
  const queueId = await world.accept();
  await world.until(() => world.sent.length === 3);
  t.equal(world.attempts(queueId), 0);
  await world.advance(secondMs);
  t.equal(world.sent.length, 4);
  t.equal(world.attempts(queueId), 1);
  t.ok(
    world.queue.lanes()[0]?.suspendedUntil !== undefined,
    "a peer that drops every session is left alone for a while",
  );
});

test("a connection refused beside others lowers the ceiling for a minute", async (t) => {
  const world = new QueueWorld({
    limits: { connectionsMax: 10 },
    hosts: { "mx.b.example": { connect: (open) => (open < 3 ? "open" : "refuse"), transactionMs: 500 } },
  });
  const ids = await world.acceptAll(Array.from({ length: 300 }, () => ({})));
  await world.advance(30 * secondMs);
  const host = world.host("mx.b.example");
  t.equal(host.openMax, 3);
  t.equal(world.queue.lanes()[0]?.connections.max, 3);
  t.ok(host.connects.length <= 11, `${host.connects.length} connects`);
  t.same(world.events("suspension", "transient-failure"), []);
  host.connect = "open";
  await world.advance(40 * secondMs);
  t.equal(world.sent.length, ids.length);
  t.ok(world.isEmpty);
});

test("a rate limit keeps its rate over an hour, to the message", async (t) => {
  const world = new QueueWorld({ limits: { rate: { count: 600, perMs: 60 * minuteMs }, connectionsMax: 5 } });
  await world.acceptAll(Array.from({ length: 700 }, () => ({})));
  const start = world.clock.now();
  await world.advance(60 * minuteMs);
  const count = world.sent.filter(({ at }) => at < start + 60 * minuteMs).length;
  t.ok(count >= 599 && count <= 601, `${count} messages in an hour`);
  const gaps = world.sent.slice(1).map(({ at }, i) => at - (world.sent[i]?.at ?? 0));
  t.ok(Math.min(...gaps) >= 5_900, `never two within ${Math.min(...gaps)} ms`);
});

test("a limit of new connections is kept too", async (t) => {
  const world = new QueueWorld({
    limits: { connectionRate: { count: 6, perMs: minuteMs }, messagesPerConnectionMax: 1, connectionsMax: 10 },
  });
  await world.acceptAll(Array.from({ length: 50 }, () => ({})));
  await world.advance(5 * minuteMs);
  const connects = world.host("mx.b.example").connects.length;
  t.ok(connects >= 30 && connects <= 31, `${connects} connects in five minutes`);
  await world.advance(secondMs);
  t.equal(world.sent.length, connects);
});

test("mail that expires while it waits for a slot of its lane is not sent any more", async (t) => {
  const world = new QueueWorld({
    limits: { connectionsMax: 1, rate: { count: 1, perMs: 10 * minuteMs } },
    streams: { news: { expireMs: 25 * minuteMs, retryMs: [minuteMs] } },
  });
  await world.acceptAll(Array.from({ length: 6 }, () => ({ from: "" })));
  await world.advance(60 * minuteMs);
  t.equal(world.sent.length, 3);
  t.equal(world.events("expiration").length, 3);
  t.ok(world.isEmpty);
});

test("lane and site memory is given back when nothing happens there any more", async (t) => {
  const world = new QueueWorld({ hosts: { "mx.dead.example": { answer: 550 } } });
  for (let i = 0; i < 20; i++) await world.accept({ to: `u@d${i}.example` });
  await world.advance(secondMs);
  t.ok(world.queue.lanes().length > 0);
  await world.advance(3 * minuteMs);
  t.same(world.queue.lanes(), []);
  t.same(world.queue.queues({}), []);
});
