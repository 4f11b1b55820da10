// The names of a run: senders with their DKIM keys, receivers' domains, and the DNS data of all.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generatePrivateKey, type KeyAlgorithm, keyRecord } from "../../src/signing/keygen.ts";
import type { Receiver } from "./peer.ts";

export const hostname = "mta1.rsa.test";
export const dnsAddress = "127.0.2.53";

/** `algorithms`: one signature by each (RFC 8463 section 3: both, for receivers that know only RSA). */
export interface Sender {
  readonly domain: string;
  readonly algorithms: readonly KeyAlgorithm[];
}

export const senders: readonly Sender[] = [
  { domain: "rsa.test", algorithms: ["rsa-2048"] },
  { domain: "both.test", algorithms: ["rsa-2048", "ed25519"] },
];

export function domainOf(receiver: Pick<Receiver, "name">): string {
  return `to-${receiver.name}.test`;
}

export interface SigningEntry {
  readonly domain: string;
  readonly keys: readonly { readonly selector: string; readonly algorithm: string; readonly key_file: string }[];
}

/** Makes the keys in `folder`: the config's `signing` and the TXT records. */
export async function makeKeys(folder: string): Promise<{ signing: SigningEntry[]; records: Record<string, string> }> {
  mkdirSync(folder, { recursive: true });
  const records: Record<string, string> = {};
  const signing: SigningEntry[] = [];
  for (const { domain, algorithms } of senders) {
    const keys = [];
    for (const algorithm of algorithms) {
      const selector = `s-${algorithm}`;
      const file = join(folder, `${domain}.${selector}.pem`);
      const pem = await generatePrivateKey(algorithm);
      writeFileSync(file, pem, { mode: 0o600 });
      const record = keyRecord(domain, selector, pem);
      records[record.name] = record.text;
      keys.push({ selector, algorithm: algorithm === "ed25519" ? "ed25519-sha256" : "rsa-sha256", key_file: file });
    }
    signing.push({ domain, keys });
  }
  return { signing, records };
}
