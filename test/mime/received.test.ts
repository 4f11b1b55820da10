// The trace field and the date format.

import fc from "fast-check";
import { test } from "tap";
import { dateTime } from "../../src/mime/date-time.ts";
import { addressLiteral, protocolName, type ReceivedFacts, receivedField } from "../../src/mime/received.ts";

const facts: ReceivedFacts = {
  helo: "client.example",
  remoteAddress: "192.0.2.1",
  hostname: "mta.example",
  extended: true,
  tls: { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" },
  authenticated: true,
  smtpUtf8: false,
  queueId: "0123456789abcdef",
  forwardPath: "b@example.net",
  at: 1_795_283_708_221,
};

test("all clauses in their order, folded", async (t) => {
  t.equal(
    receivedField(facts),
    "Received: from client.example ([192.0.2.1])\r\n\tby mta.example with ESMTPSA\r\n" +
      "\t(TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n\tid 0123456789abcdef\r\n\tfor <b@example.net>;\r\n" +
      "\tSat, 21 Nov 2026 17:55:08 +0000\r\n",
  );
  t.notMatch(receivedField({ ...facts, forwardPath: undefined }), /for </);
  for (const line of receivedField(facts).split("\r\n")) t.ok(line.length <= 78, line);
});

test("a name that is none is left out, so that nothing can be written into the field", async (t) => {
  for (const helo of [
    undefined,
    "",
    "a)b",
    "a b",
    "evil\r\nX: y",
    "[1.2.3.4](",
    "-",
    "\u00fc.example",
    "x".repeat(256),
  ]) {
    t.match(receivedField({ ...facts, helo }), /^Received: from \[192\.0\.2\.1\]\r\n\tby /, JSON.stringify(helo));
  }
  for (const helo of ["[192.0.2.9]", "[IPv6:2001:db8::1]", "my_pc", "a"]) {
    t.ok(receivedField({ ...facts, helo }).startsWith(`Received: from ${helo} ([192.0.2.1])`), helo);
  }
  t.equal(addressLiteral("2001:db8::1"), "[IPv6:2001:db8::1]");
});

test("the protocol's name says TLS, AUTH and SMTPUTF8 (RFC 3848, RFC 6531)", async (t) => {
  const none = { extended: true, tls: undefined, authenticated: false, smtpUtf8: false };
  const tls = { version: "TLSv1.3", cipher: "x" };
  t.equal(protocolName({ ...none, extended: false }), "SMTP");
  t.equal(protocolName(none), "ESMTP");
  t.equal(protocolName({ ...none, tls }), "ESMTPS");
  t.equal(protocolName({ ...none, authenticated: true }), "ESMTPA");
  t.equal(protocolName({ ...none, tls, authenticated: true }), "ESMTPSA");
  t.equal(protocolName({ ...none, smtpUtf8: true }), "UTF8SMTP");
  t.equal(protocolName({ ...none, smtpUtf8: true, tls, authenticated: true }), "UTF8SMTPSA");
});

test("dates are those of the calendar, leap years and the year 2000 included", async (t) => {
  t.equal(dateTime(0), "Thu, 01 Jan 1970 00:00:00 +0000");
  fc.assert(
    fc.property(fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_000 }), (at) => {
      const expected = new Date(at).toUTCString().replace("GMT", "+0000");
      return dateTime(at) === expected.replace(/ 0{1,3}(\d+) (\d\d:)/, " $1 $2");
    }),
    { numRuns: 3_000 },
  );
  t.pass();
});
