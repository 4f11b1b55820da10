// xtext and the answer to EHLO.

import fc from "fast-check";
import { test } from "tap";
import { noExtensions, parseExtensions } from "../../src/smtp/extensions.ts";
import { decodeXtext, encodeXtext } from "../../src/smtp/xtext.ts";

test("xtext comes back as it was, and is always printable", (t) => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const encoded = encodeXtext(text);
      if (!/^[!-~]*$/.test(encoded) || encoded.includes("=")) throw new Error("not xtext");
      if (decodeXtext(encoded) !== text) throw new Error("not the same");
    }),
  );
  t.equal(encodeXtext("a+b=c d"), "a+2Bb+3Dc+20d");
  for (const wrong of ["+", "+2", "+2b", "a b", "a=b", "\u00e9", "+GG"]) t.equal(decodeXtext(wrong), undefined, wrong);
  t.end();
});

test("extensions are read whatever their case and order", (t) => {
  const offered = parseExtensions([
    "mx.example PIPELINING",
    "pipelining",
    "SIZE 35882577",
    "8bitmime",
    "STARTTLS",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "SMTPUTF8",
    "DSN",
    "REQUIRETLS",
    "LIMITS MAILMAX=20 rcptmax=50 RCPTDOMAINMAX=1 FOO=BAR",
    "X-UNKNOWN whatever",
  ]);
  t.same(offered, {
    pipelining: true,
    chunking: true,
    size: true,
    sizeMaxBytes: 35_882_577,
    eightBitMime: true,
    smtpUtf8: true,
    dsn: true,
    startTls: true,
    requireTls: true,
    enhancedStatusCodes: true,
    mailMax: 20,
    rcptMax: 50,
  });
  t.same(parseExtensions(["mx.example PIPELINING"]), noExtensions, "the greeting is no extension");
  t.equal(parseExtensions(["x", "SIZE 0"]).sizeMaxBytes, undefined);
  t.match(parseExtensions(["x", "SIZE"]), { size: true, sizeMaxBytes: undefined });
  t.equal(parseExtensions(["x", "LIMITS MAILMAX=0 RCPTMAX=9999999"]).mailMax, undefined);
  t.end();
});
