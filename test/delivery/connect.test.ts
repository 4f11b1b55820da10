// From a plan to a session: the order of exchangers, banner, EHLO, STARTTLS, and what is told when nothing works.

import { test } from "tap";
import type { TlsInfo } from "../../src/core/attempt.ts";
import type { Fault } from "../../src/core/outcome.ts";
import type { Exchanger } from "../../src/core/plan.ts";
import { inOrder } from "../../src/delivery/connect.ts";
import { newQuirks, openConnection } from "../../src/delivery/delivery.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { RecordingFeed, specOf, testTimeouts, workOf } from "../support/lane-work.ts";
import { goodTls, type PeerBehaviour, SimNetwork, scripted } from "../support/scripted-peer.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock } from "../support/sim-clock.ts";

type Receiver = PeerBehaviour | "refuse" | "blackhole";

/** Delivers one message over the exchangers, each with its addresses, and runs until the connection is over. */
async function reach(
  receivers: Readonly<Record<string, Receiver>>,
  spec: Parameters<typeof specOf>[0] = {},
  isAllowedAddress: (address: string) => boolean = () => true,
) {
  const clock = new SimClock();
  const network = new SimNetwork();
  for (const [address, receiver] of Object.entries(receivers)) network.receivers.set(address, receiver);
  const work = workOf();
  const feed = new RecordingFeed([work]);
  const random = new SeededRandom(1);
  const exchangers = Object.keys(receivers).map((address, i) => ({
    host: `mx${i}.b.example`,
    preference: i,
    addresses: [address],
  }));
  const options = { timeouts: testTimeouts, isAllowedAddress, quirks: newQuirks(clock) };
  openConnection({ clock, random, network, log: silentLog }, options, specOf({ exchangers, ...spec }), feed);
  for (let turns = 0; !feed.isClosed; turns++) {
    if (turns > 3_000) throw new Error("the connection does not end");
    await clock.advance(turns < 100 ? 0 : 1_000);
  }
  await clock.advance(60_000);
  return { feed, network, clock, outcome: feed.outcomes(work)[0], tried: network.sessions.length };
}

function told(fault: Fault | undefined): string {
  if (fault === undefined) return "nothing";
  if (fault.kind === "reply") return `${fault.stage} ${fault.reply.code}`;
  return fault.kind === "policy" ? fault.rule : `${fault.kind} ${fault.stage}`;
}

test("exchangers are tried by preference, and at random among equals", (t) => {
  const exchangers: Exchanger[] = [20, 10, 10, 10, 5].map((preference, i) => ({
    host: `mx${i}`,
    preference,
    addresses: ["192.0.2.1"],
  }));
  const seen = new Set<string>();
  for (let seed = 0; seed < 50; seed++) {
    const order = inOrder(exchangers, new SeededRandom(seed)).map((exchanger) => exchanger.host);
    t.equal(order[0], "mx4");
    t.equal(order[4], "mx0");
    seen.add(order.slice(1, 4).join());
  }
  t.equal(seen.size, 6, "all orders of the three equals occur");
  t.end();
});

test("any fault of one exchanger leads to the next", async (t) => {
  const faults: Record<string, Receiver> = {
    refused: "refuse",
    "no answer to the SYN": "blackhole",
    "a 554 banner": { banner: "554 5.7.1 your address is blocked" },
    "a 421 banner": { banner: "421 4.3.2 busy" },
    "a 521 banner": { banner: { reply: "521 no mail here", ending: "close" } },
    "a close before the banner": { banner: { reply: "", ending: "close" } },
    "a reset after EHLO": { answer: (line) => (line.startsWith("EHLO") ? { reply: "", ending: "reset" } : undefined) },
    "a 421 to EHLO": { answer: (line) => (line.startsWith("EHLO") ? "421 4.3.2 not now" : undefined) },
    "no banner at all": { banner: { reply: "", ending: "hang" } },
    "silence after EHLO": { answer: (line) => (line.startsWith("EHLO") ? { reply: "", ending: "hang" } : undefined) },
    "HTTP instead of SMTP": { banner: "HTTP/1.1 400 Bad Request" },
    "a reply of a mebibyte": { banner: `220-${"x".repeat(1_000)}\r\n`.repeat(1_000) },
    "an octet NUL": { banner: "220 he\0llo" },
    "a reply that changes its code": { banner: "220-one\r\n250 two" },
  };
  for (const [name, receiver] of Object.entries(faults)) {
    const { outcome, feed } = await reach({ "192.0.2.1": receiver, "192.0.2.2": {} });
    t.equal(outcome, "delivered", name);
    t.same(feed.failures, [], name);
    t.equal(feed.remote?.address, "192.0.2.2");
  }
});

test("when no exchanger can be had, the most telling fault is told, and no work is taken", async (t) => {
  const blocked: PeerBehaviour = { banner: "554 5.7.1 your address is blocked" };
  const cases: [Record<string, Receiver>, string][] = [
    [{ "192.0.2.1": "refuse" }, "network connect"],
    [{ "192.0.2.1": "refuse", "192.0.2.2": blocked, "192.0.2.3": "blackhole" }, "banner 554"],
    [{ "192.0.2.1": blocked, "192.0.2.2": { banner: "421 4.3.2 busy" } }, "banner 421"],
    [{ "192.0.2.1": "refuse", "192.0.2.2": { banner: { reply: "", ending: "close" } } }, "network banner"],
    [{ "192.0.2.1": { banner: "521 no mail here" } }, "banner 521"],
  ];
  for (const [receivers, wanted] of cases) {
    const { feed, outcome } = await reach(receivers);
    t.equal(told(feed.failures[0]), wanted);
    t.same(feed.log, ["failed", "closed"]);
    t.equal(outcome, "unsettled");
    t.equal(feed.given.size, 0);
  }
});

