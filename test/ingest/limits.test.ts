// Every limit has its reply, and ends with nothing held.

import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { test } from "tap";
import { silentMeter } from "../../src/ingest/meter.ts";
import { type Client, type Fixture, ingestConfig, startIngest } from "./ingest-fixture.ts";

async function greeted(fixture: Fixture): Promise<Client> {
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  return client;
}

test("connections: 421 beyond the total and beyond the number for one address, and a place again after a close", async (t) => {
  const fixture = await startIngest(ingestConfig([{ connectionsMax: 3, connectionsPerAddressMax: 2 }]));
  t.teardown(() => fixture.close());
  const [first] = [await fixture.client(), await fixture.client()];
  const third = await fixture.client({ greeting: false });
  t.match(await third.reply(), /^421 4\.7\.0 .*your address/);
  t.equal(await third.reply(), "");
  first.destroy();
  for (let i = 0; fixture.ingest.stats().sockets > 1 && i < 100; i++) await wait(5);
  const fourth = await fixture.client({ greeting: false });
  t.match(await fourth.reply(), /^220/);
  const other = await startIngest(ingestConfig([{ connectionsMax: 1 }]));
  t.teardown(() => other.close());
  await other.client();
  t.match(await (await other.client({ greeting: false })).reply(), /^421 4\.3\.2/);
});

test("connections that are reset at any moment leave nothing behind", async (t) => {
  let open = 0;
  const meter = { ...silentMeter, sessionOpened: () => open++, sessionClosed: () => open-- };
  const fixture = await startIngest(ingestConfig([{ connectionsMax: 1_000, connectionsPerAddressMax: 1_000 }]), {
    meter,
  });
  t.teardown(() => fixture.close());
  await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const client = await fixture.client({ greeting: false });
      if (i % 5 > 0) client.send("EHLO x\r\n");
      if (i % 5 > 1) await client.reply();
      if (i % 5 > 2) client.send("MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\nhalf");
      if (i % 5 > 3) await wait(i % 7);
      (client.socket as Socket).resetAndDestroy();
    }),
  );
  for (let i = 0; (fixture.ingest.stats().sockets > 0 || open > 0) && i < 200; i++) await wait(5);
  t.same(fixture.ingest.stats(), { sockets: 0, heldBytes: 0 });
  t.equal(open, 0);
  t.equal(fixture.intake.submissions.length, 0);
});

