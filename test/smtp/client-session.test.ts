// One session: replies in order, whatever the cut; ends are told once; no timer per command.

import { test } from "tap";
import type { Stage } from "../../src/core/outcome.ts";
import {
  ClientSession,
  command,
  type ClientSession as Session,
  tlsFailureText,
} from "../../src/smtp/client-session.ts";
import { type PeerBehaviour, type PeerSession, SimNetwork } from "../support/scripted-peer.ts";
import { SimClock } from "../support/sim-clock.ts";

const stages: readonly Stage[] = [
  ...(["resolve", "connect", "banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "final-dot"] as const),
];
const timeouts = {
  replyMs: Object.fromEntries(stages.map((stage) => [stage, 60_000])) as Record<Stage, number>,
  blockMs: 30_000,
};

async function start(behaviour: PeerBehaviour = {}) {
  const clock = new SimClock();
  const network = new SimNetwork();
  network.receivers.set("192.0.2.1", behaviour);
  const connection = await network.connect({ address: "192.0.2.1", port: 25, localAddress: undefined, timeoutMs: 1 });
  const session: Session = new ClientSession(connection, clock, timeouts);
  let ends = 0;
  session.onEnd = () => ends++;
  const turn = async () => {
    for (let i = 0; i < 10; i++) await clock.advance(0);
  };
  return { clock, session, turn, peer: network.sessions[0] as PeerSession, ends: () => ends };
}

test("a flight is one write, and one wait serves all its replies", async (t) => {
  const { session, peer } = await start();
  t.equal((await session.ask("banner", ""))?.code, 220);
  const commands = [
    command("mail", "MAIL FROM:<>"),
    command("rcpt", "RCPT TO:<a@b>"),
    command("rcpt", "RCPT TO:<c@b>"),
  ];
  void session.send(commands, [Buffer.from(commands.map((each) => `${each.line}\r\n`).join(""))]);
  await session.answered(commands[2] as (typeof commands)[0]);
  t.same(
    commands.map((each) => each.reply?.code),
    [250, 250, 250],
  );
  t.equal(peer.writes.length, 1);
  t.equal(session.answered(commands[0] as (typeof commands)[0]), undefined, "what is there is not waited for");
});

test("a reply that nobody waits for ends the session", async (t) => {
  const { session, peer, turn, ends } = await start();
  await session.ask("banner", "");
  peer.sendRaw("250 surprise\r\n");
  await turn();
  t.match(session.fault, { kind: "network", message: /unexpected/ });
  t.equal(ends(), 1);
  t.equal(peer.hasClientClosed, true);
  t.equal(await session.ask("mail", "NOOP"), undefined, "nothing more is asked");
  t.equal(peer.commands.length, 0);
});

test("replies behind a 421 are still taken, for a while", async (t) => {
  const { session, peer, clock, turn } = await start({
    answer: (line) =>
      line.startsWith("RCPT") ? "421 4.7.0 enough" : line === "NOOP" ? { reply: "", ending: "hang" } : undefined,
  });
  await session.ask("banner", "");
  const commands = [
    command("mail", "MAIL FROM:<>"),
    command("rcpt", "RCPT TO:<a@b>"),
    command("mail", "RSET"),
    command("data", "NOOP"),
  ];
  void session.send(commands, [Buffer.from(commands.map((each) => `${each.line}\r\n`).join(""))]);
  await turn();
  t.same(
    commands.map((each) => each.reply?.code),
    [250, 421, 250, undefined],
  );
  t.equal(session.fault, undefined);
  await clock.advance(6_000);
  t.match(session.fault, { kind: "reply", stage: "rcpt", reply: { code: 421 } });
  t.equal(peer.hasClientClosed, true);
});

test("a reply that trickles in gains no time", async (t) => {
  const { session, peer, clock } = await start({ banner: "" });
  const banner = session.ask("banner", "");
  for (let i = 0; i < 59; i++) {
    peer.sendRaw("2"[i] ?? "2");
    await clock.advance(1_000);
  }
  t.equal(session.fault, undefined);
  await clock.advance(2_000);
  t.match(session.fault, { kind: "network", stage: "banner", message: "no reply in time" });
  t.equal(await banner, undefined);
});

test("many commands in a row take few timers, and a closed session leaves none", async (t) => {
  const { session, clock } = await start();
  let made = 0;
  const after = clock.after.bind(clock);
  clock.after = (delayMs, callback) => {
    made++;
    return after(delayMs, callback);
  };
  await session.ask("banner", "");
  for (let i = 0; i < 100; i++) await session.ask("mail", "NOOP");
  t.ok(made <= 2, `${made} timers`);
  await session.quit();
  t.equal(clock.pendingTimers, 0);
});

test("close wakes who waits, and tells no end", async (t) => {
  const { session, ends, turn } = await start({ banner: { reply: "", ending: "hang" } });
  const asked = session.ask("banner", "");
  session.close();
  t.equal(await asked, undefined);
  await turn();
  t.equal(ends(), 0);
});

test("a failed handshake is told in the words of its reason alone, in one line", async (t) => {
  const told =
    "C00605BD087F0000:error:0A00010B:SSL routines:tls_validate_record_header:wrong version number:../deps/openssl/x.c:78:\n";
  t.equal(tlsFailureText(told), "wrong version number");
  t.equal(tlsFailureText("no TLS session within 10 ms"), "no TLS session within 10 ms");
  t.equal(tlsFailureText("odd\r\nwords\n"), "odd  words");
});
