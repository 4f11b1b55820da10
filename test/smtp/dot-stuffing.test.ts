// Transparency: what is stuffed comes back, and never holds an end of data.

import fc from "fast-check";
import { test } from "tap";
import { DotStuffer, hasDotLines } from "../../src/smtp/dot-stuffing.ts";

const content = fc
  .array(fc.constantFrom("\r", "\n", ".", "\r\n", "\r\n.", "x", "\0"), { maxLength: 24 })
  .map((units) => Buffer.from(units.join("")));

function cut(octets: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (octets.length + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((from, i) => octets.subarray(from, sorted[i] ?? octets.length));
}

function stuffAll(chunks: readonly Buffer[]): Buffer {
  const stuffer = new DotStuffer();
  return Buffer.concat(chunks.map((chunk) => stuffer.stuff(chunk)));
}

/** The other direction: the dot that begins a line goes. */
function unstuff(stuffed: Buffer): Buffer {
  return Buffer.from(stuffed.toString("latin1").replaceAll(/(^|\r\n)\./g, "$1"), "latin1");
}

test("unstuffing gives back what was stuffed, wherever it was cut", (t) => {
  fc.assert(
    fc.property(content, fc.array(fc.nat(), { maxLength: 6 }), (octets, places) => {
      const stuffed = stuffAll(cut(octets, places));
      if (!stuffed.equals(stuffAll([octets]))) throw new Error("the cut matters");
      if (!unstuff(stuffed).equals(octets)) throw new Error("not the same");
    }),
    { numRuns: 2_000 },
  );
  t.pass();
  t.end();
});

test("a stuffed content holds no end of data", (t) => {
  fc.assert(
    fc.property(content, fc.array(fc.nat(), { maxLength: 6 }), (octets, places) => {
      const stuffed = `\r\n${stuffAll(cut(octets, places)).toString("latin1")}`;
      if (stuffed.includes("\r\n.\r\n")) throw new Error("smuggled");
    }),
    { numRuns: 2_000 },
  );
  t.pass();
  t.end();
});

test("dot lines are seen wherever the cut is, and content without them is passed on uncopied", (t) => {
  fc.assert(
    fc.property(content, fc.array(fc.nat(), { maxLength: 6 }), (octets, places) => {
      const wanted = `\r\n${octets.toString("latin1")}`.includes("\r\n.");
      if (hasDotLines(cut(octets, places)) !== wanted) throw new Error("wrong");
    }),
    { numRuns: 2_000 },
  );
  const plain = Buffer.from("a\r\nb.c\r\n");
  t.equal(new DotStuffer().stuff(plain), plain);
  t.end();
});
