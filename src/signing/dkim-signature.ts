// Makes the DKIM-Signature field (RFC 6376 section 3.5): which header fields are signed, the tag list, what is signed.

import { createHash, sign } from "node:crypto";
import type { Instant } from "../core/time.ts";
import { RelaxedBody, relaxedField } from "./canonicalization.ts";
import { type HeaderField, scanFields, splitContent } from "./header-fields.ts";
import type { DomainKeys, SigningKey } from "./key-store.ts";

/**
 * The header fields that are signed where they are present, all instances of each (RFC 6376 section 5.4.1).
 * Listing a name once more than it occurs ("oversigning", section 8.15) makes adding another one break the signature:
 * - "always": also when the field is absent, for what a reader sees or answers to;
 * - "present": when it is there, for what decides how the content is shown or where an unsubscription goes. Absent ones
 *   may be added on the way, as gateways do with MIME-Version;
 * - "never": as many as there are.
 */
const signedFields: readonly (readonly [name: string, oversign: "always" | "present" | "never"])[] = [
  ["From", "always"],
  ["To", "always"],
  ["Cc", "always"],
  ["Subject", "always"],
  ["Date", "always"],
  ["Message-ID", "always"],
  ["Reply-To", "always"],
  ["Sender", "present"],
  ["In-Reply-To", "never"],
  ["References", "never"],
  ["MIME-Version", "present"],
  ["Content-Type", "present"],
  ["Content-Transfer-Encoding", "present"],
  ["List-Unsubscribe", "present"],
  ["List-Unsubscribe-Post", "present"],
  ["List-Id", "never"],
  ["List-Help", "never"],
  ["List-Post", "never"],
  ["List-Owner", "never"],
  ["List-Archive", "never"],
  ["Feedback-ID", "never"],
  ["Auto-Submitted", "never"],
  ["Resent-From", "never"],
  ["Resent-To", "never"],
  ["Resent-Cc", "never"],
  ["Resent-Date", "never"],
  ["Resent-Message-ID", "never"],
];

const signedNames: ReadonlySet<string> = new Set(signedFields.map(([name]) => name.toLowerCase()));

export interface SignedSelection {
  /** The names of the h= tag, in order; absent ones included. */
  readonly names: readonly string[];
  /** The selected fields in relaxed form, each ended by CRLF, in the order of the names. */
  readonly canonical: string;
}

/** Fields of the same name are taken from the bottom of the header section up (RFC 6376 section 5.4.2). */
export function selectFields(fields: readonly HeaderField[]): SignedSelection {
  const byName = new Map<string, HeaderField[]>();
  for (const field of fields) {
    if (!signedNames.has(field.name)) continue;
    const same = byName.get(field.name);
    if (same === undefined) byName.set(field.name, [field]);
    else same.push(field);
  }
  const names: string[] = [];
  let canonical = "";
  for (const [name, oversign] of signedFields) {
    const same = byName.get(name.toLowerCase()) ?? [];
    for (let i = same.length - 1; i >= 0; i--) {
      names.push(name);
      canonical += `${relaxedField((same[i] as HeaderField).raw)}\r\n`;
    }
    if (oversign === "always" || (oversign === "present" && same.length > 0)) names.push(name);
  }
  return { names, canonical };
}

/** SHA-256 of the relaxed body, in base64: the bh= tag. For `scratch` see RelaxedBody. */
export function bodyHash(body: readonly Buffer[], scratch: Buffer): string {
  const hash = createHash("sha256");
  const relaxed = new RelaxedBody(scratch, (octets) => hash.update(octets));
  for (const chunk of body) relaxed.write(chunk);
  relaxed.end();
  return hash.digest("base64");
}

/** RFC 5322 section 2.1.1: lines should have at most 78 characters. */
const lineCharactersMax = 78;

/**
 * The field up to and with `b=`, folded. There is no l= (what is appended to a body must break the signature) and no
 * x= (mail may wait in queues for days).
 */
export function unsignedField(
  key: SigningKey,
  signedAt: Instant,
  signedNamesInOrder: readonly string[],
  bodyHashBase64: string,
): string {
  let line = "DKIM-Signature: v=1;";
  let lines = "";
  const put = (blank: string, text: string): void => {
    if (line.length + blank.length + text.length <= lineCharactersMax) {
      line += blank + text;
    } else {
      lines += `${line}\r\n`;
      line = ` ${text}`;
    }
  };
  put(" ", `a=${key.algorithm};`);
  put(" ", "c=relaxed/relaxed;");
  put(" ", `d=${key.domain};`);
  put(" ", `s=${key.selector};`);
  put(" ", `t=${Math.floor(signedAt / 1000)};`);
  const last = signedNamesInOrder.length - 1;
  for (let i = 0; i <= last; i++) {
    put(i === 0 ? " " : "", `${i === 0 ? "h=" : ""}${signedNamesInOrder[i]}${i === last ? ";" : ":"}`);
  }
  put(" ", `bh=${bodyHashBase64};`);
  // The value follows on the same line: room for some of it, so that the line is not cut right behind the sign.
  if (line.length > lineCharactersMax - 8) return `${lines}${line}\r\n b=`;
  return `${lines}${line} b=`;
}

/** Adds the signature to the field, folded, with CRLF at the end. The cuts are at no other place than in b=. */
function signedField(field: string, signature: string): string {
  let room = lineCharactersMax - (field.length - field.lastIndexOf("\n") - 1);
  let out = field;
  for (let at = 0; at < signature.length; ) {
    out += signature.slice(at, at + room);
    at += room;
    room = lineCharactersMax - 1;
    if (at < signature.length) out += "\r\n ";
  }
  return `${out}\r\n`;
}

/**
 * RFC 6376 section 3.7: the selected fields, then the DKIM-Signature field itself with an empty b= and no CRLF.
 * Ed25519 signs the SHA-256 of that (RFC 8463 section 3), RSA does the hashing itself.
 */
function signature(canonicalFields: string, field: string, key: SigningKey): string {
  const input = Buffer.from(canonicalFields + relaxedField(field), "latin1");
  switch (key.algorithm) {
    case "rsa-sha256":
      return sign("sha256", input, key.privateKey).toString("base64");
    case "ed25519-sha256":
      return sign(null, createHash("sha256").update(input).digest(), key.privateKey).toString("base64");
  }
}

/**
 * One DKIM-Signature field for each key, in the order of the keys, as text of ASCII characters. Header and body are
 * read once for all keys. The same content, keys and instant give the same octets. Throws when the content has no
 * From field, which must be signed (RFC 6376 section 5.4), and when a key cannot sign.
 */
export function signContent(content: readonly Buffer[], keys: DomainKeys, signedAt: Instant, scratch: Buffer): string {
  const { headerSection, body } = splitContent(content);
  const fields = scanFields(headerSection);
  if (!fields.some((field) => field.name === "from")) throw new Error("the content has no From field to sign");
  const selection = selectFields(fields);
  const bodyHashBase64 = bodyHash(body, scratch);
  let out = "";
  for (const key of keys.keys) {
    const field = unsignedField(key, signedAt, selection.names, bodyHashBase64);
    out += signedField(field, signature(selection.canonical, field, key));
  }
  return out;
}
