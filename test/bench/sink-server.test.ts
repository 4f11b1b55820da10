// The sink's SMTP dialect, spoken with an independent client (nodemailer's) and with raw octets.

import { connect } from "node:net";
import SMTPConnection from "nodemailer/lib/smtp-connection/index.js";
import { test } from "tap";
import { bodyMark, unstuff } from "../../native-bench/sink/content-check.ts";
import { Ledger } from "../../native-bench/sink/ledger.ts";
import { type OperatorProfile, openOperator } from "../../native-bench/sink/operator.ts";
import { SinkServer } from "../../native-bench/sink/sink-server.ts";

const address = "127.0.0.1";

async function sinkWith(profile: Partial<OperatorProfile>, startTls = false) {
  const ledger = new Ledger({ samplesMax: 10 });
  const setup = {
    profile: { ...openOperator, name: "test", ...profile },
    hostName: "mx.test.example",
    addresses: [address],
    startTls,
  };
  const sink = new SinkServer([setup], ledger, 1);
  const port = await sink.listen(0);
  return { ledger, sink, port };
}

/** Writes each text and gives back all that came until the server closed or `until` matched. */
async function talk(port: number, texts: readonly string[], until: RegExp): Promise<string> {
  const socket = connect({ host: address, port });
  for (const text of texts) {
    socket.write(text, "latin1");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  let heard = "";
  for await (const chunk of socket) {
    heard += String(chunk);
    if (until.test(heard)) break;
  }
  socket.destroy();
  return heard;
}

const body = "one\r\n.two\r\n..\r\nthree\r\n";
const message =
  "Received: from a by b with ESMTP\r\n id 0123456789abcdef; Thu, 1 Jan 2026 00:00:00 +0000\r\n" +
  `X-Bench-Id: run-1\r\nX-Bench-Body: ${bodyMark(Buffer.from(body))}\r\nSubject: x\r\n\r\n${body}`;
const stuffed = message.replace(/^\./gm, "..");
const envelope = "MAIL FROM:<a@shop.example> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<b@test.example> NOTIFY=FAILURE\r\n";

for (const startTls of [false, true]) {
  test(`nodemailer's client delivers two messages ${startTls ? "after STARTTLS" : "in clear"}`, async (t) => {
    const { ledger, sink, port } = await sinkWith({}, startTls);
    t.teardown(() => sink.close());
    const client = new SMTPConnection({
      host: address,
      port,
      tls: { rejectUnauthorized: false },
      ignoreTLS: !startTls,
    });
    await new Promise<void>((resolve, reject) => {
      client.once("error", reject);
      client.connect(() => resolve());
    });
    t.equal(client.secure, startTls);
    for (const to of ["b@test.example", "c@test.example"]) {
      const info = await new Promise<{ response: string }>((resolve, reject) => {
        client.send({ from: "a@shop.example", to: [to] }, message, (error, sent) =>
          error ? reject(error) : resolve(sent),
        );
      });
      t.match(info.response, /^250 /);
    }
    client.quit();
    t.strictSame(
      ledger.receipts().map(({ recipient }) => recipient),
      ["b@test.example", "c@test.example"],
    );
    t.match(ledger.receipts()[0], {
      benchId: "run-1",
      queueId: "0123456789abcdef",
      bodyIntact: true,
      operator: "test",
    });
    t.ok((ledger.receipts()[0]?.repliedAt ?? 0) >= (ledger.receipts()[0]?.dotAt ?? Number.POSITIVE_INFINITY));
    t.equal(ledger.samples[0]?.toString(), message);
  });
}

test("a whole session in one write, cut in two anywhere, gives the same message", async (t) => {
  const { ledger, sink, port } = await sinkWith({});
  t.teardown(() => sink.close());
  const nearEnd = (at: number): boolean => at > session.length - 20;
  const session = `EHLO x\r\n${envelope}DATA\r\n${stuffed}.\r\nQUIT\r\n`;
  for (let at = session.length - stuffed.length - 12; at < session.length; at += nearEnd(at) ? 1 : 7) {
    const heard = await talk(port, [session.slice(0, at), session.slice(at)], /221 /);
    t.match(heard, /250 2\.0\.0 Ok: queued \w+\r\n221 /, `cut at ${at}`);
  }
  t.ok(ledger.receiptCount > 10);
  t.ok(ledger.receipts().every(({ bodyIntact }) => bodyIntact === true));
});

test("chunks carry a message, and their octets are swallowed where there is no transaction", async (t) => {
  const { ledger, sink, port } = await sinkWith({});
  t.teardown(() => sink.close());
  const half = 30;
  const chunks = `BDAT ${half}\r\n${message.slice(0, half)}BDAT ${message.length - half} LAST\r\n${message.slice(half)}`;
  const heard = await talk(port, [`EHLO x\r\nBDAT 6 LAST\r\nQUIT\r\n${envelope}${chunks}QUIT\r\n`], /221 /);
  t.match(
    heard,
    /503 5\.5\.1 [^\r]*\r\n250 2\.1\.0 [^\r]*\r\n250 2\.1\.5 [^\r]*\r\n250 2\.0\.0 Chunk received\r\n250 2\.0\.0 Ok: queued/,
  );
  t.match(ledger.receipts(), [{ benchId: "run-1", bodyIntact: true }]);
});

test("pipelined commands behind a refused recipient are answered one by one", async (t) => {
  const { ledger, sink, port } = await sinkWith({ unknownUsers: ["ghost"] });
  t.teardown(() => sink.close());
  const heard = await talk(
    port,
    [
      "EHLO x\r\n",
      "MAIL FROM:<>\r\nRCPT TO:<ghost@test.example>\r\nDATA\r\nRSET\r\nDATA\r\nMAIL FROM:<> FOO=1\r\nQUIT\r\n",
    ],
    /221 /,
  );
  const codes = heard
    .split("\r\n")
    .filter((line) => line[3] === " ")
    .map((line) => line.slice(0, 3));
  t.strictSame(codes, ["220", "250", "250", "550", "554", "250", "503", "555", "221"]);
  t.equal(ledger.receiptCount, 0);
});

test("a message whose sender goes away before the slow 250 is in the ledger as unanswered", async (t) => {
  const { ledger, sink, port } = await sinkWith({ finalDotDelay: { medianMs: 5_000, sigma: 0, maxMs: 5_000 } });
  t.teardown(() => sink.close());
  await talk(port, [`EHLO x\r\n${envelope}DATA\r\n${stuffed}.\r\n`], /354 /);
  for (let i = 0; i < 100 && ledger.receiptCount === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  t.match(ledger.receipts(), [{ benchId: "run-1", recipient: "b@test.example" }]);
  t.equal(ledger.receipts()[0]?.repliedAt, undefined);
});

test("input behind a slow final reply waits, and the replies keep their order", async (t) => {
  const { ledger, sink, port } = await sinkWith({
    finalDotDelay: { medianMs: 30, sigma: 0, maxMs: 30 },
    roundTripMs: 5,
  });
  t.teardown(() => sink.close());
  const one = `${envelope}DATA\r\n${stuffed}.\r\n`;
  const heard = await talk(port, [`EHLO x\r\n${one}${one}NOOP\r\nQUIT\r\n`], /221 /);
  const codes = heard
    .split("\r\n")
    .filter((line) => line[3] === " ")
    .map((line) => line.slice(0, 3));
  t.strictSame(codes, ["220", "250", "250", "250", "354", "250", "250", "250", "354", "250", "250", "221"]);
  t.equal(ledger.receiptCount, 2);
  t.ok(ledger.receipts().every(({ dotAt, repliedAt }) => (repliedAt ?? 0) - dotAt >= 30));
});

test("a breach is in the ledger with its rule", async (t) => {
  const { ledger, sink, port } = await sinkWith({ connectionsPerAddressMax: 0 });
  t.teardown(() => sink.close());
  t.match(await talk(port, [], /never/), /^421 [^\r]*\r\n$/);
  t.match(ledger.breaches, [{ operator: "test", rule: "connection-cap", sourceAddress: address }]);
});

test("dots are taken away only where the sender put them", async (t) => {
  for (const text of ["", "a\r\n", ".\r\n", "..\r\n.\r\na..b\r\n..", "x\r\n.\r\n..\r\n...\r\n"]) {
    t.equal(unstuff(Buffer.from(text.replace(/^\./gm, ".."))).toString(), text, JSON.stringify(text));
  }
});
