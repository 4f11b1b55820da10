// A self-signed certificate for the receivers' STARTTLS, made in memory (RFC 5280 section 4.1, DER by hand).

import { createSign, generateKeyPairSync, randomBytes } from "node:crypto";

export interface SelfSigned {
  readonly keyPem: string;
  readonly certPem: string;
}

const sequence = 0x30;
const ecdsaWithSha256 = der(sequence, oid("2a8648ce3d040302"));
const validForMs = 30 * 86_400_000;

/** A P-256 certificate for the given host names, valid from yesterday for a month. */
export function selfSigned(hostNames: readonly string[], now: Date): SelfSigned {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const commonName = der(sequence, oid("550403"), der(0x0c, Buffer.from(hostNames[0] ?? "localhost")));
  const name = der(sequence, der(0x31, commonName));
  const validity = der(
    sequence,
    der(0x17, utcTime(new Date(now.getTime() - 86_400_000))),
    der(0x17, utcTime(new Date(now.getTime() + validForMs))),
  );
  const names = der(sequence, ...hostNames.map((host) => der(0x82, Buffer.from(host))));
  const alternativeNames = der(sequence, oid("551d11"), der(0x04, names));
  const toBeSigned = der(
    sequence,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([0x40]), randomBytes(8)])),
    ecdsaWithSha256,
    name,
    validity,
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(sequence, alternativeNames)),
  );
  const signature = createSign("sha256").update(toBeSigned).sign(privateKey);
  const certificate = der(sequence, toBeSigned, ecdsaWithSha256, der(0x03, Buffer.from([0]), signature));
  return {
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    certPem: `-----BEGIN CERTIFICATE-----\n${certificate.toString("base64").replace(/.{1,64}/g, "$&\n")}-----END CERTIFICATE-----\n`,
  };
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const length = content.length < 0x100 ? [0x81, content.length] : [0x82, content.length >> 8, content.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

/** YYMMDDHHMMSSZ. */
function utcTime(date: Date): Buffer {
  return Buffer.from(`${date.toISOString().replace(/[-:T]/g, "").slice(2, 14)}Z`);
}
