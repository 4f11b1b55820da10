// Finding the header section and its fields.

import { test } from "tap";
import { scanFields, splitContent } from "../../src/signing/header-fields.ts";

const content = Buffer.from("From: a@example.com\r\nSubject: one\r\n\ttwo\r\n\r\nbody\r\n\r\nmore\r\n");

test("the first empty line splits content, wherever the chunks are cut", async (t) => {
  for (let cut = 0; cut <= content.length; cut++) {
    const parts = splitContent([content.subarray(0, cut), content.subarray(cut)]);
    t.equal(parts.headerSection, "From: a@example.com\r\nSubject: one\r\n\ttwo\r\n");
    t.equal(Buffer.concat(parts.body).toString(), "body\r\n\r\nmore\r\n");
  }
});

test("content without a body, without a header section, and without anything", async (t) => {
  t.same(splitContent([Buffer.from("From: a\r\n")]), { headerSection: "From: a\r\n", body: [] });
  t.same(splitContent([Buffer.from("From: a\r\n\r\n")]), { headerSection: "From: a\r\n", body: [] });
  t.same(splitContent([Buffer.from("\r\nbo"), Buffer.from("dy")]).headerSection, "");
  t.same(Buffer.concat(splitContent([Buffer.from("\r\nbo"), Buffer.from("dy")]).body).toString(), "body");
  t.same(splitContent([]), { headerSection: "", body: [] });
});

test("folds belong to their field, and lines that are no field are passed over", async (t) => {
  const section = "From : a\r\nSUBJECT: one\r\n two\r\n\tthree\r\nno field here\r\n: nameless\r\nX:y";
  t.same(scanFields(section), [
    { name: "from", raw: "From : a" },
    { name: "subject", raw: "SUBJECT: one\r\n two\r\n\tthree" },
    { name: "x", raw: "X:y" },
  ]);
});
