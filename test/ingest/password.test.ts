// Password hashes: made, read, checked; bad ones are not hashes.

import { scryptSync } from "node:crypto";
import { test } from "tap";
import { hashPassword, impossibleHash, parseScryptHash, verifyPassword } from "../../src/ingest/password.ts";

test("a hash that was made takes its password and no other, and is salted", async (t) => {
  const text = await hashPassword("pässword");
  t.match(text, /^scrypt\$16384\$8\$1\$[A-Za-z0-9+/]+=*\$[A-Za-z0-9+/]+=*$/);
  const hash = parseScryptHash(text);
  if (hash === undefined) throw new Error("no hash");
  t.equal(await verifyPassword("pässword", hash), true);
  t.equal(await verifyPassword("pa\u0308ssword", hash), true, "the same letters in another form");
  t.equal(await verifyPassword("password", hash), false);
  t.equal(await verifyPassword("", hash), false);
  t.not(await hashPassword("pässword"), text);
});

test("a hash of another program with other numbers is taken", async (t) => {
  const salt = Buffer.from("0123456789abcdef");
  const key = scryptSync("x", salt, 64, { N: 1_024, r: 4, p: 2 });
  const hash = parseScryptHash(`scrypt$1024$4$2$${salt.toString("base64")}$${key.toString("base64")}`);
  t.equal(hash !== undefined && (await verifyPassword("x", hash)), true);
});

test("what is no hash, or would cost too much, is refused", async (t) => {
  const good = "scrypt$1024$8$1$MDEyMzQ1Njc4OWFi$MDEyMzQ1Njc4OWFiY2RlZg==";
  t.ok(parseScryptHash(good));
  for (const bad of [
    "",
    "x",
    good.replace("1024", "1000"),
    good.replace("1024", "0"),
    good.replace("scrypt", "bcrypt"),
  ]) {
    t.equal(parseScryptHash(bad), undefined, bad);
  }
  t.equal(parseScryptHash(good.replace("1024", "16777216")), undefined, "16 GiB");
  t.equal(parseScryptHash("scrypt$1024$8$1$AA==$MDEyMzQ1Njc4OWFiY2RlZg=="), undefined, "a salt of one octet");
});

test("the hash for unknown users costs what the others cost", async (t) => {
  const like = parseScryptHash("scrypt$2048$4$3$MDEyMzQ1Njc4OWFi$MDEyMzQ1Njc4OWFiY2RlZg==");
  t.match(impossibleHash(like), { cost: 2_048, blockSize: 4, parallelization: 3 });
  t.equal(await verifyPassword("x", impossibleHash(like)), false);
});
