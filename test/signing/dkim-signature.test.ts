// Our signatures, seen by an independent verifier (mailauth), and an example of the standard seen by us.

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import fc from "fast-check";
import { dkimVerify } from "mailauth";
import { test } from "tap";
import { relaxedField, windowBytes } from "../../src/signing/canonicalization.ts";
import { selectFields, signContent, unsignedField } from "../../src/signing/dkim-signature.ts";
import { scanFields } from "../../src/signing/header-fields.ts";
import { type DomainKeys, domainKeys, keysFor } from "../../src/signing/key-store.ts";
import { keyRecord } from "../../src/signing/keygen.ts";
import { inlineSigner } from "../support/inline-signer.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const ed25519 = generateKeyPairSync("ed25519").privateKey;
const keys: DomainKeys = domainKeys("example.com", [
  { domain: "example.com", selector: "s2026a", algorithm: "rsa-sha256", privateKey: rsa },
  { domain: "example.com", selector: "s2026e", algorithm: "ed25519-sha256", privateKey: ed25519 },
]);
const records = new Map(
  [keyRecord("example.com", "s2026a", rsa), keyRecord("example.com", "s2026e", ed25519)].map((r) => [r.name, r.text]),
);
const scratch = Buffer.alloc(windowBytes);
const signedAt = 1_790_000_000_999;

async function results(message: Buffer): Promise<string[]> {
  const resolver = async (name: string): Promise<string[][]> => [[records.get(name) ?? ""]];
  // The verifier's clock stands at the instant of signing, for it refuses signatures of the future.
  const { results } = await dkimVerify(message, { resolver, curTime: new Date(signedAt) } as object);
  return results.map((result) => `${result.algo} ${result.status.result}${result.status.comment ?? ""}`);
}

function signed(content: string, cut = content.length): Buffer {
  const octets = Buffer.from(content, "latin1");
  const chunks = [octets.subarray(0, cut), octets.subarray(cut)];
  return Buffer.concat([Buffer.from(signContent(chunks, keys, signedAt, scratch), "latin1"), octets]);
}

const bothPass = ["rsa-sha256 pass", "ed25519-sha256 pass"];
const header =
  "From: Ann <ann@example.com>\r\nTo: bob@example.net\r\nSubject: hi\r\nDate: Mon, 1 Nov 2026 10:00:00 +0000\r\n";

const stories: Readonly<Record<string, string>> = {
  "a plain message": `${header}\r\nhello\r\n`,
  "an empty body": `${header}\r\n`,
  "no empty line after the header section": header,
  "a body without a final CRLF": `${header}\r\nhello`,
  "blank lines at the end": `${header}\r\nhello\r\n\r\n \t\r\n\r\n`,
  "a body of blank lines": `${header}\r\n\r\n\r\n`,
  "lines of dots": `${header}\r\n.\r\n..\r\n.hidden\r\n`,
  "8-bit text": `${header}\r\ncaf\xc3\xa9 \xa0\xff\x85 \xa0\r\n`,
  "a line of 20,000 octets": `${header}\r\n${"long  line ".repeat(2_000)}\r\n`,
  "runs of blanks": `${header}\r\n  a \t b  \r\n\tc\t\r\n`,
  "folded fields": `From: Ann\r\n <ann@example.com>\r\nSubject: a\r\n\tb  c\r\n   d \r\nTo:\r\n bob@example.net\r\n\r\nx\r\n`,
  "UTF-8 in the header section": `From: J\xc3\xb6rg <j@example.com>\r\nSubject: \xc3\xa0\r\n \xe2\x82\xac\xa0\r\n\r\nx\r\n`,
  "the same field three times": `${header}References: <1@x>\r\nReferences: <2@x>\r\nX: y\r\nReferences: <3@x>\r\n\r\nx\r\n`,
  "two Subjects": `${header}Subject: second\r\n\r\nx\r\n`,
  "names in other case and a blank before the colon": `FROM: a@example.com\r\nsubject : b\r\nmessage-id:<a@b>\r\n\r\nx\r\n`,
  "an empty Subject": `From: a@example.com\r\nSubject:\r\nCc: \r\n\r\nx\r\n`,
};

for (const [story, content] of Object.entries(stories)) {
  test(`mailauth verifies both signatures: ${story}`, async (t) => {
    t.same(await results(signed(content)), bothPass);
  });
}

test("mailauth verifies both signatures of generated messages", async (t) => {
  const value = fc.array(fc.constantFrom("a", "word", " ", "  ", "\t", "\r\n ", "\xc3\xa9", ";", "=", ":"), {
    maxLength: 12,
  });
  const field = fc
    .tuple(fc.constantFrom("Subject", "to", "CC", "References", "List-Unsubscribe", "X-Other", "Content-Type"), value)
    .map(([name, parts]) => `${name}: ${parts.join("")}x\r\n`);
  const body = fc.array(fc.constantFrom("a", "word", " ", "  ", "\t", "\r\n", "\r\n", "\xff", "."), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(fc.array(field, { maxLength: 8 }), body, fc.nat(), async (fields, parts, cut) => {
      const content = `${fields.join("")}From: a@example.com\r\n\r\n${parts.join("")}`;
      t.same(await results(signed(content, cut % (content.length + 1))), bothPass);
    }),
    { numRuns: 60 },
  );
});

