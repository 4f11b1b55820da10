// Header sections as they come: folded, foreign, broken, endless.

import fc from "fast-check";
import { test } from "tap";
import { fieldName, fieldText, headerFieldsMax, parseHeaderSection } from "../../src/mime/header-section.ts";

function parse(text: string) {
  const content = Buffer.from(text);
  const section = parseHeaderSection(content);
  if (section === undefined) throw new Error("too many fields");
  return {
    ...section,
    names: section.fields.map((field) => fieldName(content, field)),
    texts: section.fields.map((field) => fieldText(content, field)),
  };
}

test("fields, folded lines, blanks before the colon, and the begin of the body", async (t) => {
  const section = parse("Subject: a\r\n b\r\n\tc\r\nX-Y :d\r\nEmpty:\r\n\r\nbody: x\r\n");
  t.same(section.names, ["subject", "x-y", "empty"]);
  t.same(section.texts, ["a b c", "d", ""]);
  t.match(section, { separator: "empty-line", fieldsEnd: 36, bodyStart: 38 });
});

test("a line that is no field ends the section", async (t) => {
  for (const line of [
    "no colon",
    "two words: x",
    ": no name",
    "\u00fc: x",
    " folded first",
    "-- ",
    "From someone 2026",
  ]) {
    t.match(
      parse(`A: b\r\n${line}\r\n\r\nx`),
      line.startsWith(" ") ? { separator: "empty-line" } : { bodyStart: 6, separator: "missing" },
    );
    t.match(parse(`${line}\r\n`), { bodyStart: 0, fieldsEnd: 0, separator: "missing" }, line);
  }
});

test("fields only, and nothing at all", async (t) => {
  t.match(parse("A: b\r\n"), { bodyStart: 6, separator: "none" });
  t.match(parse(""), { bodyStart: 0, separator: "missing" });
  t.match(parse("\r\nx"), { bodyStart: 2, fieldsEnd: 0, separator: "empty-line" });
});

test("a line of blanks continues a field: it is no empty line", async (t) => {
  t.same(parse("A: b\r\n \r\nC: d\r\n\r\n").names, ["a", "c"]);
});

test("more fields than the limit are not parsed", async (t) => {
  t.equal(parseHeaderSection(Buffer.from("A: b\r\n".repeat(headerFieldsMax + 1))), undefined);
  t.ok(parseHeaderSection(Buffer.from("A: b\r\n".repeat(headerFieldsMax))));
});

test("values are decoded as UTF-8, cut, and free of controls", async (t) => {
  t.same(parse("A: x\u202ey\u2066z\r\n\r\n").texts, ["x y z"]);
  t.same(parse("A: \u00fc\u001b\u0085\u2028x\r\n\r\n").texts, ["\u00fc   x"]);
  const content = Buffer.from(`A: ${"x".repeat(5_000)}\r\n\r\n`);
  const field = parseHeaderSection(content)?.fields[0];
  t.equal(field && fieldText(content, field, 10), "x".repeat(10));
});

test("on any octets: fields lie side by side from the start, and the body follows them", async (t) => {
  const octets = fc.string({
    unit: fc.constantFrom("A", ":", " ", "\t", "\r\n", "\r", "\n", "\0", "\xff", "b: "),
    maxLength: 40,
  });
  fc.assert(
    fc.property(octets, (text) => {
      const content = Buffer.from(text, "latin1");
      const section = parseHeaderSection(content);
      if (section === undefined) return false;
      let at = 0;
      for (const field of section.fields) {
        if (
          field.start !== at ||
          field.nameEnd <= at ||
          field.valueStart <= field.nameEnd ||
          field.end < field.valueStart
        )
          return false;
        at = field.end;
      }
      return section.fieldsEnd === at && section.bodyStart - at === (section.separator === "empty-line" ? 2 : 0);
    }),
    { numRuns: 2_000 },
  );
  t.pass();
});
