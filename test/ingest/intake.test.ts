// From content to submission: which header fields are taken out, added and read; the rest arrives byte for byte.

import fc from "fast-check";
import { test } from "tap";
import { type IntakeFacts, makeSubmission } from "../../src/ingest/intake.ts";
import type { Submission } from "../../src/queue/queue.ts";
import { contentOf, ingestConfig, startIngest } from "./ingest-fixture.ts";

const facts: IntakeFacts = {
  config: ingestConfig(),
  user: undefined,
  reversePath: "a@example.com",
  recipients: [{ forwardPath: "b@example.net", orcpt: undefined, notify: undefined }],
  ret: undefined,
  envid: undefined,
  smtpUtf8: false,
  hasUtf8Address: false,
  headerSectionBytesMax: 10_000,
  queueId: "0123456789abcdef",
  receivedAt: 1_795_283_708_000,
  sessionId: "s1",
  helo: "client.test",
  remoteAddress: "192.0.2.7",
  extended: true,
  tls: undefined,
};

function make(text: string | Buffer, cut = text.length, other: Partial<IntakeFacts> = {}) {
  const whole = typeof text === "string" ? Buffer.from(text, "utf8") : text;
  const chunks = [whole.subarray(0, cut), whole.subarray(cut)].filter((chunk) => chunk.length > 0);
  const content = { chunks, bytes: whole.length, hasDotLines: false, has8Bit: whole.some((octet) => octet > 127) };
  return makeSubmission(content, { ...facts, ...other });
}

function taken(text: string, cut?: number, other?: Partial<IntakeFacts>): Submission & { text: string } {
  const result = make(text, cut, other);
  if (result.kind === "refused") throw new Error(`refused: ${result.reply.text}`);
  const { submission } = result;
  const whole = Buffer.concat(submission.content);
  if (whole.length !== submission.contentBytes) throw new Error("contentBytes is wrong");
  return { ...submission, text: whole.toString("utf8") };
}

const received =
  "Received: from client.test ([192.0.2.7])\r\n\tby mta.test with ESMTP\r\n\tid 0123456789abcdef\r\n\tfor <b@example.net>;\r\n\tSat, 21 Nov 2026 17:55:08 +0000\r\n";
const date = "Date: Sat, 21 Nov 2026 17:55:08 +0000\r\n";
const messageId = "Message-ID: <0123456789abcdef@mta.test>\r\n";

test("a complete message only gets Received on top", async (t) => {
  const text = "Received: by other\r\nDate: x\r\nMessage-Id: <m@x>\r\nBcc: c@x\r\n\r\nbody\r\n";
  const submission = taken(text);
  t.equal(submission.text, received + text);
  t.equal(submission.headerBytes, received.length + text.indexOf("body"));
  t.equal(submission.messageIdHeader, "<m@x>");
  t.match(submission.remote, { name: "client.test", address: "192.0.2.7" });
});

test("Date and Message-ID are added at the end of the header section where they are missing", async (t) => {
  t.equal(taken("Subject: x\r\n\r\nb\r\n").text, `${received}Subject: x\r\n${date}${messageId}\r\nb\r\n`);
  t.equal(taken("DATE: x\r\n\r\nb\r\n").text, `${received}DATE: x\r\n${messageId}\r\nb\r\n`);
  t.equal(taken("message-id : <m>\r\n\r\n").text, `${received}message-id : <m>\r\n${date}\r\n`);
  t.equal(taken("Subject: x\r\n\r\nb\r\n").messageIdHeader, "<0123456789abcdef@mta.test>");
});

test("an empty content, an empty header section, no body, no empty line, and a body only", async (t) => {
  const added = `${received}${date}${messageId}`;
  t.equal(taken("").text, `${added}\r\n`);
  t.equal(taken("\r\nbody\r\n").text, `${added}\r\nbody\r\n`);
  t.equal(taken("Subject: x\r\n").text, `${received}Subject: x\r\n${date}${messageId}`);
  t.equal(
    taken("Subject: x\r\nno field\r\nmore\r\n").text,
    `${received}Subject: x\r\n${date}${messageId}\r\nno field\r\nmore\r\n`,
  );
  t.equal(taken("just text: really\r\n").text, `${added}\r\njust text: really\r\n`);
  t.equal(taken(" begins with a blank\r\n").text, `${added}\r\n begins with a blank\r\n`);
  t.equal(taken("Subject: x\r\n").headerBytes, taken("Subject: x\r\n").contentBytes);
});

test("our own fields are read in any case, with folded lines, and taken out", async (t) => {
  const text =
    "X-Postern-STREAM: receipts\r\nSubject: a\r\n b\r\nx-postern-job:\r\n spring\r\n\tsale\r\n" +
    "X-Postern-Tenant : acme\r\nX-Postern-Idempotency-Key: k1\r\nX-Postern-Stream: news\r\nX-Postern-Other: stays\r\n\r\nX-Postern-Job: body\r\n";
  const submission = taken(text);
  t.match(submission, {
    stream: "receipts",
    job: "spring\tsale".replace("\t", " "),
    tenant: "acme",
    idempotencyKey: "k1",
  });
  t.equal(
    submission.text,
    `${received}Subject: a\r\n b\r\nX-Postern-Other: stays\r\n${date}${messageId}\r\nX-Postern-Job: body\r\n`,
  );
  t.equal(taken("X-Postern-Job:\r\n\r\n").job, undefined);
  t.match(make(`X-Postern-Job: ${"x".repeat(256)}\r\n\r\n`), { kind: "refused", reply: { code: 554 } });
  t.equal(taken(`X-Postern-Job: ${"x".repeat(255)}\r\n\r\n`).job?.length, 255);
});

