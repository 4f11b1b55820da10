// Mailboxes and paths: what is taken, what is refused, and what they become.

import fc from "fast-check";
import { test } from "tap";
import {
  addressOfLiteral,
  domainOf,
  formatPath,
  parseDomain,
  parseForwardPath,
  parseMailbox,
  parseReversePath,
} from "../../src/smtp/path.ts";

function mailbox(text: string): string | undefined {
  const parsed = parseMailbox(text);
  return parsed.kind === "mailbox" ? parsed.mailbox.text : undefined;
}

test("mailboxes are taken, the local part as it is and the domain in lower-case A-labels", (t) => {
  for (const [text, wanted] of [
    ["Joe.Doe+tag@Example.COM", "Joe.Doe+tag@example.com"],
    ["a@b", "a@b"],
    ["a@example.com.", "a@example.com"],
    ['"a b"@example.com', '"a b"@example.com'],
    ['"a@b x"@c.example', '"a@b x"@c.example'],
    ['"quo\\"te"@example.com', '"quo\\"te"@example.com'],
    ["a@b\u00fccher.example", "a@xn--bcher-kva.example"],
    ["j\u00f6rg@example.com", "j\u00f6rg@example.com"],
    ["a@[192.0.2.1]", "a@[192.0.2.1]"],
    ["a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]"],
    ["a@_x.example.com", "a@_x.example.com"],
  ] as const) {
    t.equal(mailbox(text), wanted, text);
  }
  t.end();
});

test("what is no mailbox is refused", (t) => {
  for (const text of [
    "",
    "a",
    "@b",
    "a@",
    "a@b@c",
    "a b@c",
    ".a@b",
    "a.@b",
    "a..b@c",
    "a@-b.example",
    "a@b..example",
    "a@b.example..",
    "a@192.0.2.1",
    "a@[300.0.0.1]",
    "a@[x:y]",
    "a@b.example/..",
    "a@b example",
    "a@b\r\n.example",
    "a\0@b",
    "a@b.example\r\nRCPT TO:<x@y>",
    '"a\r"@b',
    `${"x".repeat(65)}@b.example`,
    `a@${"x".repeat(64)}.example`,
    `a@${"abcdefgh.".repeat(29)}example`,
    "\ud800@b.example",
  ]) {
    t.equal(mailbox(text), undefined, JSON.stringify(text));
  }
  t.equal(mailbox("a@\u2028.example"), undefined);
  t.end();
});

test("marks that turn the direction of writing are refused, letters written from right to left are not", (t) => {
  t.equal(mailbox("moc.elpmaxe\u202e@example.com"), undefined);
  t.equal(mailbox('"a\u2067b"@example.com'), undefined);
  t.equal(mailbox("\u05d3\u05d5\u05d0\u05e8@example.com"), "\u05d3\u05d5\u05d0\u05e8@example.com");
  t.end();
});

test("paths are read with their parameters", (t) => {
  const null_ = parseReversePath("<> SIZE=10");
  t.match(null_, { kind: "path", mailbox: undefined, parameters: "SIZE=10" });
  t.match(parseReversePath("<a@b.example>"), { kind: "path", mailbox: { text: "a@b.example" }, parameters: "" });
  t.match(parseForwardPath("<@x,@y:a@b.example>"), { mailbox: { text: "a@b.example" } }, "a source route is dropped");
  t.match(parseForwardPath("<Postmaster>"), { mailbox: { text: "Postmaster", domain: "" } });
  t.match(parseForwardPath('<"a>b"@c.example> NOTIFY=NEVER'), { mailbox: { text: '"a>b"@c.example' } });
  t.match(parseForwardPath("<>"), { kind: "refused" });
  for (const text of ["a@b", "<a@b", "a@b>", "<a@b>x", "<a@b\r\n>"]) {
    t.equal(parseReversePath(text).kind, "refused", text);
  }
  t.end();
});

test("domains and literals", (t) => {
  t.equal(parseDomain("0x7f.1"), undefined);
  t.equal(parseDomain("example.com:25"), undefined);
  t.equal(addressOfLiteral("[ipv6:2001:db8::1]"), "2001:db8::1");
  t.equal(addressOfLiteral("example.com"), undefined);
  t.equal(domainOf("a@b@c.example"), "c.example");
  t.equal(domainOf(""), "");
  t.equal(domainOf("postmaster"), "");
  t.equal(formatPath(""), "<>");
  t.throws(() => formatPath("a@b\r\nDATA"));
  t.end();
});

test("what is taken once is taken again, as the same, and never holds a line end", (t) => {
  const unit = fc.constantFrom(
    "a",
    "B",
    ".",
    "@",
    '"',
    "\\",
    " ",
    "-",
    "[",
    "]",
    ":",
    "1",
    "\r",
    "\n",
    "\u00fc",
    "\u{1f600}",
    "\0",
  );
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 20 }), (units) => {
      const taken = mailbox(units.join(""));
      if (taken === undefined) return;
      if (mailbox(taken) !== taken) throw new Error(`${taken} is not stable`);
      if (/[\r\n\0]/.test(taken)) throw new Error("a control got through");
    }),
    { numRuns: 3_000 },
  );
  t.pass();
  t.end();
});
