// The simulated operator's rules, in virtual time.

import { test } from "tap";
import {
  createOperator,
  decideConnect,
  decideFinalDot,
  decideMail,
  decideRcpt,
  noteDisconnect,
  type Operator,
  type OperatorProfile,
  openOperator,
  userExists,
  type Visit,
} from "../../native-bench/sink/operator.ts";

const start = 1_800_000_000_000;
const source = "127.20.0.1";

function operatorWith(profile: Partial<OperatorProfile>, seed = 7): Operator {
  return createOperator({ ...openOperator, ...profile }, seed, start);
}

function visitFrom(sourceAddress = source): Visit {
  return { sourceAddress, messages: 0 };
}

test("an open operator takes a message from banner to final dot", async (t) => {
  const operator = operatorWith({});
  const visit = visitFrom();
  t.match(decideConnect(operator, source, start).reply, /^220 .*\r\n$/);
  t.match(decideMail(operator, visit, "a@shop.example", start).reply, /^250 /);
  t.match(decideRcpt(operator, visit, "a@shop.example", "b@c.example", start).reply, /^250 /);
  const verdict = decideFinalDot(operator, visit, 35);
  t.equal(verdict.reply, "250 2.0.0 Ok: queued z\r\n");
  t.equal(verdict.after, "go-on");
  t.equal(operator.verdicts.get("ok"), 4);
});

test("the connection over the cap of one address is refused, another address is not, and a close makes room", async (t) => {
  const operator = operatorWith({ connectionsPerAddressMax: 2 });
  t.ok(decideConnect(operator, source, start).accepted);
  t.ok(decideConnect(operator, source, start).accepted);
  const third = decideConnect(operator, source, start);
  t.match(third, { accepted: false, rule: "connection-cap", breach: true, after: "close" });
  t.match(third.reply, /^421 /);
  t.ok(decideConnect(operator, "127.20.0.2", start).accepted);
  noteDisconnect(operator, source);
  t.ok(decideConnect(operator, source, start).accepted);
});

test("a window of the clock has room for so many messages, and its edge makes room again", async (t) => {
  const operator = operatorWith({ addressWindow: { messages: 2, everyMs: 60_000 } });
  const send = (now: number) => decideMail(operator, visitFrom(), "a@shop.example", now);
  const edge = Math.ceil(start / 60_000) * 60_000;
  t.ok(send(edge - 2).accepted);
  t.ok(send(edge - 1).accepted);
  t.match(send(edge - 1), { accepted: false, rule: "address-window", breach: true });
  t.ok(send(edge).accepted);
  t.ok(decideMail(operator, visitFrom("127.20.0.2"), "a@shop.example", edge - 1).accepted, "each address has its own");
});

test("an address may grow by a factor a day over the best of the last seven, and a new one has the floor", async (t) => {
  const dayMs = 86_400_000;
  const operator = operatorWith({ growth: { factor: 1.5, floor: 10, dayMs } });
  const sent = (day: number): number => {
    let count = 0;
    while (decideMail(operator, visitFrom(), "a@shop.example", start + day * dayMs).accepted) count++;
    return count;
  };
  t.strictSame([0, 1, 2].map(sent), [10, 15, 23]);
  t.match(decideMail(operator, visitFrom(), "a@shop.example", start + 2 * dayMs), { rule: "growth", breach: true });
  t.equal(sent(9), 35, "seven days later the best day still counts");
  t.equal(sent(17), 10, "and after that no more");
});

test("an operator that hangs up without a word does so after the last 250, and that is no breach", async (t) => {
  const operator = operatorWith({ messagesPerConnectionMax: 2, messagesEnd: "silent" });
  const visit = visitFrom();
  t.equal(decideFinalDot(operator, visit, 1).after, "go-on");
  const last = decideFinalDot(operator, visit, 2);
  t.match(last.reply, /^250 /);
  t.match(last, { after: "close", breach: false });
});

test("the MAIL after the last message of a connection gets 421", async (t) => {
  const operator = operatorWith({ messagesPerConnectionMax: 1 });
  const visit = visitFrom();
  t.ok(decideMail(operator, visit, "a@shop.example", start).accepted);
  t.equal(decideFinalDot(operator, visit, 1).after, "go-on");
  const verdict = decideMail(operator, visit, "a@shop.example", start);
  t.match(verdict, { accepted: false, rule: "messages-per-connection", breach: true, after: "close" });
});

test("a source has its burst, then the rate, and refused tries do not count unless the operator says so", async (t) => {
  for (const refusedCount of [false, true]) {
    const operator = operatorWith({ addressRate: { perSecond: 10, burst: 5 }, refusedCount });
    const mail = (at: number): boolean => decideMail(operator, visitFrom(), "a@shop.example", start + at).accepted;
    t.strictSame([mail(0), mail(0), mail(0), mail(0), mail(0), mail(0)], [true, true, true, true, true, false]);
    t.equal(mail(100), !refusedCount, `100 ms later, refusedCount ${refusedCount}`);
    t.equal(mail(1_000), true);
  }
});

