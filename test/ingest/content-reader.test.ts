// The content reader against the model: every cut, every mixture of line ends and dots.

import fc from "fast-check";
import { test } from "tap";
import { ContentReader } from "../../src/ingest/content-reader.ts";
import { MemoryBudget } from "../../src/ingest/memory-budget.ts";
import { modelContent } from "./content-model.ts";

const limits = { messageBytesMax: 1e9, lineBytesMax: 1e9, headerSectionBytesMax: 1e9 };

/** `shift`: octets before the pieces in their buffers, which the reader must neither read nor write. */
function readAll(raw: string, pieces: readonly number[], shift = 0) {
  const reader = new ContentReader(limits, new MemoryBudget(1e9));
  let at = 0;
  for (const size of [...pieces, raw.length]) {
    const text = raw.slice(at, at + size);
    if (text === "") continue;
    const piece = Buffer.from(new ArrayBuffer(shift + text.length), shift);
    piece.write(text, "latin1");
    const end = reader.read(piece, 0);
    at += end === -1 ? piece.length : end;
    if (end !== -1) return { reader, at };
  }
  return { reader, at: -1 };
}

function agreesWithModel(raw: string, pieces: readonly number[], shift = 0): boolean {
  const model = modelContent(raw);
  const { reader, at } = readAll(raw, pieces, shift);
  if (model === undefined) return at === -1;
  if (at !== raw.length - model.rest.length) return false;
  const isBad = reader.fault === "bare-cr-lf" || reader.fault === "nul";
  if (isBad !== model.isBad) return false;
  if (isBad) return reader.content().chunks.length === 0;
  const content = reader.content();
  const text = Buffer.concat(content.chunks).toString("latin1");
  const hasDotLines = text.split("\r\n").some((line) => line.startsWith("."));
  return (
    text === model.content &&
    content.bytes === text.length &&
    content.hasDotLines === hasDotLines &&
    content.has8Bit === /[\x80-\xff]/.test(text)
  );
}

const octets = fc.string({ unit: fc.constantFrom("\r", "\n", "\r\n", ".", "\0", "x", "\r\n."), maxLength: 12 });

test("any mixture of CR, LF, dots and NUL, cut anywhere, is one content up to the final dot or refused", async (t) => {
  fc.assert(
    fc.property(octets, fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 20 }), (text, pieces) =>
      agreesWithModel(`${text}\r\n.\r\ny\r\n.\r\n`, pieces),
    ),
    { numRuns: 3_000 },
  );
  t.pass();
});

test("long lines, octets above 127 and controls at any place of a word are found, wherever the buffer begins", async (t) => {
  const run = fc.integer({ min: 1, max: 13 }).map((length) => "x".repeat(length));
  const other = fc.constantFrom("\r\n", "\r\n.", "\r\n..", "\t", "\x80", "\xff", "\x0e", "\x7f");
  const bad = fc.constantFrom("\r", "\n", "\0");
  const piece = fc.oneof(
    { weight: 10, arbitrary: run },
    { weight: 10, arbitrary: other },
    { weight: 1, arbitrary: bad },
  );
  const text = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(""));
  const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 8 });
  fc.assert(
    fc.property(text, cuts, fc.integer({ min: 0, max: 7 }), (content, pieces, shift) =>
      agreesWithModel(`${content}\r\n.\r\ny\r\n.\r\n`, pieces, shift),
    ),
    { numRuns: 5_000 },
  );
  t.pass();
});

test("all contents of up to five octets over {CR, LF, dot, NUL, x} agree with the model, whole and octet by octet", async (t) => {
  const alphabet = ["\r", "\n", ".", "\0", "x"];
  let texts = [""];
  let count = 0;
  for (let length = 0; length <= 5; length++) {
    for (const text of texts) {
      const raw = `${text}\r\n.\r\n.\r\n`;
      if (!agreesWithModel(raw, [])) t.fail(`whole: ${JSON.stringify(text)}`);
      if (!agreesWithModel(raw, Array(raw.length).fill(1))) t.fail(`octet by octet: ${JSON.stringify(text)}`);
      count++;
    }
    texts = texts.flatMap((text) => alphabet.map((octet) => text + octet));
  }
  t.equal(count, 3_906);
});

test("octets that come one by one do not cost a buffer each", async (t) => {
  const raw = `${"abcdefgh\r\n".repeat(4_000)}.\r\n`;
  const { reader } = readAll(raw, Array(raw.length).fill(1));
  const content = reader.content();
  t.equal(content.bytes, 40_000);
  t.ok(content.chunks.length < 10, `${content.chunks.length} chunks`);
});

test("large chunks are kept as they came, without a copy", async (t) => {
  const reader = new ContentReader(limits, new MemoryBudget(1e9));
  const chunk = Buffer.from("x".repeat(10_000));
  reader.read(chunk, 0);
  reader.read(Buffer.from("\r\n.\r\n"), 0);
  t.equal(reader.content().chunks[0]?.buffer, chunk.buffer);
});

test("limits: size, line length and header section are counted in octets of content", async (t) => {
  const fault = (raw: string, other: Partial<typeof limits>) => {
    const reader = new ContentReader({ ...limits, ...other }, new MemoryBudget(1e9));
    t.equal(reader.read(Buffer.from(raw), 0), raw.length);
    return reader.fault;
  };
  t.equal(fault("12345678\r\n.\r\n", { messageBytesMax: 10 }), undefined);
  t.equal(fault("123456789\r\n.\r\n", { messageBytesMax: 10 }), "message-too-big");
  t.equal(fault("..234567\r\n.\r\n", { messageBytesMax: 9 }), undefined, "the stuffed dot does not count");
  t.equal(fault("12345678\r\n.\r\n", { lineBytesMax: 10 }), undefined);
  t.equal(fault("\r\n123456789\r\n.\r\n", { lineBytesMax: 10 }), "line-too-long");
  t.equal(fault(`A: ${"b".repeat(50)}\r\n\r\nx\r\n.\r\n`, { headerSectionBytesMax: 100 }), undefined);
  t.equal(
    fault("A: b\r\n".repeat(50) + "\r\n.\r\n".slice(2), { headerSectionBytesMax: 100 }),
    "header-section-too-long",
  );
  t.equal(fault(`${"no field\r\n".repeat(50)}.\r\n`, { headerSectionBytesMax: 100 }), undefined, "all of it is body");
});

test("memory is given back when a content is refused, disposed, or beyond the budget", async (t) => {
  const budget = new MemoryBudget(100);
  const first = new ContentReader(limits, budget);
  first.read(Buffer.from("x".repeat(60)), 0);
  t.equal(budget.heldBytes, 60);
  const second = new ContentReader(limits, budget);
  second.read(Buffer.from("x".repeat(60)), 0);
  t.equal(second.fault, "no-memory");
  t.equal(budget.heldBytes, 60);
  first.dispose();
  first.dispose();
  t.equal(budget.heldBytes, 0);
});
