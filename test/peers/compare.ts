// Holds what a receiver stored against what was submitted: every octet, but for the fields that Postern and the receiver
// are to add.

import type { Message } from "./corpus.ts";
import { hostname } from "./world.ts";

export interface Expected {
  /** Names in lower case of the fields that the receiver adds. */
  readonly receiverFields: readonly string[];
  /** Of those that it takes out. */
  readonly removedFields: readonly string[];
  /** Whether the receiver's Received field must tell of TLS (RFC 3848). */
  readonly tls: boolean;
  /** undefined: the mail came without Postern. */
  readonly postern: { readonly loggedIn: boolean } | undefined;
}

/** What differs, in words; undefined when nothing does. */
export function differenceOf(message: Message, stored: Buffer, expected: Expected): string | undefined {
  const bodyStart = stored.length - message.body.length;
  if (bodyStart < 0 || !stored.subarray(bodyStart).equals(message.body)) return bodyDifference(message, stored);
  let fieldsEnd = bodyStart;
  if (expected.postern !== undefined) {
    for (const name of message.missing.toReversed()) {
      const lineStart = startOfLine(stored, fieldsEnd);
      const line = stored.toString("latin1", lineStart, fieldsEnd);
      if (!addedField[name].test(line)) return `the added ${name} field is ${JSON.stringify(line)}`;
      fieldsEnd = lineStart;
    }
  }
  const submitted = without(message.fields, expected.removedFields);
  const fieldsStart = fieldsEnd - submitted.length;
  const fields = stored.subarray(Math.max(0, fieldsStart), fieldsEnd);
  if (!fields.equals(submitted)) return `the fields differ ${firstDifference(submitted, fields)}`;
  return topDifference(message, stored.toString("utf8", 0, fieldsStart), expected);
}

function without(fields: Buffer, names: readonly string[]): Buffer {
  if (names.length === 0) return fields;
  const pattern = new RegExp(`^(?:${names.join("|")}):.*\\r\\n(?:[ \\t].*\\r\\n)*`, "gim");
  return Buffer.from(fields.toString("latin1").replace(pattern, ""), "latin1");
}

const addedField: Readonly<Record<"Date" | "Message-ID", RegExp>> = {
  Date: /^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n$/,
  "Message-ID": /^Message-ID: <[^<>\s@]+@[^<>\s@]+>\r\n$/,
};

/** Above the message's own fields: the receiver's, then Postern's signatures and its one Received field. */
function topDifference(message: Message, top: string, { receiverFields, tls, postern }: Expected): string | undefined {
  const fields = top.split(/\r\n(?![ \t])/);
  if (fields.pop() !== "") return `what is put on top does not end with a line end: ${JSON.stringify(top.slice(-80))}`;
  const names = fields.map((field) => field.slice(0, Math.max(0, field.indexOf(":"))).toLowerCase());
  const ours = postern !== undefined ? [...message.sender.algorithms.map(() => "dkim-signature"), "received"] : [];
  const theirs = names.slice(0, names.length - ours.length);
  const stranger = theirs.find((name) => !receiverFields.includes(name));
  if (stranger !== undefined) return `the field ${JSON.stringify(stranger)} is on top of it`;
  if (names.slice(theirs.length).join() !== ours.join())
    return `Postern's fields are ${names.slice(theirs.length).join()}`;
  const theirReceived = fields.slice(0, theirs.length).find((field) => /^Received:/i.test(field)) ?? "";
  if (tls && !/\swith (?:UTF8|E|UTF8E)SMTPS\s/i.test(theirReceived))
    return `not by TLS: ${JSON.stringify(theirReceived)}`;
  const received = fields.at(-1) ?? "";
  // smtp-source says HELO.
  const protocol = postern?.loggedIn ? "(?:UTF8|E)SMTPSA" : "(?:UTF8|E|)SMTP";
  if (postern !== undefined && !new RegExp(`\\sby ${hostname} with ${protocol}\\s`).test(received))
    return `Postern's Received is ${JSON.stringify(received)}`;
  return undefined;
}

/** The content as it left Postern: from its first signature on. */
export function withoutReceiverFields(stored: Buffer): Buffer {
  if (stored.subarray(0, dkimField.length).equals(dkimField)) return stored;
  const at = stored.indexOf(`\r\n${dkimField}`);
  return at === -1 ? stored : stored.subarray(at + 2);
}

export function withoutSignatures(content: Buffer): Buffer {
  return without(content, ["DKIM-Signature"]);
}

export function withChangedOctet(content: Buffer, at: number): Buffer {
  const changed = Buffer.from(content);
  changed[at] = (content[at] as number) ^ 1;
  return changed;
}

/** Some of its octets changed, in a field that is signed. */
export function withChangedSubject(content: Buffer): Buffer {
  return Buffer.from(content.toString("latin1").replace(/^Subject: /m, "Subject: changed "), "latin1");
}

const dkimField = Buffer.from("DKIM-Signature:");

function startOfLine(content: Buffer, end: number): number {
  return content.lastIndexOf(10, end - 2) + 1;
}

function bodyDifference(message: Message, stored: Buffer): string {
  const start = stored.indexOf("\r\n\r\n");
  const body = start === -1 ? Buffer.alloc(0) : stored.subarray(start + 2);
  return `the body differs ${firstDifference(message.body, body)}`;
}

function firstDifference(submitted: Buffer, stored: Buffer): string {
  let at = 0;
  while (at < submitted.length && at < stored.length && submitted[at] === stored[at]) at++;
  const around = (content: Buffer): string => JSON.stringify(content.toString("latin1", Math.max(0, at - 20), at + 20));
  return `at octet ${at} (${submitted.length} octets submitted, ${stored.length} stored): ${around(submitted)} became ${around(stored)}`;
}

/** The message's number, from its own field. */
export function idOf(stored: Buffer, idField: string): number | undefined {
  const id = new RegExp(`^${idField}: (\\d+)\\r$`, "m").exec(stored.toString("latin1", 0, headBytes))?.[1];
  return id === undefined ? undefined : Number(id);
}

const headBytes = 16_384;
