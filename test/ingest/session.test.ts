// The dialogue: what is offered, what is asked for, and in which order (RFC 5321, RFC 2920, RFC 3461, RFC 6409).

import { connect } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { test } from "tap";
import { ingestConfig, startIngest } from "./ingest-fixture.ts";

test("EHLO offers what is kept: PIPELINING, SIZE, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES and DSN", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await fixture.client({ greeting: false });
  t.equal(await client.reply(), "220 mta.test ESMTP Postern");
  const lines = (await client.ask("EHLO client.test")).split("\n").map((line) => line.slice(4));
  for (const keyword of ["PIPELINING", "SIZE 4194304", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"]) {
    t.ok(lines.includes(keyword), keyword);
  }
  t.notOk(lines.includes("STARTTLS"), "not without a certificate");
  t.notOk(lines.includes("CHUNKING"));
  t.equal(await client.ask("HELO client.test"), "250 mta.test greets client.test");
  t.match(await client.ask("EHLO"), /^501/);
  t.match(await client.ask("EHLO two names"), /^501/);
});

test("commands out of order, unknown ones and those we do not have get their codes", async (t) => {
  const fixture = await startIngest(ingestConfig([{ errorsMax: 50 }]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  t.match(await client.ask("MAIL FROM:<a@example.com>"), /^503 5\.5\.1/);
  await client.ask("EHLO client.test");
  t.match(await client.ask("RCPT TO:<b@example.net>"), /^503 5\.5\.1/);
  t.match(await client.ask("DATA"), /^503 5\.5\.1/);
  t.match(await client.ask("MAIL FROM:<a@example.com>"), /^250 2\.1\.0/);
  t.match(await client.ask("MAIL FROM:<a@example.com>"), /^503 5\.5\.1/);
  t.match(await client.ask("DATA"), /^503 5\.5\.1/);
  t.match(await client.ask("RCPT TO:<b@example.net>"), /^250 2\.1\.5/);
  t.match(await client.ask("DATA now"), /^501 5\.5\.4/);
  t.match(await client.ask("RSET"), /^250/);
  t.match(await client.ask("RCPT TO:<b@example.net>"), /^503/);
  t.match(await client.ask("VRFY someone"), /^252/);
  t.match(await client.ask("EXPN list"), /^502 5\.5\.1/);
  t.match(await client.ask("TURN"), /^500 5\.5\.2/);
  t.match(await client.ask("WIZ"), /^500/, "none of the package's jokes");
  t.match(await client.ask("XCLIENT ADDR=192.0.2.1"), /^500/);
  t.match(await client.ask("BDAT 5 LAST"), /^500/);
  t.match(await client.ask("STARTTLS"), /^502/);
  t.match(await client.ask("noop"), /^250/);
  t.match(await client.ask("QUIT"), /^221 2\.0\.0/);
  t.equal(await client.reply(), "");
});

test("parameters of MAIL and RCPT are taken, or refused with 501 or 555", async (t) => {
  const fixture = await startIngest(ingestConfig([{ errorsMax: 100 }]));
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  const mail = async (parameters: string, path = "<a@example.com>") => {
    const answer = await client.ask(`MAIL FROM:${path} ${parameters}`);
    await client.ask("RSET");
    return answer.slice(0, 9);
  };
  t.equal(await mail("SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B314159 AUTH=<>"), "250 2.1.0");
  t.equal(await mail("size=10 body=7bit ret=full"), "250 2.1.0", "keywords in any case");
  t.equal(await mail("SIZE=99999999"), "552 5.3.4");
  for (const bad of ["SIZE", "SIZE=x", "BODY=BINARYMIME", "SMTPUTF8=1", "RET=ALL", "ENVID=a+zz", "ENVID=a+0D+0Ab"]) {
    t.equal(await mail(bad), "501 5.5.4", bad);
  }
  t.equal(await mail("RET=FULL RET=HDRS"), "501 5.5.4", "twice");
  t.equal(await mail(`ENVID=${"x".repeat(101)}`), "501 5.5.4");
  t.equal(await mail("=x"), "501 5.5.4");
  t.equal(await mail("XSOMETHING=1"), "555 5.5.4");
  t.equal(await mail("", "a@example.com"), "501 5.1.7", "no brackets");
  t.equal(await mail("", "<a@exa mple.com>"), "501 5.1.7");
  t.equal(await mail("", "<@relay.example:a@example.com>"), "250 2.1.0", "a source route is ignored");
  t.equal(await mail("", "<j\xc3\xb6rg@example.com>"), "550 5.6.7", "needs SMTPUTF8");
  t.equal(await mail("SMTPUTF8", "<j\xc3\xb6rg@example.com>"), "250 2.1.0");
  t.equal(await mail("SMTPUTF8", "<j\xff@example.com>"), "500 5.5.2", "not UTF-8");

  await client.ask("MAIL FROM:<a@example.com>");
  const rcpt = async (parameters: string, path = "<b@example.net>") =>
    (await client.ask(`RCPT TO:${path} ${parameters}`)).slice(0, 9);
  t.equal(await rcpt("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2B1@example.net"), "250 2.1.5");
  for (const bad of ["NOTIFY", "NOTIFY=", "NOTIFY=NEVER,DELAY", "NOTIFY=OFTEN", "ORCPT=rfc822", "ORCPT=rfc822;a+0Ab"]) {
    t.equal(await rcpt(bad), "501 5.5.4", bad);
  }
  t.equal(await rcpt("X=1"), "555 5.5.4");
  t.equal(await rcpt("", "<>"), "501 5.1.3");
  t.equal(await rcpt("", "<b@>"), "501 5.1.3");
  t.equal(await rcpt("", "<Postmaster>"), "250 2.1.5");
  t.equal(await rcpt("", "<B@EXAMPLE.net>"), "250 2.1.5");
  t.match(await client.ask("DATA"), /^354/);
  t.match(await client.ask("x\r\n."), /^250/);
  t.same(fixture.intake.last.recipients, [
    { forwardPath: "b@example.net", orcpt: "rfc822;Bob+1@example.net", notify: ["success", "delay"] },
    { forwardPath: "Postmaster@mta.test", orcpt: undefined, notify: undefined },
    { forwardPath: "B@example.net", orcpt: undefined, notify: undefined },
  ]);
});

test("the envelope carries RET, ENVID, NOTIFY=NEVER and what the content needs", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  const lines = [
    "MAIL FROM:<a@Example.COM> RET=HDRS ENVID=QQ+2B31 SMTPUTF8",
    "RCPT TO:<b@example.net> NOTIFY=NEVER",
    "DATA",
  ];
  t.equal(await client.codes(lines), "250 250 354");
  await client.ask("Subject: x\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n.");
  t.same(fixture.intake.last.envelope, {
    reversePath: "a@example.com",
    ret: "hdrs",
    envid: "QQ+31",
    body: "8bitmime",
    smtpUtf8: false,
    requireTls: false,
  });
  t.same(fixture.intake.last.recipients[0]?.notify, []);
  await client.codes(["MAIL FROM:<> BODY=8BITMIME SMTPUTF8", "RCPT TO:<\xc3\xbc@b\xc3\xbccher.example>", "DATA"]);
  await client.ask("Subject: x\r\n\r\nplain\r\n.");
  t.match(fixture.intake.last.envelope, { reversePath: "", body: "7bit", smtpUtf8: true });
  t.equal(fixture.intake.last.recipients[0]?.forwardPath, "ü@xn--bcher-kva.example");
  await client.codes(["MAIL FROM:<> SMTPUTF8", "RCPT TO:<c@b\xc3\xbccher.example>", "DATA"]);
  await client.ask("Subject: \xc3\xbc\r\n\r\nplain\r\n.");
  t.match(fixture.intake.last.envelope, { smtpUtf8: true }, "the header section needs it");
});

test("MAIL, RCPT and DATA in one write are answered in order, in one flight, and so is the next transaction", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  let writes = 0;
  client.socket.on("data", () => writes++);
  const rcpts = Array.from({ length: 20 }, (_, i) => `RCPT TO:<r${i}@example.net>`);
  t.equal(
    await client.codes(["MAIL FROM:<a@example.com>", ...rcpts, "RCPT TO:<bad", "DATA"]),
    `250 ${"250 ".repeat(20)}501 354`,
  );
  t.equal(writes, 1, "one write");
  t.match(await client.ask("x\r\n.\r\nNOOP"), /^250 2\.0\.0 queued as 0{15}1/);
  t.match(await client.reply(), /^250/);
  t.equal(fixture.intake.last.recipients.length, 20);
});

