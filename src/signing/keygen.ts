// Makes DKIM keys and the DNS records that publish them (RFC 6376 section 3.6.1, RFC 8463 section 4).

import { createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { Domain } from "../core/ids.ts";

export type KeyAlgorithm = "rsa-2048" | "ed25519";

const generate = promisify(generateKeyPair);

/** A new private key in PEM form (PKCS #8). Write it to a file that only the server's user can read. */
export async function generatePrivateKey(algorithm: KeyAlgorithm): Promise<string> {
  const { privateKey } =
    algorithm === "rsa-2048" ? await generate("rsa", { modulusLength: 2048 }) : await generate("ed25519", {});
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

export interface KeyRecord {
  /** Owner name without final dot: `selector._domainkey.domain`. */
  readonly name: string;
  /** The record's text, which DNS carries in several strings. */
  readonly text: string;
  /** The line for a zone file. */
  readonly zoneLine: string;
}

/** RFC 1035 section 3.3.14: a TXT record is made of strings of at most 255 octets. */
const txtStringBytesMax = 255;

/** The TXT record for the public half of `privateKey`, which may be RSA or Ed25519. */
export function keyRecord(domain: Domain, selector: string, privateKey: KeyObject | string): KeyRecord {
  const publicKey = createPublicKey(privateKey as string);
  const text = `v=DKIM1; ${publicKeyTags(publicKey)}`;
  const strings: string[] = [];
  for (let at = 0; at < text.length; at += txtStringBytesMax)
    strings.push(`"${text.slice(at, at + txtStringBytesMax)}"`);
  const name = `${selector}._domainkey.${domain}`;
  const data = strings.length === 1 ? strings[0] : `( ${strings.join(" ")} )`;
  return { name, text, zoneLine: `${name}. IN TXT ${data}` };
}

function publicKeyTags(publicKey: KeyObject): string {
  switch (publicKey.asymmetricKeyType) {
    case "rsa":
      return `k=rsa; p=${publicKey.export({ type: "spki", format: "der" }).toString("base64")}`;
    case "ed25519":
      // RFC 8463 section 4: the bare 32 octets, without the ASN.1 around them. A JWK holds them in base64url.
      return `k=ed25519; p=${Buffer.from(publicKey.export({ format: "jwk" }).x as string, "base64url").toString("base64")}`;
    default:
      throw new Error(`no DKIM key type: ${publicKey.asymmetricKeyType}`);
  }
}
