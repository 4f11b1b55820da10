// What counts as the same message under one idempotency key.

import { test } from "tap";
import { digestOf } from "../../src/queue/digest.ts";
import type { Submission } from "../../src/queue/queue.ts";

function submission(header: string, body: string, forwardPath = "a@b.example"): Submission {
  return {
    stream: "news",
    tenant: undefined,
    job: undefined,
    envelope: { reversePath: "", envid: undefined, ret: undefined, body: "7bit", smtpUtf8: false, requireTls: false },
    recipients: [{ forwardPath, orcpt: undefined, notify: undefined }],
    content: [Buffer.from(header), Buffer.from(body)],
    contentBytes: header.length + body.length,
    headerBytes: header.length,
    hasDotLines: false,
    fromDomain: undefined,
    messageIdHeader: undefined,
    loggedHeaders: {},
    user: undefined,
    queueId: "0000000000000000",
    receivedAt: 0,
    sessionId: "",
    remote: { name: "", address: "" },
    idempotencyKey: "k",
  };
}

const first = submission(
  "Received: one\r\n at noon\r\nDate: now\r\nSubject: code\r\nMessage-ID: <1@x>\r\n\r\n",
  "12345\r\n",
);

test("a second try with another trace, date and message id is the same message", async (t) => {
  const again = submission("Received: two\r\nDate: later\r\nSubject: code\r\nMessage-ID: <2@x>\r\n\r\n", "12345\r\n");
  t.equal(digestOf(again), digestOf(first));
});

test("another subject, body or recipient is another message", async (t) => {
  const header = "Received: one\r\n at noon\r\nDate: now\r\nSubject: code\r\nMessage-ID: <1@x>\r\n\r\n";
  t.not(digestOf(submission(header.replace("code", "sale"), "12345\r\n")), digestOf(first));
  t.not(digestOf(submission(header, "54321\r\n")), digestOf(first));
  t.not(digestOf(submission(header, "12345\r\n", "c@b.example")), digestOf(first));
});