test("talking before the greeting, or behind EHLO before its reply, ends the session", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const socket = connect(fixture.port, "127.0.0.1");
  socket.write("EHLO early.test\r\nMAIL FROM:<a@example.com>\r\n");
  let heard = "";
  for await (const chunk of socket) heard += String(chunk);
  t.match(heard, /^(?:421 |220 [^\n]*\n554 )/, "whether the octets or the connection came first");
  t.notMatch(heard, /250/);
  const client = await fixture.client();
  client.send("EHLO client.test\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n");
  t.match(await client.reply(), /^554 5\.5\.0/);
  t.equal(await client.reply(), "");
  const web = await fixture.client();
  web.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO evil\r\n");
  t.match(await web.reply(), /^421/);
  t.equal(await web.reply(), "");
  t.equal(fixture.intake.submissions.length, 0);
});

test("a line that the connection cuts off is not obeyed, and a content cut off is not kept", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  await client.begin();
  client.send("half a message\r\n.\r");
  client.socket.end();
  await client.closed();
  for (let i = 0; fixture.ingest.stats().sockets > 0 && i < 100; i++) await wait(5);
  t.equal(fixture.intake.submissions.length, 0);
  t.same(fixture.ingest.stats(), { sockets: 0, heldBytes: 0 });
});

