// The parts of a report: folding, quoting, quoted-printable.

import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { test } from "tap";
import { deliveryStatus, printable, statusField, typedAddress } from "../../src/mime/delivery-status.ts";
import { multipartReport, quotedPrintable, surveyText } from "../../src/mime/multipart-report.ts";
import { SeededRandom } from "../support/seeded-random.ts";

test("a field is folded at blanks and reads the same afterwards", (t) => {
  const value = "smtp; 550 5.7.1 words ".repeat(20).trim();
  const field = statusField("Diagnostic-Code", value, "ascii");
  t.ok(field.split("\r\n").every((line) => line.length <= 78));
  t.equal(field.replaceAll("\r\n ", " "), `Diagnostic-Code: ${value}\r\n`);
  t.equal(
    statusField("X", "y".repeat(100), "ascii"),
    `X: ${"y".repeat(100)}\r\n`,
    "the first word stays with the name",
  );
  t.equal(statusField("X", "", "ascii"), "X:\r\n");
  t.end();
});

test("a field is one field whatever its value is", (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 3_000 }),
      fc.constantFrom("ascii" as const, "utf-8" as const),
      (value, charset) => {
        const field = statusField("Name", value, charset);
        const lines = field.slice(0, -2).split("\r\n");
        return (
          field.endsWith("\r\n") &&
          lines.slice(1).every((line) => /^ \S/.test(line)) &&
          lines.every((line) => Buffer.byteLength(line) <= 998 && !/[\r\n\0\u2028\u2029]/.test(line)) &&
          (charset === "utf-8" || /^[\x20-\x7e]*$/.test(lines.join("")))
        );
      },
    ),
  );
  t.pass("always");
  t.end();
});

test("groups of fields are kept apart by an empty line", (t) => {
  const part = deliveryStatus(
    [
      ["A", "1"],
      ["B", undefined],
    ],
    [[["C", "2"]], [["D", "3"]]],
    "ascii",
  );
  t.equal(part.toString(), "A: 1\r\n\r\nC: 2\r\n\r\nD: 3\r\n");
  t.end();
});

test("addresses name their type, and other characters are escaped where they must be", (t) => {
  t.equal(typedAddress("a@example.com", "ascii"), "rfc822; a@example.com");
  t.equal(typedAddress("ü@example.com", "utf-8"), "utf-8; ü@example.com");
  t.equal(typedAddress("ü+\\ x@example.com", "ascii"), "utf-8; \\x{FC}\\x{2B}\\x{5C}\\x{20}x@example.com");
  t.equal(printable("a\u202eb\u0007c\r\nd😀", "ascii"), "ab c d\\x{1F600}");
  t.end();
});

test("quoted-printable keeps every octet and short lines", (t) => {
  const samples: Buffer[] = [];
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.constantFrom("\r\n", " ", " \r\n", "=", ".")), {
        maxLength: 20,
      }),
      (pieces) => {
        const octets = Buffer.concat(pieces.map((piece) => Buffer.from(piece as string)));
        const encoded = quotedPrintable(octets).toString("latin1");
        if (samples.length < 100) samples.push(octets);
        return encoded
          .split("\r\n")
          .every((line) => line.length <= 76 && /^[\t\x20-\x7e]*$/.test(line) && !/[ \t]$/.test(line));
      },
    ),
  );
  const script =
    "import sys, quopri, base64\nfor line in sys.stdin: print(base64.b64encode(quopri.decodestring(base64.b64decode(line))).decode())";
  const run = spawnSync("python3", ["-c", script], {
    input: samples.map((octets) => quotedPrintable(octets).toString("base64")).join("\n"),
    encoding: "utf8",
  });
  if (run.status === 0)
    t.same(
      run.stdout.split("\n").slice(0, samples.length),
      samples.map((octets) => octets.toString("base64")),
    );
  t.end();
});

test("a report knows whether it is 8-bit", (t) => {
  const part = (encoding: "7bit" | "8bit", body: string) => ({
    type: "text/plain",
    description: undefined,
    encoding,
    body: Buffer.from(body),
  });
  const random = new SeededRandom(1);
  t.equal(multipartReport("delivery-status", [part("7bit", "a\r\n")], random).eightBit, false);
  const report = multipartReport("delivery-status", [part("7bit", "a\r\n"), part("8bit", "ü\r\n")], random);
  t.equal(report.eightBit, true);
  t.match(
    report.content.toString(),
    /^MIME-Version: 1\.0\r\nContent-Type: multipart\/report; report-type=delivery-status;\r\n boundary="[^"]+"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--/,
  );
  t.end();
});

test("a survey finds the longest line", (t) => {
  t.same(surveyText(Buffer.from("ab\r\nabcd\r\na")), { eightBit: false, nul: false, longestLine: 4 });
  t.same(surveyText(Buffer.from("a\r\nabü\0")), { eightBit: true, nul: true, longestLine: 5 });
  t.same(surveyText(Buffer.alloc(0)), { eightBit: false, nul: false, longestLine: 0 });
  t.end();
});
