// Relaxed canonicalization: the RFC's own examples, and a slow plain reference over generated bodies and cuts.

import { createHash } from "node:crypto";
import fc from "fast-check";
import { test } from "tap";
import { RelaxedBody, relaxedField, windowBytes } from "../../src/signing/canonicalization.ts";
import { bodyHash } from "../../src/signing/dkim-signature.ts";

function relaxed(chunks: readonly Buffer[]): string {
  const out: Buffer[] = [];
  const body = new RelaxedBody(Buffer.alloc(windowBytes), (octets) => out.push(Buffer.from(octets)));
  for (const chunk of chunks) body.write(chunk);
  body.end();
  return Buffer.concat(out).toString("latin1");
}

/** RFC 6376 section 3.4.4, word for word. */
function slowRelaxed(body: string): string {
  const lines = body.split("\r\n").map((line) => line.replace(/[ \t]+/g, " ").replace(/ $/, ""));
  while (lines.at(-1) === "") lines.pop();
  return lines.length === 0 ? "" : `${lines.join("\r\n")}\r\n`;
}

const pieces = fc.constantFrom("a", "word", ".", "\xa0", "\xc3\xa9", " ", " ", "  ", "\t", "\r\n", "\r\n", "\r", "\n");
const bodies = fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join(""));

test("the example of RFC 6376 section 3.4.5 comes out as printed there", async (t) => {
  t.equal(relaxedField("A: X"), "a:X");
  t.equal(relaxedField("B : Y\t\r\n\tZ  "), "b:Y Z");
  t.equal(relaxed([Buffer.from(" C \r\nD \t E\r\n\r\n\r\n")]), " C\r\nD E\r\n");
});

test("an empty body has the hash that RFC 6376 section 3.4.4 prints", async (t) => {
  const empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
  const scratch = Buffer.alloc(windowBytes);
  t.equal(bodyHash([], scratch), empty);
  t.equal(bodyHash([Buffer.from("\r\n\r\n \t\r\n")], scratch), empty, "so has one of blank lines");
});

test("the body of RFC 8463 appendix A has the hash printed there", async (t) => {
  const body = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
  t.equal(bodyHash([Buffer.from(body)], Buffer.alloc(windowBytes)), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
});

test("a field keeps octets above 127, a no-break space at its end too", async (t) => {
  t.equal(relaxedField("Subject:  caf\xc3\xa9 \xc2\xa0\r\n \xa0 "), "subject:caf\xc3\xa9 \xc2\xa0 \xa0");
  t.equal(relaxedField("X-Empty:"), "x-empty:");
  t.equal(relaxedField("X-Blank: \r\n \t "), "x-blank:");
});

test("any body at any two cuts gives what the plain reference gives", async (t) => {
  fc.assert(
    fc.property(bodies, fc.nat(), fc.nat(), (text, a, b) => {
      const body = Buffer.from(text, "latin1");
      const first = a % (body.length + 1);
      const second = first + (b % (body.length - first + 1));
      const chunks = [body.subarray(0, first), body.subarray(first, second), body.subarray(second)];
      return relaxed(chunks) === slowRelaxed(text);
    }),
    { numRuns: 3_000 },
  );
  t.pass();
});

test("an octet at a time gives the same as all at once", async (t) => {
  fc.assert(
    fc.property(bodies, (text) => {
      const body = Buffer.from(text, "latin1");
      return relaxed(Array.from(body, (octet) => Buffer.of(octet))) === slowRelaxed(text);
    }),
    { numRuns: 500 },
  );
  t.pass();
});

test("blanks and line ends around the window's edge are reduced as anywhere else", async (t) => {
  for (const gap of [" ", "  ", "\t", " \r\n", "\r\n", "\r\n\r\n \t", " \r", "\n "]) {
    for (let before = windowBytes - 4; before <= windowBytes + 1; before++) {
      const text = `${"x".repeat(before)}${gap}${"y".repeat(windowBytes)}${gap}end${gap}`;
      t.equal(relaxed([Buffer.from(text)]), slowRelaxed(text), JSON.stringify(gap));
    }
  }
});

test("a body of a megabyte of blank lines and blanks leaves its one word", async (t) => {
  const text = `${"\r\n \t".repeat(100_000)}word${" \r\n".repeat(100_000)}`;
  const hash = createHash("sha256").update(slowRelaxed(text)).digest("base64");
  t.equal(bodyHash([Buffer.from(text)], Buffer.alloc(windowBytes)), hash);
});
