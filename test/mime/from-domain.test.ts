// The author's domain, out of anything that may stand in From.

import fc from "fast-check";
import { test } from "tap";
import { fromDomain } from "../../src/mime/from-domain.ts";

const cases: readonly (readonly [string, string | undefined])[] = [
  ["a@example.com", "example.com"],
  ["A@EXAMPLE.Com", "example.com"],
  ["Ann <ann@example.com>", "example.com"],
  ['"Ann, \\"the\\" <x@y.example>" <ann@example.com>', "example.com"],
  ["Ann (works at x@y.example (and z@z)) <ann@example.com>", "example.com"],
  ["ann@example.com (Ann)", "example.com"],
  ["ann@(hidden)example(too).com", "example.com"],
  ["=?utf-8?q?a=40evil.example?= <ann@example.com>", "example.com"],
  ["foo@evil.example <ann@example.com>", "example.com"],
  ["ann@example.com, bob@other.example", "example.com"],
  ["Ann <ann@example.com>, Bob <bob@other.example>", "example.com"],
  ["Team: ann@example.com, bob@other.example;", "example.com"],
  ["Team: Ann <ann@example.com>;", "example.com"],
  ["Nobody:;", undefined],
  ["Nobody:;, ann@example.com", "example.com"],
  ["<@relay.example,@b.example:ann@example.com>", "example.com"],
  ['"a@b"@example.com', "example.com"],
  ['"a@b" <x>', undefined],
  ["ann@b\u00fccher.example", "xn--bcher-kva.example"],
  ["ann@example.com.", "example.com"],
  ["ann@[192.0.2.1]", undefined],
  ["ann@exa mple.com", "example.com"],
  ["ann@example.com/path", undefined],
  ["ann@", undefined],
  ["ann", undefined],
  ["", undefined],
  ["<>", undefined],
  ["ann@-", "-"],
];

test("the first author's domain", async (t) => {
  for (const [value, domain] of cases) t.equal(fromDomain(value), domain, JSON.stringify(value));
});

test("on any text it ends, with a domain name or nothing", async (t) => {
  const text = fc.string({
    unit: fc.constantFrom("a", "@", "<", ">", '"', "\\", "(", ")", "[", "]", ",", ";", ":", ".", " ", "\u00fc"),
  });
  fc.assert(
    fc.property(text, (value) => /^[a-z0-9_.-]+$/.test(fromDomain(value) ?? "x")),
    { numRuns: 3_000 },
  );
  t.pass();
});

test("a value made to be slow is not", async (t) => {
  const before = performance.now();
  for (const part of ["(", '"', "<", "@", "[", ",", "a@b,"]) fromDomain(part.repeat(20_000));
  t.ok(performance.now() - before < 1_000);
});