test("a label that would have to be mended or cut off is refused: it could become another one's", async (t) => {
  for (const name of ["Idempotency-Key", "Job", "Tenant", "Stream"]) {
    for (const value of [
      Buffer.from([0xff, 0xfe]),
      Buffer.from("a\u0001b"),
      Buffer.from("a\u2028b"),
      Buffer.from("k".repeat(256)),
      Buffer.from("\u00fc".repeat(128)),
      Buffer.from(`${" ".repeat(2_100)}k`),
      Buffer.from(`${"k\r\n ".repeat(400)}k`),
    ]) {
      const made = make(Buffer.concat([Buffer.from(`X-Postern-${name}: `), value, Buffer.from("\r\n\r\nx\r\n")]));
      t.match(made, { kind: "refused", reply: { code: 554, enhanced: "5.6.0" } }, `${name}: ${value.toString("hex")}`);
    }
  }
  t.equal(taken("X-Postern-Idempotency-Key:\r\n\tgr\u00fc\u00df\r\n\tk\r\n\r\n").idempotencyKey, "gr\u00fc\u00df k");
});

test("wherever the content is cut into chunks, the submission is the same", async (t) => {
  const text = "From: ä <a@x.example>\r\nX-Postern-Job: j\r\n\tk\r\nSubject: s\r\n\r\nbody\r\n\r\nmore\r\n";
  const whole = taken(text);
  for (let cut = 0; cut <= Buffer.byteLength(text); cut++) {
    const other = taken(text, cut);
    if (other.text !== whole.text || other.job !== "j k" || other.fromDomain !== "x.example") t.fail(`cut at ${cut}`);
  }
  t.pass();
});

test("what the delivery log shows is unfolded, bounded and without controls", async (t) => {
  const submission = taken(
    `Subject: =?utf-8?q?x?=\r\n y\r\n\tz\u001b[0m\r\nX-Campaign: ${"c".repeat(2_000)}\r\nTo: q\r\n\r\n`,
  );
  t.equal(submission.loggedHeaders.subject, "=?utf-8?q?x?= y z [0m");
  t.equal(submission.loggedHeaders["x-campaign"]?.length, 998);
  t.equal(submission.loggedHeaders.to, undefined);
});

test("octets above 127 in the header section need SMTPUTF8 only if the client said so", async (t) => {
  const text = "Subject: ü\r\n\r\nx\r\n";
  t.match(taken(text).envelope, { body: "8bitmime", smtpUtf8: false });
  t.match(taken(text, 3, { smtpUtf8: true }).envelope, { body: "8bitmime", smtpUtf8: true });
  t.match(taken(text, 3, { smtpUtf8: true }).text, /with UTF8SMTP\r\n/);
  t.match(taken("Subject: x\r\n\r\nü\r\n", 3, { smtpUtf8: true }).envelope, { body: "8bitmime", smtpUtf8: false });
});

test("a header section over the limit is refused, however it is cut", async (t) => {
  const text = `${`A: ${"b".repeat(90)}\r\n`.repeat(110)}\r\nx\r\n`;
  for (const cut of [50, 5_000, 10_001, 10_400]) t.match(make(text, cut), { kind: "refused", reply: { code: 552 } });
  t.equal(make(text, 50, { headerSectionBytesMax: 20_000 }).kind, "submission");
});

test("two thousand generated messages arrive byte for byte but for the fields added", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  const line = fc.string({ unit: fc.constantFrom("a", ".", " ", "\t", ":", "=", "\xe9", "\xff", "Z"), maxLength: 90 });
  const name = fc.constantFrom("Subject", "X-A", "To", "x-b", "Comments");
  const field = fc.tuple(name, line).map(([fieldName, value]) => `${fieldName}: ${value}x`);
  const message = fc.record({
    fields: fc.array(field, { minLength: 1, maxLength: 6 }),
    body: fc.array(line, { maxLength: 40 }),
  });
  let count = 0;
  for (const { fields, body } of fc.sample(message, { numRuns: 2_000, seed: 7 })) {
    const header = `${fields.join("\r\n")}\r\n`;
    const content = `${header}\r\n${body.map((text) => `${text}\r\n`).join("")}`;
    const stuffed = content.replace(/^\./gm, "..");
    client.send(`MAIL FROM:<a@x.example>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n${stuffed}.\r\n`);
    for (let i = 0; i < 4; i++) await client.reply();
    const arrived = contentOf(fixture.intake.last);
    const expected = `${header}Date: [^\r]+\r\nMessage-ID: <[^\r]+>\r\n`;
    const at = arrived.indexOf(header);
    const rest = arrived.slice(at + header.length);
    if (!arrived.startsWith("Received: ") || !/^Date: [^\r]+\r\nMessage-ID: <[^\r]+>\r\n/.test(rest)) t.fail(expected);
    if (!rest.endsWith(`>\r\n${content.slice(header.length)}`)) t.fail(JSON.stringify({ content, arrived }));
    count++;
  }
  t.equal(count, 2_000);
  t.equal(fixture.intake.submissions.length, 2_000);
});