test("what the queue answers becomes the reply: refused, in conflict, replayed, failed", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  const { intake } = fixture;
  intake.answer = async () => ({ kind: "refused", text: "the spool is full" });
  t.equal(await client.deliver("x\r\n"), "452 4.3.1 the spool is full");
  intake.answer = async () => ({ kind: "conflict", queueId: "q" });
  t.match(await client.deliver("x\r\n"), /^554 5\.6\.0/);
  intake.answer = async () => ({ kind: "replayed", queueId: "q1" });
  t.equal(await client.deliver("x\r\n"), "250 2.0.0 queued as q1");
  intake.answer = async () => Promise.reject(new Error("disk gone"));
  t.match(await client.deliver("x\r\n"), /^451 4\.3\.0/);
  t.notMatch(await client.ask("NOOP"), /disk/);
  intake.answer = undefined;
  t.match(await client.deliver("x\r\n"), /^250/, "the session goes on");
  t.equal(fixture.ingest.stats().heldBytes, 0);
  t.same(
    intake.rejections.map(({ reply, forwardPath }) => [reply.code, forwardPath]),
    [
      [452, "b@example.net"],
      [554, "b@example.net"],
      [451, "b@example.net"],
    ],
  );
});

test("under pressure MAIL gets 452 and new connections 421, until it is over", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  fixture.intake.pressureNow = { kind: "refuse", text: "The disk is nearly full" };
  t.equal(await client.ask("MAIL FROM:<a@example.com>"), "452 4.3.1 The disk is nearly full");
  const other = await fixture.client({ greeting: false });
  t.equal(await other.reply(), "421 4.3.1 The disk is nearly full");
  t.equal(await other.reply(), "");
  fixture.intake.pressureNow = { kind: "ok" };
  t.match(await client.deliver("x\r\n"), /^250/);
});