test("what is added or changed on the way breaks the signatures", async (t) => {
  const message = signed(`${header}MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nhello\r\n`).toString("latin1");
  const failed = async (changed: string): Promise<boolean> =>
    (await results(Buffer.from(changed, "latin1"))).every((result) => / (fail|neutral)/.test(result));
  for (const added of [
    "From: x@evil.example",
    "Reply-To: x@evil.example",
    "Cc: x",
    "Content-Type: text/html",
    "Subject: x",
  ]) {
    t.ok(await failed(`${added}\r\n${message}`), `${added} on top`);
    t.ok(await failed(message.replace("\r\nTo:", `\r\n${added}\r\nTo:`)), `${added} in the middle`);
  }
  t.ok(await failed(`${message}more\r\n`), "an appended line");
  t.ok(await failed(message.replace("hello", "hullo")), "another body");
  t.same(
    await results(Buffer.from(`Received: from x\r\nMIME-Check: y\r\n${message}`, "latin1")),
    bothPass,
    "a trace field",
  );
});

test("every line has at most 78 characters and the tags are those that we promise", async (t) => {
  const fields = `${header}${"References: <a@b>\r\n".repeat(20)}Message-ID: <a@b>\r\n`;
  const text = signContent([Buffer.from(`${fields}\r\nx\r\n`)], keys, signedAt, scratch);
  t.ok(text.endsWith("\r\n"));
  for (const line of text.split("\r\n")) t.ok(line.length <= 78, line);
  const [first, second] = text.split(/(?<=\r\n)(?=DKIM)/) as [string, string];
  t.match(
    first,
    /^DKIM-Signature: v=1; a=rsa-sha256; c=relaxed\/relaxed; d=example.com; s=s2026a;\r\n t=1790000000; h=From:/,
  );
  t.match(second, /a=ed25519-sha256; .*\ss=s2026e;/s);
  t.notMatch(text, /[ ;][lx]=/);
});

test("names of any length fold without a line that ends in b= alone or is only blanks", async (t) => {
  for (let length = 1; length <= 63; length++) {
    const domain = `${"d".repeat(length)}.example`;
    const key = { domain, selector: "s".repeat(length), algorithm: "rsa-sha256" as const, privateKey: rsa };
    const field = unsignedField(key, signedAt, ["From", "To", ..."x".repeat(length % 7).split("")], "h".repeat(44));
    t.ok(field.endsWith(" b="));
    for (const line of field.split("\r\n")) t.ok(line.length <= 78 && line.trim() !== "", line);
  }
});

test("the same content, keys and instant give the same octets", async (t) => {
  const content = stories["runs of blanks"] as string;
  for (let cut = 0; cut < content.length; cut += 7) t.same(signed(content, cut), signed(content));
});

test("duplicates are signed from the bottom up and From once more than it occurs", async (t) => {
  const { names, canonical } = selectFields(
    scanFields("Subject: 1\r\nFrom: a\r\nX-Not: b\r\nSubject: 2\r\nSender: c\r\n"),
  );
  t.equal(names.join(":"), "From:From:To:Cc:Subject:Subject:Subject:Date:Message-ID:Reply-To:Sender:Sender");
  t.equal(canonical, "from:a\r\nsubject:2\r\nsubject:1\r\nsender:c\r\n");
});

test("content without a From field is refused", async (t) => {
  t.throws(() => signContent([Buffer.from("To: a\r\n\r\nFrom: b\r\n")], keys, signedAt, scratch), /no From/);
});

test("the Ed25519 signature of RFC 8463 appendix A verifies over our canonical form", async (t) => {
  const message = [
    "From: Joe SixPack <joe@football.example.com>",
    "To: Suzie Q <suzie@shopping.example.net>",
    "Subject: Is dinner ready?",
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)",
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>",
  ];
  const field =
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n" +
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n" +
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
  const signature = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
  const input = `${message.map((raw) => `${relaxedField(raw)}\r\n`).join("")}${relaxedField(field)}`;
  const x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
  const privateKey = createPrivateKey({
    key: { kty: "OKP", crv: "Ed25519", x, d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" },
    format: "jwk",
  });
  const digest = createHash("sha256").update(input).digest();
  t.ok(verify(null, digest, createPublicKey(privateKey), Buffer.from(signature, "base64")));
  t.equal(
    keyRecord("football.example.com", "brisbane", privateKey).text,
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
  );
});

test("the signer takes the nearest parent's keys and leaves other domains unsigned", async (t) => {
  const other = domainKeys("news.example.com", [
    { domain: "news.example.com", selector: "n", algorithm: "ed25519-sha256", privateKey: ed25519 },
  ]);
  const keySet = { domains: new Map([keys, other].map((entry) => [entry.domain, entry])) };
  t.equal(keysFor(keySet, "example.com"), keys);
  t.equal(keysFor(keySet, "a.b.example.com"), keys);
  t.equal(keysFor(keySet, "x.news.example.com"), other);
  for (const domain of ["com", "badexample.com", "example.com.evil.example", "", undefined]) {
    t.equal(keysFor(keySet, domain), undefined, String(domain));
  }
  const signer = inlineSigner(keySet, () => [Buffer.from(`${header}\r\nx\r\n`)]);
  t.notOk(signer.signs("example.net"));
  t.same(await signer.sign({ queueId: "q", fromDomain: "example.net", signedAt }), {
    headers: Buffer.alloc(0),
    signedBy: [],
  });
  const { headers, signedBy } = await signer.sign({ queueId: "q", fromDomain: "x.news.example.com", signedAt });
  t.same(signedBy, ["n._domainkey.news.example.com"]);
  t.match(headers.toString(), /d=news.example.com;/);
  t.match((await signer.sign({ queueId: "q", fromDomain: "example.com", signedAt })).signedBy, {
    0: "s2026a._domainkey.example.com",
    1: "s2026e._domainkey.example.com",
  });
});

test("the signer rejects what it cannot sign", async (t) => {
  const signer = inlineSigner({ domains: new Map([["example.com", keys]]) }, () => []);
  await t.rejects(signer.sign({ queueId: "q", fromDomain: "example.com", signedAt }), /no From/);
});
