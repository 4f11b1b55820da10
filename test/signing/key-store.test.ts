// Keys that are missing, broken, of the wrong type or weak are told with file and config position.

import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "tap";
import type { SigningKeyConfig } from "../../src/config/config.ts";
import { loadKeySet, SigningKeyError } from "../../src/signing/key-store.ts";
import { generatePrivateKey, keyRecord } from "../../src/signing/keygen.ts";

const folder = mkdtempSync(join(tmpdir(), "postern-keys-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

function keyFile(name: string, key: KeyObject | string): string {
  const file = join(folder, name);
  writeFileSync(file, typeof key === "string" ? key : (key.export({ type: "pkcs8", format: "pem" }) as string));
  return file;
}

const rsaOf = (bits: number): KeyObject => generateKeyPairSync("rsa", { modulusLength: bits }).privateKey;
const goodRsa = keyFile("rsa.pem", rsaOf(2048));
const goodEd25519 = keyFile("ed25519.pem", generateKeyPairSync("ed25519").privateKey);

function domain(...keys: Partial<SigningKeyConfig>[]) {
  const full = keys.map((key, i) => ({
    selector: `s${i}`,
    algorithm: "rsa-sha256" as const,
    keyFile: goodRsa,
    where: `postern.yaml:${50 + i}:9`,
    ...key,
  }));
  return { domain: "example.com", keys: full, where: "postern.yaml:48:5" };
}

async function problemsOf(...config: ReturnType<typeof domain>[]): Promise<readonly string[]> {
  try {
    await loadKeySet(config);
    return [];
  } catch (error) {
    if (!(error instanceof SigningKeyError)) throw error;
    return error.message.split("\n").map((line) => line.replaceAll(folder, "DIR"));
  }
}

test("good keys load in the order of the config", async (t) => {
  const pkcs1 = rsaOf(2048).export({ type: "pkcs1", format: "pem" }) as string;
  const { keySet, warnings } = await loadKeySet([
    domain({}, { algorithm: "ed25519-sha256", keyFile: goodEd25519 }, { keyFile: keyFile("pkcs1.pem", pkcs1) }),
  ]);
  t.same(warnings, []);
  t.same(keySet.domains.get("example.com")?.signedBy, [
    "s0._domainkey.example.com",
    "s1._domainkey.example.com",
    "s2._domainkey.example.com",
  ]);
});

test("a missing file is an error that names the file and the place in the config", async (t) => {
  const problems = await problemsOf(domain({}, { keyFile: join(folder, "none.pem") }));
  t.equal(problems.length, 1);
  t.match(problems[0], /^postern.yaml:51:9: DIR\/none.pem: cannot be read: ENOENT/);
});

test("a folder, noise, an empty file, a public key, a key with a passphrase and a cut key are errors", async (t) => {
  const rsa = rsaOf(2048);
  const pem = rsa.export({ type: "pkcs8", format: "pem" }) as string;
  const bad: Readonly<Record<string, string>> = {
    "noise.pem": "not a key",
    "empty.pem": "",
    "cut.pem": pem.slice(0, 400),
    "public.pem": createPublicKey(rsa).export({ type: "spki", format: "pem" }) as string,
    "locked.pem": rsa.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }) as string,
  };
  for (const [name, text] of Object.entries(bad)) {
    t.match(await problemsOf(domain({ keyFile: keyFile(name, text) })), [new RegExp(`DIR/${name}: is no private key`)]);
  }
  t.match(await problemsOf(domain({ keyFile: folder })), [/cannot be read/]);
});

test("a key of another type than the algorithm's is an error", async (t) => {
  const ec = keyFile("ec.pem", generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
  const pss = keyFile("pss.pem", generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).privateKey);
  t.match(await problemsOf(domain({ keyFile: goodEd25519 })), [/needs a key of type rsa, this is ed25519/]);
  t.match(await problemsOf(domain({ algorithm: "ed25519-sha256" })), [/needs a key of type ed25519, this is rsa/]);
  t.match(await problemsOf(domain({ keyFile: ec })), [/this is ec/]);
  t.match(await problemsOf(domain({ keyFile: pss })), [/this is rsa-pss/]);
});

test("an RSA key below 1,024 bits is an error, below 2,048 bits a warning", async (t) => {
  t.match(await problemsOf(domain({ keyFile: keyFile("768.pem", rsaOf(768)) })), [/RSA key of 768 bits is refused/]);
  const { warnings } = await loadKeySet([domain({ keyFile: keyFile("1024.pem", rsaOf(1024)) })]);
  t.match(warnings, [{ where: "postern.yaml:50:9", message: /1024 bits is weak/ }]);
});

test("a domain with Ed25519 keys only is a warning", async (t) => {
  const { warnings } = await loadKeySet([domain({ algorithm: "ed25519-sha256", keyFile: goodEd25519 })]);
  t.match(warnings, [{ where: "postern.yaml:48:5", message: /no rsa-sha256 key/ }]);
});

test("no keys, a domain twice, a selector twice and a selector that is no name are errors", async (t) => {
  t.match(await problemsOf(domain()), [/^postern.yaml:48:5: .*no keys for example.com/]);
  t.match(await problemsOf(domain({}), domain({})), [/configured a second time/]);
  t.match(await problemsOf(domain({ selector: "a" }, { selector: "a" })), [/selector a is used a second time/]);
  for (const selector of ["", "a b", "a;", "-a", "a..b", "a\r\nb"]) {
    t.match(await problemsOf(domain({ selector })), [/is no domain name/], JSON.stringify(selector));
  }
});

test("all problems are told at once", async (t) => {
  const problems = await problemsOf(domain({ keyFile: join(folder, "x") }, {}, { keyFile: goodEd25519 }));
  t.match(problems, [/^postern.yaml:50:9/, /^postern.yaml:52:9/]);
  t.equal(problems.length, 2);
});

test("generated keys load, and their records say what RFC 6376 and RFC 8463 ask for", async (t) => {
  const rsa = await generatePrivateKey("rsa-2048");
  const ed25519 = await generatePrivateKey("ed25519");
  const { warnings } = await loadKeySet([
    domain({ keyFile: keyFile("g1.pem", rsa) }, { algorithm: "ed25519-sha256", keyFile: keyFile("g2.pem", ed25519) }),
  ]);
  t.same(warnings, []);

  const record = keyRecord("example.com", "s2026a", rsa);
  t.equal(record.name, "s2026a._domainkey.example.com");
  t.match(record.text, /^v=DKIM1; k=rsa; p=MIIBIjAN[A-Za-z0-9+/=]{384}$/);
  t.match(record.zoneLine, /^s2026a\._domainkey\.example\.com\. IN TXT \( "v=DKIM1; [^"]{246}" "[^"]+" \)$/);
  t.equal([...record.zoneLine.matchAll(/"([^"]*)"/g)].map((m) => m[1]).join(""), record.text);
  t.match(
    keyRecord("example.com", "e", ed25519).zoneLine,
    /^e\._domainkey\.example\.com\. IN TXT "v=DKIM1; k=ed25519; p=[^"]{43}="$/,
  );
});
