// Stories of a reload: pools, limits, streams and sources change while mail is under way. And of shares.

import { test } from "tap";
import { minuteMs, secondMs } from "../../src/core/time.ts";
import { QueueWorld, type WorldParts } from "../support/queue-world.ts";

const many = (count: number, mail: object = {}) => Array.from({ length: count }, () => ({ from: "", ...mail }));

function counts(values: readonly string[]): Record<string, number> {
  const found: Record<string, number> = {};
  for (const value of values) found[value] = (found[value] ?? 0) + 1;
  return found;
}

test("sources share a pool's mail by their weights", async (t) => {
  const world = new QueueWorld({
    sources: ["a1", "a2", "a3"],
    pools: { all: { a1: 3, a2: 1, a3: 1 } },
    limits: { connectionsMax: 20 },
  });
  // One at a time: no lane is ever full, so that only the weights decide.
  for (let i = 0; i < 200; i++) await world.accept({ to: `u@d${i % 7}.example`, from: "" });
  await world.advance(secondMs);
  t.same(counts(world.sent.map(({ source }) => source)), { a1: 120, a2: 40, a3: 40 });
});

test("streams of one class share a full site by their shares", async (t) => {
  const world = new QueueWorld({
    limits: { connectionsMax: 1, rate: { count: 10, perMs: secondMs } },
    streams: { big: { share: 3 }, small: { share: 1 } },
  });
  await world.acceptAll([...many(600, { stream: "big" }), ...many(600, { stream: "small" })]);
  const streams = new Map<string, string>();
  await world.advance(minuteMs);
  for (const line of world.events("delivery")) streams.set(line.queueId ?? "", line.stream ?? "");
  // The first messages were dispatched before the second stream had any.
  const { big = 0, small = 0 } = counts(
    world
      .sentIds()
      .slice(100, 500)
      .map((queueId) => streams.get(queueId) ?? ""),
  );
  t.ok(Math.abs(big - 300) <= 8, `${big} of 400 are of the big stream, ${small} of the small one`);
});

test("domains of one site take turns, however few slots are free at a time", async (t) => {
  const domains = Object.fromEntries(
    ["b", "c", "d"].map((name) => [`${name}.example`, { site: "mx.big", host: "mx.big" }]),
  );
  const world = new QueueWorld({ limits: { connectionsMax: 1, rate: { count: 10, perMs: secondMs } }, domains });
  await world.acceptAll([
    ...many(400, { to: "u@b.example" }),
    ...many(400, { to: "u@c.example" }),
    ...many(400, { to: "u@d.example" }),
  ]);
  await world.advance(minuteMs);
  const shares = counts(world.sent.slice(100, 400).map(({ forwardPaths }) => forwardPaths[0] ?? ""));
  for (const domain of ["b", "c", "d"]) {
    const share = shares[`u@${domain}.example`] ?? 0;
    t.ok(Math.abs(share - 100) <= 5, `${domain}: ${share} of 300`);
  }
});

test("mail goes on over a pool's other source while one rests", async (t) => {
  const world = new QueueWorld({ sources: ["a1", "a2"] });
  world.host("mx.b.example").answer = ({ source }) => (source === "a1" ? 421 : 250);
  await world.acceptAll(many(100));
  await world.advance(4 * secondMs);
  t.equal(
    world.sent.filter(({ source }) => source === "a2").length,
    100 - world.sent.filter(({ source }) => source === "a1").length,
  );
  t.ok(world.queue.lanes().some(({ source, suspendedUntil }) => source === "a1" && suspendedUntil !== undefined));
});

test("a changed pool carries what is not under way yet", async (t) => {
  const parts: WorldParts = { sources: ["a1", "a2"], pools: { all: { a1: 1 } }, limits: { connectionsMax: 1 } };
  const world = new QueueWorld({ ...parts, hosts: { "mx.b.example": { transactionMs: 100 } } });
  await world.acceptAll(many(60));
  await world.advance(secondMs);
  world.reconfigure({ ...parts, pools: { all: { a2: 1 } } });
  await world.advance(10 * secondMs);
  const sources = world.sent.map(({ source }) => source);
  t.equal(sources.length, 60);
  t.equal(sources.at(-1), "a2");
  t.ok((counts(sources).a1 ?? 0) <= 25, "no more than what the first lane had ready");
});

test("changed limits hold at once: rate, connections, messages a connection", async (t) => {
  const world = new QueueWorld({
    limits: { connectionsMax: 1, rate: { count: 1, perMs: 60 * minuteMs } },
    hosts: { "mx.b.example": { transactionMs: 200 } },
  });
  await world.acceptAll(many(100));
  await world.advance(10 * secondMs);
  t.equal(world.sent.length, 1);
  world.reconfigure({
    limits: { connectionsMax: 4, rate: { count: 20, perMs: secondMs }, messagesPerConnectionMax: 5 },
  });
  await world.advance(10 * secondMs);
  t.equal(world.sent.length, 100);
  t.equal(world.host("mx.b.example").openMax, 4);
  const carried = Object.values(counts(world.sent.map(({ sessionId }) => sessionId)));
  t.ok(carried.filter((count) => count > 5).length <= 1, "connections opened since keep the new limit");
});

