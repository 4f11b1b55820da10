// One event, one line of JSON that any reader of lines can take.

import fc from "fast-check";
import { test } from "tap";
import { rfc3339 } from "../../src/core/civil-date.ts";
import type { DeliveryEvent } from "../../src/core/event.ts";
import { eventTextMax, formatEvent } from "../../src/outcome/event-format.ts";
import { compactUtc, parseCompactUtc } from "../../src/outcome/utc-time.ts";

const full: DeliveryEvent = {
  id: "e1",
  kind: "delivery",
  at: Date.UTC(2026, 10, 21, 17, 24, 0, 7),
  node: "mta1.example.com",
  shard: 0,
  queueId: "0123456789abcdef",
  stream: "news",
  tenant: "acme",
  job: "j1",
  reversePath: "",
  forwardPath: "bob@example.org",
  domain: "example.org",
  contentBytes: 1234,
  site: "google",
  source: "a1",
  pool: "bulk",
  relay: "ses",
  remote: { name: "mx.example.org", address: "192.0.2.1" },
  reply: { code: 250, enhanced: "2.0.0", text: 'OK "quoted"' },
  stage: "final-dot",
  bounceClass: "rate_limit",
  attempts: 2,
  tls: { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", verified: true },
  queuedMs: 120,
  transactionMs: 45.5,
  sessionId: "s1",
  signedBy: ["s1._domainkey.example.com", "s2._domainkey.example.com"],
  messageIdHeader: "<x@example.com>",
  headers: { subject: "Grüße" },
  reason: "because",
  until: Date.UTC(2026, 10, 22),
};

test("an event has its fields in a fixed order, and times are RFC 3339", (t) => {
  const line = formatEvent(full);
  t.ok(line.endsWith("}\n"));
  const parsed = JSON.parse(line);
  t.same(parsed, { ...full, at: "2026-11-21T17:24:00.007Z", until: "2026-11-22T00:00:00.000Z" });
  t.same(Object.keys(parsed), Object.keys(full));
  t.end();
});

test("what is not known is left out", (t) => {
  const event: DeliveryEvent = {
    id: "e",
    kind: "hold",
    at: 0,
    node: "n",
    shard: 1,
    reply: { code: 250, enhanced: undefined, text: "" },
    site: undefined,
  };
  t.equal(
    formatEvent(event),
    '{"id":"e","kind":"hold","at":"1970-01-01T00:00:00.000Z","node":"n","shard":1,"reply":{"code":250,"text":""}}\n',
  );
  t.end();
});

test("no text can break a line or the JSON, and long ones are cut", (t) => {
  const separators = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/;
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), fc.string({ unit: "binary" }), (name, text) => {
      const line = formatEvent({
        ...full,
        forwardPath: name,
        reply: { code: 550, enhanced: undefined, text },
        headers: { [name]: text },
        reason: `${text}\ud800\u2028`,
      });
      const parsed = JSON.parse(line);
      return (
        line.indexOf("\n") === line.length - 1 &&
        !separators.test(line) &&
        parsed.forwardPath === name &&
        parsed.reply.text === text
      );
    }),
  );
  const parsed = JSON.parse(formatEvent({ ...full, reason: "x".repeat(10_000), transactionMs: Number.NaN }));
  t.equal(parsed.reason.length, eventTextMax);
  t.equal(parsed.transactionMs, null);
  t.end();
});

test("instants are written as the system writes them", (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (at) => {
      const compact = compactUtc(at);
      return rfc3339(at) === new Date(at).toISOString() && parseCompactUtc(compact) === Math.floor(at / 1_000) * 1_000;
    }),
  );
  t.equal(parseCompactUtc("2026"), undefined);
  t.end();
});

test("an event is formatted in microseconds", (t) => {
  let best = Infinity;
  for (let run = 0; run < 5; run++) {
    const start = performance.now();
    for (let i = 0; i < 5_000; i++) formatEvent(full);
    best = Math.min(best, (performance.now() - start) / 5);
  }
  t.ok(best < 12, `${best.toFixed(2)} us`);
  t.end();
});