test("an internal address is not connected to, by plan or by surprise", async (t) => {
  const none = await reach({ "127.0.0.1": {} }, {}, (address) => !address.startsWith("127."));
  t.equal(told(none.feed.failures[0]), "internal-address");
  t.equal(none.tried, 0);
  const next = await reach({ "127.0.0.1": {}, "192.0.2.2": {} }, {}, (address) => !address.startsWith("127."));
  t.equal(next.outcome, "delivered");
  let asked = 0;
  const changed = await reach({ "192.0.2.1": {} }, {}, () => ++asked === 1);
  t.equal(told(changed.feed.failures[0]), "internal-address");
  t.equal(changed.network.sessions[0]?.writes.length, 0);
});

test("a peer that does not know EHLO is greeted with HELO and gets plain SMTP", async (t) => {
  const { outcome, network } = await reach({
    "192.0.2.1": scripted([
      { expect: "EHLO out.example.org", answer: "502 5.5.1 what?" },
      { expect: "HELO out.example.org", answer: "250 hello" },
      { expect: "MAIL FROM:<s@example.org>", answer: "250 ok" },
      { expect: "RCPT TO:<a@b.example>", answer: "250 ok" },
      { expect: "DATA", answer: "354 go" },
      { expect: "QUIT", answer: "221 bye" },
    ]),
  });
  t.equal(outcome, "delivered");
  t.equal(network.delivered.length, 1);
});

test("with STARTTLS the session begins anew, and only what is said in TLS counts", async (t) => {
  const { outcome, feed, network } = await reach({
    "192.0.2.1": { extensions: ["STARTTLS", "CHUNKING", "PIPELINING"], extensionsInTls: ["8BITMIME"] },
  });
  t.equal(outcome, "delivered");
  t.same(feed.tls, goodTls);
  const commands = network.sessions[0]?.commands.map((line) => line.split(" ")[0]);
  t.same(commands, ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
});

test("what a peer injects in clear behind its 220 is not obeyed", async (t) => {
  for (const injected of ["250 evil\r\n", "250-evil\r\n250 CHUNKING\r\n", "2"]) {
    const evil: PeerBehaviour = {
      extensions: ["STARTTLS"],
      answer: (line, session) => {
        if (line !== "STARTTLS") return undefined;
        session.sendRaw(`220 go\r\n${injected}`);
        return "";
      },
    };
    const alone = await reach({ "192.0.2.1": evil });
    t.equal(told(alone.feed.failures[0]), "network starttls", JSON.stringify(injected));
    t.equal(alone.tried, 1, "it is not gone back to in clear either");
    t.equal(alone.network.sessions[0]?.inTls, false);
    t.equal((await reach({ "192.0.2.1": evil, "192.0.2.2": {} })).outcome, "delivered");
  }
});

test("opportunistic TLS that fails in the handshake is done without, once, in a new connection", async (t) => {
  for (const tls of ["fails", "hangs"] as const) {
    const { outcome, feed, tried } = await reach({ "192.0.2.1": { extensions: ["STARTTLS"], tls } });
    t.equal(outcome, "delivered");
    t.equal(feed.tls, undefined);
    t.equal(tried, 2);
  }
});

test("opportunistic TLS goes on in clear when STARTTLS is refused, and with a certificate that does not verify", async (t) => {
  const refused = await reach({
    "192.0.2.1": {
      extensions: ["STARTTLS"],
      answer: (line) => (line === "STARTTLS" ? "454 4.7.0 TLS not available" : undefined),
    },
  });
  t.equal(refused.outcome, "delivered");
  t.equal(refused.tried, 1);
  const unverified: TlsInfo = { ...goodTls, verified: false };
  const selfSigned = await reach({ "192.0.2.1": { extensions: ["STARTTLS"], tls: unverified } });
  t.equal(selfSigned.outcome, "delivered");
  t.equal(selfSigned.feed.tls?.verified, false);
});

test("required TLS is never done without", async (t) => {
  const cases: [PeerBehaviour, string][] = [
    [{}, "require-tls"],
    [{ extensions: ["STARTTLS"], tls: "fails" }, "network starttls"],
    [
      { extensions: ["STARTTLS"], answer: (line) => (line === "STARTTLS" ? "454 4.7.0 no" : undefined) },
      "starttls 454",
    ],
  ];
  for (const [behaviour, wanted] of cases) {
    const { feed, tried, outcome } = await reach({ "192.0.2.1": behaviour }, { tls: "required" });
    t.equal(told(feed.failures[0]), wanted);
    t.equal(tried, 1);
    t.equal(outcome, "unsettled");
  }
  t.equal((await reach({ "192.0.2.1": { extensions: ["STARTTLS"] } }, { tls: "required" })).outcome, "delivered");
});

test("TLS that is off is not asked for", async (t) => {
  const { outcome, network } = await reach({ "192.0.2.1": { extensions: ["STARTTLS"] } }, { tls: "off" });
  t.equal(outcome, "delivered");
  t.equal(network.sessions[0]?.commands.includes("STARTTLS"), false);
});

test("only so many addresses of a plan are tried", async (t) => {
  const receivers: Record<string, Receiver> = {};
  for (let i = 1; i <= 20; i++) receivers[`192.0.2.${i}`] = { banner: "554 no" };
  t.equal((await reach(receivers)).tried, 8);
});
