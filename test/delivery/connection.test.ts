// The life of a connection: rest, wake, drain, and what a peer may do meanwhile.

import { test } from "tap";
import { newQuirks, openConnection } from "../../src/delivery/delivery.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { RecordingFeed, specOf, testTimeouts, workOf } from "../support/lane-work.ts";
import { type PeerBehaviour, type PeerSession, SimNetwork } from "../support/scripted-peer.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock } from "../support/sim-clock.ts";

const extensions = ["PIPELINING", "CHUNKING"];

function open(behaviour: PeerBehaviour = { extensions }, feed = new RecordingFeed()) {
  const clock = new SimClock();
  const network = new SimNetwork();
  network.receivers.set("192.0.2.1", behaviour);
  const ports = { clock, random: new SeededRandom(1), network, log: silentLog };
  const options = { timeouts: testTimeouts, isAllowedAddress: () => true, quirks: newQuirks(clock) };
  const connection = openConnection(ports, options, specOf(), feed);
  const turn = async () => {
    for (let i = 0; i < 30; i++) await clock.advance(0);
  };
  return { clock, feed, connection, turn, network, session: () => network.sessions[0] as PeerSession };
}

test("a connection without work rests, takes work when woken, and says QUIT after its idle time", async (t) => {
  const { clock, feed, connection, turn, session } = open();
  t.equal(connection.state, "connecting");
  await turn();
  t.equal(connection.state, "idle");
  await clock.advance(4_000);
  const work = workOf();
  feed.waiting.push(work);
  connection.wake();
  t.equal(connection.state, "busy");
  await turn();
  t.same(feed.outcomes(work), ["delivered"]);
  t.equal(connection.state, "idle");
  await clock.advance(4_000);
  t.equal(connection.state, "idle");
  await clock.advance(1_500);
  await turn();
  t.equal(connection.state, "closed");
  t.equal(session().commands.at(-1), "QUIT");
  t.same(feed.log, ["opened", `settled ${work.message.queueId}`, "closed"]);
});

test("waking for nothing does no harm", async (t) => {
  const { connection, turn, feed } = open();
  await turn();
  for (let i = 0; i < 3; i++) {
    connection.wake();
    connection.wake();
    await turn();
    t.equal(connection.state, "idle");
  }
  connection.drain();
  await turn();
  t.equal(feed.isClosed, true);
});

test("a 421 at rest is told, a close at rest is not, and both end the connection", async (t) => {
  const told = open();
  await told.turn();
  told.session().say({ reply: "421 4.4.2 idle for too long", ending: "close" });
  await told.turn();
  t.equal(told.feed.isClosed, true);
  t.match(told.feed.closings, [{ kind: "reply", reply: { code: 421 } }]);
  const quiet = open();
  await quiet.turn();
  quiet.session().end("reset");
  await quiet.turn();
  t.equal(quiet.feed.isClosed, true);
  t.same(quiet.feed.closings, []);
  t.equal(quiet.clock.pendingTimers, 0);
});

test("drain lets the transaction under way end, and takes no more", async (t) => {
  const works = [workOf(), workOf(), workOf()];
  const feed = new RecordingFeed(works);
  const { connection, turn, session } = open({ extensions: ["PIPELINING"] }, feed);
  feed.onSettled = () => connection.drain();
  await turn();
  t.equal(feed.isClosed, true);
  t.equal(feed.results.size, feed.given.size, "what was taken is settled");
  t.ok(feed.given.size < 3);
  t.equal(session().commands.at(-1), "QUIT");
});

test("drain ends an attempt to connect at once", async (t) => {
  const { connection, feed, turn, clock } = open({ banner: { reply: "", ending: "hang" } });
  await clock.advance(0);
  await clock.advance(0);
  connection.drain();
  t.equal(connection.state, "closed");
  t.same(feed.log, ["closed"]);
  await turn();
  t.same(feed.log, ["closed"]);
  t.equal(clock.pendingTimers, 0);
});

test("drain before the socket is there leaves nothing behind", async (t) => {
  const { connection, feed, turn, session } = open();
  connection.drain();
  await turn();
  t.same(feed.log, ["closed"]);
  t.equal(session().hasClientClosed, true);
});

test("a peer that does not answer QUIT does not keep the connection", async (t) => {
  const { connection, feed, turn, clock } = open({
    extensions,
    answer: (line) => (line === "QUIT" ? { reply: "", ending: "hang" } : undefined),
  });
  await turn();
  connection.drain();
  await turn();
  t.equal(feed.isClosed, false);
  await clock.advance(6_000);
  t.equal(feed.isClosed, true);
});

test("each phase has its deadline", async (t) => {
  const hang = (verb: string): PeerBehaviour => ({
    extensions: ["8BITMIME"],
    answer: (line) => (line.startsWith(verb) ? { reply: "", ending: "hang" } : undefined),
  });
  for (const [verb, limitMs, wanted] of [
    ["MAIL", testTimeouts.mailMs, "transient mail"],
    ["RCPT", testTimeouts.rcptMs, "transient rcpt"],
    ["DATA", testTimeouts.dataMs, "transient data"],
  ] as const) {
    const work = workOf();
    const { feed, clock, turn } = open(hang(verb), new RecordingFeed([work]));
    await turn();
    await clock.advance(limitMs - 1_000);
    t.same(feed.outcomes(work), ["unsettled"]);
    await clock.advance(2_000);
    t.same(feed.outcomes(work), [wanted]);
    t.equal(feed.isClosed, true);
  }
});