test("domains have buckets of their own, whatever the source", async (t) => {
  const operator = operatorWith({ domainRate: { perSecond: 1, burst: 1 } });
  t.ok(decideMail(operator, visitFrom(), "a@one.example", start).accepted);
  t.match(decideMail(operator, visitFrom("127.20.0.9"), "b@one.example", start), { rule: "domain-rate", breach: true });
  t.ok(decideMail(operator, visitFrom(), "a@two.example", start).accepted);
  t.ok(decideMail(operator, visitFrom(), "", start).accepted, "the null reverse-path has no domain");
});

test("who breaks limits is shut out, and each try while shut out makes it longer", async (t) => {
  const block = { breachesMax: 1, windowMs: 10_000, blockMs: 1_000, penaltyMs: 500 };
  const operator = operatorWith({ connectionsPerAddressMax: 0, block });
  decideConnect(operator, source, start);
  decideConnect(operator, source, start);
  t.equal(decideConnect(operator, source, start + 900).rule, "blocked");
  t.equal(decideConnect(operator, source, start + 1_400).rule, "blocked");
  t.equal(decideConnect(operator, source, start + 2_000).rule, "connection-cap", "the block ended at 2000");
});

test("greylisting wants the same network, reverse-path and recipient again, but not too soon", async (t) => {
  const operator = operatorWith({ greylist: { delayMs: 1_000, expireMs: 60_000 } });
  const rcpt = (at: number, address = source, recipient = "b@c.example"): string =>
    decideRcpt(operator, visitFrom(address), "a@shop.example", recipient, start + at).rule;
  t.equal(rcpt(0), "greylist");
  t.equal(rcpt(999), "greylist");
  t.equal(rcpt(1_000), "ok");
  t.equal(rcpt(1_000, "127.20.0.77"), "ok", "another address of the same /24");
  t.equal(rcpt(1_000, "127.21.0.1"), "greylist", "another network");
  t.equal(rcpt(1_000, source, "x@c.example"), "greylist", "another recipient");
  t.equal(rcpt(61_001), "greylist", "forgotten");
});

test("an unknown user is unknown at every attempt, and about as many are unknown as the share says", async (t) => {
  const operator = operatorWith({ unknownUserShare: 0.1, unknownUsers: ["nobody"] });
  const unknown = Array.from({ length: 5_000 }, (_, i) => `user${i}@c.example`).filter((a) => !userExists(operator, a));
  t.ok(unknown.length > 400 && unknown.length < 600, `${unknown.length} of 5000`);
  const [first = ""] = unknown;
  for (const at of [0, 1_000, 1_000_000]) {
    t.match(decideRcpt(operator, visitFrom(), "", first, start + at), { rule: "unknown-user", breach: false });
  }
  t.notOk(userExists(operator, "nobody@c.example"));
  t.notOk(userExists(operatorWith({ unknownUserShare: 0.1 }), first), "the same seed knows the same users");
});

test("deferrals come in the share that is asked for, the same ones for the same seed", async (t) => {
  const run = (seed: number): string[] => {
    const operator = operatorWith({ deferShare: 0.2 }, seed);
    return Array.from(
      { length: 2_000 },
      (_, i) => decideRcpt(operator, visitFrom(), "", `u${i}@c.example`, start).rule,
    );
  };
  const deferred = run(1).filter((rule) => rule === "deferral").length;
  t.ok(deferred > 330 && deferred < 470, `${deferred} of 2000`);
  t.strictSame(run(1), run(1));
  t.notSame(run(1), run(2));
});

test("while it is down an operator refuses, resets or stays silent; then it is back", async (t) => {
  for (const [style, after] of [
    ["refuse", "close"],
    ["reset", "reset"],
    ["silence", "silence"],
  ] as const) {
    const operator = operatorWith({ down: [{ fromMs: 1_000, untilMs: 2_000, style }] });
    t.ok(decideConnect(operator, source, start + 999).accepted);
    t.match(decideConnect(operator, source, start + 1_000), { accepted: false, rule: "down", after });
    t.match(decideMail(operator, visitFrom(), "", start + 1_500), { accepted: false, rule: "down", after: "close" });
    t.ok(decideConnect(operator, source, start + 2_000).accepted);
  }
});

test("a lost reply takes the message and breaks the connection", async (t) => {
  const operator = operatorWith({ lostReplyShare: 1 });
  t.match(decideFinalDot(operator, visitFrom(), 1), { accepted: true, reply: "", after: "reset", rule: "lost-reply" });
});

test("the time to the final reply has the median that is asked for, and a longest value", async (t) => {
  const operator = operatorWith({ finalDotDelay: { medianMs: 100, sigma: 0.5, maxMs: 400 } });
  const delays = Array.from({ length: 2_001 }, (_, i) => decideFinalDot(operator, visitFrom(), i).delayMs);
  delays.sort((one, other) => one - other);
  const median = delays[1_000] ?? 0;
  t.ok(median > 90 && median < 110, `median ${median}`);
  t.ok((delays.at(-1) ?? 0) <= 400);
});
