// Octets in, replies out: any cut, any garbage, bounded.

import fc from "fast-check";
import { test } from "tap";
import { type Reply, replyTextMax } from "../../src/core/reply.ts";
import { cleanText, ReplyDecoder, replyBytesMax } from "../../src/smtp/reply-decoder.ts";

function decode(chunks: readonly Buffer[]): {
  replies: Reply[];
  lines: (readonly string[])[];
  fault: string | undefined;
} {
  const replies: Reply[] = [];
  const lines: (readonly string[])[] = [];
  const decoder = new ReplyDecoder((reply, texts) => {
    replies.push(reply);
    lines.push(texts);
  });
  let fault: string | undefined;
  for (const chunk of chunks) fault = decoder.push(chunk);
  return { replies, lines, fault };
}

function decodeText(text: string) {
  return decode([Buffer.from(text, "latin1")]);
}

test("replies of one line and of many", (t) => {
  const cases: [string, Reply][] = [
    ["250 2.1.0 Sender ok\r\n", { code: 250, enhanced: "2.1.0", text: "Sender ok" }],
    ["250\r\n", { code: 250, enhanced: undefined, text: "" }],
    ["250 \r\n", { code: 250, enhanced: undefined, text: "" }],
    ["354 go\n", { code: 354, enhanced: undefined, text: "go" }],
    ["550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n", { code: 550, enhanced: "5.7.1", text: "one two three" }],
    ["550-no\r\n550 5.1.1\r\n", { code: 550, enhanced: "5.1.1", text: "no" }],
    // A class that does not fit the code, or something that only looks like a status.
    ["550 4.2.1 odd\r\n", { code: 550, enhanced: undefined, text: "4.2.1 odd" }],
    ["250 2.0.0.1 address\r\n", { code: 250, enhanced: undefined, text: "2.0.0.1 address" }],
    ["550 5.1234.1 x\r\n", { code: 550, enhanced: undefined, text: "5.1234.1 x" }],
    ["554 5.7.1\x1b]0;title\x07 \u0085evil\r\n", { code: 554, enhanced: "5.7.1", text: "]0;title  \ufffdevil" }],
  ];
  for (const [octets, wanted] of cases) {
    const { replies, fault } = decodeText(octets);
    t.equal(fault, undefined);
    t.same(replies, [wanted], JSON.stringify(octets));
  }
  t.end();
});

test("what is no reply is a fault", (t) => {
  for (const octets of [
    "hello\r\n",
    "\r\n",
    "25\r\n",
    "150 too low\r\n",
    "650 too high\r\n",
    "250x\r\n",
    "250\tx\r\n",
    "2x0 x\r\n",
    "250-a\r\n251 b\r\n",
    "250 nul \0 here\r\n",
    "250-a\r\n".repeat(101),
    "x".repeat(replyBytesMax + 1),
    `250-${"x".repeat(1_000)}\r\n`.repeat(66),
  ]) {
    t.type(decodeText(octets).fault, "string", JSON.stringify(octets.slice(0, 20)));
    t.same(decodeText(octets).replies, []);
  }
  t.end();
});

test("a hundred lines are taken, and long texts are cut", (t) => {
  const { replies, fault } = decodeText(`${"250-x\r\n".repeat(99)}250 end\r\n250 next\r\n`);
  t.equal(fault, undefined);
  t.equal(replies.length, 2);
  const long = decodeText(`250 ${"y".repeat(5_000)}\r\n250 ok\r\n`);
  t.equal(long.fault, undefined);
  t.ok((long.replies[0]?.text.length ?? 0) <= replyTextMax);
  t.equal(long.replies[1]?.text, "ok");
  t.end();
});

test("the lines of an answer to EHLO come as they are", (t) => {
  const { lines } = decodeText("250-mx.example hello\r\n250-SIZE 100\r\n250 DSN\r\n");
  t.same(lines, [["mx.example hello", "SIZE 100", "DSN"]]);
  t.end();
});

const replyText = fc.string({ maxLength: 80 }).map((text) => cleanText(text));
const reply = fc.record({
  code: fc.integer({ min: 200, max: 599 }),
  lines: fc.array(replyText, { minLength: 1, maxLength: 5 }),
});

function render(parts: { code: number; lines: string[] }): string {
  return parts.lines.map((line, i) => `${parts.code}${i + 1 < parts.lines.length ? "-" : " "}${line}\r\n`).join("");
}

function cut(octets: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (octets.length + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((from, i) => octets.subarray(from, sorted[i] ?? octets.length));
}

test("however the octets are cut, the replies are the same", (t) => {
  fc.assert(
    fc.property(fc.array(reply, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 20 }), (replies, places) => {
      const octets = Buffer.from(replies.map(render).join(""));
      const whole = decode([octets]);
      const cutUp = decode(cut(octets, places));
      t.equal(whole.fault, undefined);
      t.equal(whole.replies.length, replies.length);
      if (JSON.stringify(whole) !== JSON.stringify(cutUp)) throw new Error("differs");
    }),
    { numRuns: 200 },
  );
  t.end();
});

test("no garbage breaks it, and nothing it gives out is out of bounds", (t) => {
  const unit = fc.constantFrom("2", "5", "0", "-", " ", "\r", "\n", "\r\n", "250 ", "250-", "\0", "\xff", "x");
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 60 }), fc.array(fc.nat(), { maxLength: 5 }), (units, places) => {
      const octets = Buffer.from(units.join(""), "latin1");
      const whole = decode([octets]);
      const cutUp = decode(cut(octets, places));
      if (JSON.stringify(whole.replies) !== JSON.stringify(cutUp.replies)) throw new Error("differs");
      for (const each of whole.replies) {
        if (each.code < 200 || each.code > 599 || each.text.length > replyTextMax) throw new Error("out of bounds");
        if (/[\u0000-\u001f\u007f-\u009f]/.test(each.text)) throw new Error("a control got through");
      }
    }),
    { numRuns: 500 },
  );
  t.pass();
  t.end();
});