test("recipients: 452 for those beyond the limit, those taken stay", async (t) => {
  const fixture = await startIngest(ingestConfig([{ recipientsMax: 2 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  const rcpts = ["a", "b", "c", "a", "d"].map((name) => `RCPT TO:<${name}@example.net>`);
  t.equal(await client.codes(["MAIL FROM:<x@example.com>", ...rcpts]), "250 250 250 452 250 452");
  t.match(await client.ask("DATA"), /^354/);
  t.match(await client.ask("x\r\n."), /^250/);
  t.same(
    fixture.intake.last.recipients.map((one) => one.forwardPath),
    ["a@example.net", "b@example.net"],
    "one given twice is one",
  );
  t.equal(fixture.intake.rejections.length, 1, "noted once for the transaction");
});

test("bad addresses in a long list do not end the session, endless ones do", async (t) => {
  const fixture = await startIngest(ingestConfig([{ errorsMax: 3 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  await client.ask("MAIL FROM:<a@example.com>");
  client.send("RCPT TO:<bad@@>\r\n".repeat(1_000));
  let refused = 0;
  for (let i = 0; i < 1_000; i++) if ((await client.reply()).startsWith("501 5.1.3")) refused++;
  t.equal(refused, 1_000);
  t.match(await client.ask("RCPT TO:<b@example.net>"), /^250/);
  t.match(await client.ask("RCPT TO:<bad@@>"), /^421/);
});

test("one recipient given again and again is taken once, and a flood of it has an end", async (t) => {
  const fixture = await startIngest(ingestConfig([{ recipientsMax: 50 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  await client.ask("MAIL FROM:<a@example.com>");
  const repeats = Array.from({ length: 1_001 }, () => "RCPT TO:<b@example.net>");
  t.equal(new Set((await client.codes(repeats)).split(" ")).size, 1, "a thousand repeats are answered");
  t.match(await client.ask("RCPT TO:<b@example.net>"), /^421 4\.7\.0/);
  t.equal(await client.reply(), "", "and the session is over");
});

test("a line without end is not read for ever", async (t) => {
  const fixture = await startIngest(ingestConfig([{}]));
  t.teardown(() => fixture.close());
  for (const octet of ["\n", "A"]) {
    const client = await greeted(fixture);
    for (let i = 0; i < 40; i++) client.send(octet.repeat(64 * 1024));
    t.match(await client.reply(), /^500 5\.5\.2/);
    t.match(await client.reply(), /^421 4\.7\.0/);
    t.equal(await client.reply(), "");
  }
});

test("size: 552 at MAIL with SIZE, and after DATA without, and the session goes on", async (t) => {
  const fixture = await startIngest(ingestConfig([{ messageBytesMax: 10_000 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  t.match(await client.ask("MAIL FROM:<a@example.com> SIZE=10001"), /^552 5\.3\.4/);
  t.match(await client.deliver(`${"x".repeat(70)}\r\n`.repeat(200)), /^552 5\.3\.4/);
  t.match(await client.deliver(`${"x".repeat(70)}\r\n`.repeat(100)), /^250/);
  t.equal(fixture.intake.submissions.length, 1);
});

test("a client that never stops a content that is refused is cut off", async (t) => {
  const fixture = await startIngest(ingestConfig([{ messageBytesMax: 10_000 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  await client.begin();
  client.send(`${"x".repeat(70)}\r\n`.repeat(2_000));
  t.match(await client.reply(), /^421/);
  t.equal(await client.reply(), "");
});

test("lines: up to the limit they are taken as they are, one of 1 MiB is refused, a command line ends at 4 KiB", async (t) => {
  const fixture = await startIngest(ingestConfig([{ lineBytesMax: 2_000 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  t.match(await client.deliver(`${"x".repeat(1_998)}\r\n`), /^250/);
  t.match(await client.deliver(`${"x".repeat(1_999)}\r\n`), /^554 5\.6\.0/);
  t.match(await client.deliver(`${"x".repeat(1_048_576)}\r\n`), /^554 5\.6\.0/);
  t.match(await client.ask(`NOOP ${"x".repeat(5_000)}`), /^500 5\.5\.2/);
  t.match(await client.ask(`NOOP ${"x".repeat(1_048_576)}`), /^500 5\.5\.2/);
  t.match(await client.ask("NOOP"), /^250/);
  t.equal(fixture.ingest.stats().heldBytes, 0);
});

test("header bombs: too long, and too many fields", async (t) => {
  const fixture = await startIngest(ingestConfig([{ headerSectionBytesMax: 64 * 1024 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  t.match(await client.deliver(`${"A: b\r\n".repeat(100_000)}\r\nx\r\n`), /^552 5\.3\.4/);
  t.match(await client.deliver(`A: ${`${"b".repeat(70)}\r\n `.repeat(1_000)}\r\n\r\nx\r\n`), /^552 5\.3\.4/);
  t.match(await client.deliver(`${"A: b\r\n".repeat(5_000)}\r\nx\r\n`), /^552 5\.3\.4/);
  t.match(await client.deliver(`${"A: b\r\n".repeat(4_000)}\r\nx\r\n`), /^250/);
});

test("a loop ends at a hundred Received fields", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  t.match(await client.deliver(`${"Received: by x\r\n".repeat(99)}\r\nx\r\n`), /^250/);
  t.match(await client.deliver(`${"Received: by x\r\n".repeat(100)}\r\nx\r\n`), /^554 5\.4\.6/);
});

test("errors, and commands that move nothing, have an end", async (t) => {
  const fixture = await startIngest(ingestConfig([{ errorsMax: 3 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  t.equal(await client.codes(["A", "B", "C", "D"]), "500 500 500 421");
  t.equal(await client.reply(), "");
  const idle = await greeted(fixture);
  idle.send("NOOP\r\n".repeat(1_001));
  let last = "";
  for (let answer = await idle.reply(); answer !== ""; answer = await idle.reply()) last = answer;
  t.match(last, /^421 4\.7\.0/);
});

test("idle sessions and command lines that trickle in end with 421, those that work do not", async (t) => {
  const fixture = await startIngest(ingestConfig([{ idleTimeoutMs: 120 }]));
  t.teardown(() => fixture.close());
  const idle = await greeted(fixture);
  const trickling = await greeted(fixture);
  const working = await greeted(fixture);
  const until = performance.now() + 350;
  const trickle = (async () => {
    while (performance.now() < until) {
      trickling.send("N");
      await wait(20);
    }
  })();
  while (performance.now() < until) {
    t.match(await working.ask("RSET"), /^250/);
    await wait(40);
  }
  await trickle;
  t.match(await idle.reply(), /^421 4\.4\.2/);
  t.equal(await idle.reply(), "");
  t.match(await trickling.reply(), /^421 4\.4\.2/);
});

test("a content that comes too slowly ends with 421, and what it held is given back", async (t) => {
  const fixture = await startIngest(ingestConfig([{ idleTimeoutMs: 150, dataRateMinBytesPerSecond: 1_000 }]));
  t.teardown(() => fixture.close());
  const slow = await greeted(fixture);
  await slow.begin();
  const until = performance.now() + 400;
  while (performance.now() < until) {
    slow.send("x");
    await wait(20);
  }
  t.match(await slow.reply(), /^421 4\.4\.2 .*slowly/);
  t.equal(fixture.ingest.stats().heldBytes, 0);
  const silent = await greeted(fixture);
  await silent.begin();
  t.match(await silent.reply(), /^421 4\.4\.2/);
  t.equal(fixture.intake.submissions.length, 0);
});

test("a queue that takes its time is not the client's fault: no 421 while it waits for us", async (t) => {
  const fixture = await startIngest(ingestConfig([{ idleTimeoutMs: 100 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  fixture.intake.answer = async (submission) => {
    await wait(300);
    return { kind: "accepted", queueId: submission.queueId };
  };
  t.match(await client.deliver("x\r\n"), /^250/);
});

test("all sessions together hold no more content than the budget: 452, then there is room again", async (t) => {
  const config = ingestConfig([{}], [], { ingest: { ...ingestConfig().ingest, memoryMaxBytes: 50_000 } });
  const fixture = await startIngest(config);
  t.teardown(() => fixture.close());
  const [one, two] = [await greeted(fixture), await greeted(fixture)];
  await one.begin();
  one.send(`${"x".repeat(70)}\r\n`.repeat(500));
  for (let i = 0; fixture.ingest.stats().heldBytes < 30_000 && i < 200; i++) await wait(5);
  t.match(await two.ask("MAIL FROM:<a@example.com> SIZE=40000"), /^452 4\.3\.1/);
  t.match(await two.deliver(`${"x".repeat(70)}\r\n`.repeat(500)), /^452 4\.3\.1/);
  t.match(await one.ask("."), /^250/);
  t.match(await two.deliver(`${"x".repeat(70)}\r\n`.repeat(500)), /^250/);
  t.equal(fixture.ingest.stats().heldBytes, 0);
});

test("a client that does not read its replies is not read from", async (t) => {
  const fixture = await startIngest(ingestConfig([{ idleTimeoutMs: 300 }]));
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  client.socket.pause();
  // Errors do not count here: each message starts anew.
  for (let i = 0; i < 40; i++) client.send("VRFY x\r\n".repeat(20));
  await wait(20);
  client.socket.resume();
  let count = 0;
  for (let i = 0; i < 800; i++) if ((await client.reply()).startsWith("252")) count++;
  t.equal(count, 800, "and nothing is lost when it reads again");
});