test("a removed stream's mail still goes out, over the default stream's pool", async (t) => {
  const streams = { news: {}, old: { pool: "gone" } };
  const world = new QueueWorld({
    sources: ["a1", "a2"],
    pools: { all: { a1: 1 }, gone: { a2: 1 } },
    streams,
    hosts: { "mx.b.example": { answer: 450 } },
  });
  const first = await world.acceptAll(many(20, { stream: "old" }));
  await world.advance(secondMs);
  world.host("mx.b.example").answer = 250;
  world.reconfigure({ sources: ["a1"], pools: { all: { a1: 1 } }, streams: { news: {} } });
  await world.advance(15 * minuteMs);
  t.same(world.sentIds().slice(20).sort(), first.sort());
  t.same(new Set(world.sent.slice(20).map(({ source }) => source)), new Set(["a1"]));
  await world.accept({ stream: "old", from: "" });
  await world.advance(secondMs);
  t.equal(world.sent.length, 41, "new mail for it is the default stream's");
  t.ok(world.isEmpty);
});

test("a removed source's lanes end: what is under way is finished, and nothing more goes over it", async (t) => {
  const world = new QueueWorld({
    sources: ["a1", "a2"],
    limits: { connectionsMax: 2 },
    hosts: { "mx.b.example": { transactionMs: 300 } },
  });
  world.signer = {
    signs: () => true,
    sign: () =>
      new Promise((resolve) => world.clock.after(50, () => resolve({ headers: Buffer.alloc(0), signedBy: [] }))),
  };
  await world.acceptAll(many(60));
  await world.advance(secondMs);
  world.reconfigure({ sources: ["a1"], limits: { connectionsMax: 2 } });
  const at = world.clock.now();
  await world.advance(secondMs);
  t.same(
    world.queue.lanes().map(({ source }) => source),
    ["a1"],
  );
  await world.advance(minuteMs);
  t.equal(world.sent.length, 60);
  t.ok(world.sent.filter(({ source }) => source === "a2").every((sent) => sent.at <= at + 300));
  t.ok(world.isEmpty);
});

test("a removed source that found the site unreachable does not keep the site waiting", async (t) => {
  const world = new QueueWorld({ sources: ["a1", "a2"], pools: { all: { a1: 1 } } });
  world.host("mx.b.example").connect = "refuse";
  await world.acceptAll(many(10));
  await world.advance(secondMs);
  world.host("mx.b.example").connect = "open";
  world.reconfigure({ sources: ["a2"], pools: { all: { a2: 1 } } });
  await world.advance(minuteMs);
  t.ok(world.sent.length >= 9, `${world.sent.length} went over the other source`);
});

test("a source taken out and put back carries mail again", async (t) => {
  const parts: WorldParts = {
    sources: ["a1", "a2"],
    pools: { all: { a1: 1 } },
    limits: { rate: { count: 60, perMs: minuteMs } },
  };
  const world = new QueueWorld(parts);
  await world.acceptAll(many(10));
  await world.advance(2 * secondMs);
  world.reconfigure({ ...parts, sources: ["a2"], pools: { all: { a2: 1 } } });
  await world.advance(secondMs);
  world.reconfigure(parts);
  await world.advance(minuteMs);
  t.equal(world.sent.length, 10);
});

test("a source with a new address uses it for new connections", async (t) => {
  const world = new QueueWorld({ sources: ["a1"], limits: { connectionsMax: 1 }, idleMs: minuteMs });
  await world.accept();
  await world.advance(secondMs);
  // In this config a1 stands second, and so has another address.
  world.reconfigure({ sources: ["a0", "a1"], pools: { all: { a1: 1 } }, limits: { connectionsMax: 1 } });
  await world.accept();
  await world.advance(secondMs);
  t.equal(new Set(world.sent.map(({ sessionId }) => sessionId)).size, 2);
  t.same(
    world.sent.map(({ address }) => address),
    ["198.51.100.1", "198.51.100.2"],
  );
});

test("exchanger sets of one site share its connections, and none starves", async (t) => {
  const domains = { "b.example": { site: "big", host: "mx1.big" }, "c.example": { site: "big", host: "mx2.big" } };
  const world = new QueueWorld({ limits: { connectionsMax: 1 }, domains });
  await world.acceptAll([...many(300, { to: "u@b.example" }), ...many(20, { to: "u@c.example" })]);
  await world.until(() => world.sentIds("mx2.big").length === 20, minuteMs);
  t.equal(world.sentIds("mx2.big").length, 20);
  await world.advance(minuteMs);
  t.equal(world.sent.length, 320);
  t.ok(world.host("mx1.big").openMax <= 1 && world.host("mx2.big").openMax <= 1);
});

test("a dead set of exchangers does not rest the other sets of its site", async (t) => {
  const domains = { "b.example": { site: "big", host: "mx1.big" }, "c.example": { site: "big", host: "mx2.big" } };
  const world = new QueueWorld({ domains, hosts: { "mx1.big": { connect: "refuse" } } });
  await world.acceptAll(many(50, { to: "u@b.example" }));
  await world.advance(minuteMs);
  await world.acceptAll(many(5, { to: "u@c.example" }));
  await world.advance(2 * secondMs);
  t.equal(world.sentIds("mx2.big").length, 5);
});
