// Mailboxes and paths (RFC 5321 sections 4.1.2, 4.1.3 and 4.5.3.1; RFC 6531 section 3.3).

import { isIPv4, isIPv6 } from "node:net";
import { domainToASCII } from "node:url";
import { assert } from "../core/assert.ts";
import type { Domain } from "../core/ids.ts";

/** RFC 5321 sections 4.5.3.1.1 to 4.5.3.1.3, in octets; a path counts its angle brackets. */
const localPartBytesMax = 64;
const domainBytesMax = 255;
const pathBytesMax = 256;

export interface Mailbox {
  /** As it is kept and sent: the local part's octets as given, the domain in lower-case A-labels. */
  readonly text: string;
  /** As given: quotes, if any, included. It is case-sensitive (RFC 5321 section 2.4). */
  readonly localPart: string;
  /** `""` only for the bare `postmaster` (RFC 5321 section 4.5.1). */
  readonly domain: Domain;
  /** Whether it can be sent only with SMTPUTF8: the local part is not US-ASCII. */
  readonly needsSmtpUtf8: boolean;
}

export type MailboxParse =
  | { readonly kind: "mailbox"; readonly mailbox: Mailbox }
  | { readonly kind: "refused"; readonly reason: string };

export type PathParse =
  | {
      readonly kind: "path";
      /** undefined for the null reverse-path. */
      readonly mailbox: Mailbox | undefined;
      /** What follows the closing bracket: the parameters, without the blank before them. */
      readonly parameters: string;
    }
  | { readonly kind: "refused"; readonly reason: string };

const printableAscii = /^[ -~]*$/;
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
/** They make an address look like another one in a log or on a terminal; no alphabet needs them in one. */
const directionMarks = /[\u202a-\u202e\u2066-\u2069]/;
// atext (RFC 5322 section 3.2.3), and anything beyond US-ASCII (RFC 6531 section 3.3).
const dotString = /^[\w!#$%&'*+/=?^`{|}~\u0080-\u{10ffff}-]+(?:\.[\w!#$%&'*+/=?^`{|}~\u0080-\u{10ffff}-]+)*$/u;
const asciiDotString = /^[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*$/;
const quotedString = /^"(?:[^"\\\u0000-\u001f\u007f]|\\[\u0020-\u007e])*"$/u;
const beyondAscii = /[^\u0000-\u007f]/;

/** Reads `local-part@domain` (no angle brackets). What is printable US-ASCII, which nearly all is, needs fewer looks. */
export function parseMailbox(text: string): MailboxParse {
  const isAscii = printableAscii.test(text);
  if (!isAscii && (controls.test(text) || directionMarks.test(text) || !text.isWellFormed()))
    return refused("a mailbox holds a control character");
  const at = text.lastIndexOf("@");
  if (at < 1) return refused("a mailbox needs a local part, @ and a domain");
  const localPart = text.slice(0, at);
  const bytesOf = isAscii ? lengthOf : Buffer.byteLength;
  if (bytesOf(localPart) > localPartBytesMax) return refused("the local part is longer than 64 octets");
  if (!(isAscii ? asciiDotString : dotString).test(localPart) && !quotedString.test(localPart))
    return refused("the local part is not well formed");
  const domain = parseDomain(text.slice(at + 1));
  if (domain === undefined) return refused("the domain is not well formed");
  const whole = `${localPart}@${domain}`;
  if (bytesOf(whole) > pathBytesMax - 2) return refused("the path is longer than 256 octets");
  return {
    kind: "mailbox",
    mailbox: { text: whole, localPart, domain, needsSmtpUtf8: !isAscii && beyondAscii.test(localPart) },
  };
}

const asciiDomain = /^[\w.-]+$/;
const anyDomain = /^[\w.\u0080-\u{10ffff}-]+$/u;
const labels = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/;
const lastLabelIsNumber = /(?:^|\.)\d+$/;

/**
 * Reads a domain or an address literal. Returns it in lower-case A-labels without a final dot (an address literal in
 * brackets), or undefined when it is neither.
 */
export function parseDomain(text: string): Domain | undefined {
  if (text.startsWith("[")) return parseAddressLiteral(text);
  // The URL parser behind domainToASCII takes far more than domains, so what it sees is checked first, and after.
  const isAscii = asciiDomain.test(text);
  if (!isAscii && !anyDomain.test(text)) return undefined;
  const ascii = (isAscii ? text : domainToASCII(text)).toLowerCase();
  const domain = ascii.endsWith(".") ? ascii.slice(0, -1) : ascii;
  if (domain.length > domainBytesMax - 2) return undefined;
  return labels.test(domain) && !lastLabelIsNumber.test(domain) ? domain : undefined;
}

/** RFC 5321 section 4.1.3. General address literals are refused: nothing could be done with them. */
function parseAddressLiteral(text: string): Domain | undefined {
  const address = addressOfLiteral(text);
  if (address === undefined) return undefined;
  return isIPv4(address) ? `[${address}]` : `[ipv6:${address.toLowerCase()}]`;
}

/** The IP address in an address literal such as `[192.0.2.1]` or `[IPv6:2001:db8::1]`; undefined for a domain. */
export function addressOfLiteral(domain: string): string | undefined {
  if (!domain.startsWith("[") || !domain.endsWith("]")) return undefined;
  const inside = domain.slice(1, -1);
  if (isIPv4(inside)) return inside;
  const address = /^ipv6:([0-9a-f:.]+)$/i.exec(inside)?.[1];
  return address !== undefined && isIPv6(address) ? address : undefined;
}

/** Reads the argument of `MAIL FROM:`. */
export function parseReversePath(text: string): PathParse {
  const parts = splitPath(text);
  if (parts === undefined) return refused("a path stands in angle brackets");
  if (parts.inside === "") return { kind: "path", mailbox: undefined, parameters: parts.parameters };
  return pathOf(parseMailbox(parts.inside), parts.parameters);
}

/** Reads the argument of `RCPT TO:`. A bare `postmaster` is allowed (RFC 5321 section 4.5.1). */
export function parseForwardPath(text: string): PathParse {
  const parts = splitPath(text);
  if (parts === undefined) return refused("a path stands in angle brackets");
  if (parts.inside.toLowerCase() === "postmaster") {
    const mailbox = { text: parts.inside, localPart: parts.inside, domain: "", needsSmtpUtf8: false };
    return { kind: "path", mailbox, parameters: parts.parameters };
  }
  return pathOf(parseMailbox(parts.inside), parts.parameters);
}

function pathOf(parsed: MailboxParse, parameters: string): PathParse {
  return parsed.kind === "refused" ? parsed : { kind: "path", mailbox: parsed.mailbox, parameters };
}

/** Parts `<...> parameters`. A source route before the mailbox is dropped (RFC 5321 appendix C). */
function splitPath(text: string): { inside: string; parameters: string } | undefined {
  const trimmed = text.trim();
  if (!trimmed.startsWith("<") || controls.test(trimmed)) return undefined;
  const close = closingBracket(trimmed);
  if (close === -1) return undefined;
  const after = trimmed.slice(close + 1);
  if (after !== "" && !after.startsWith(" ")) return undefined;
  const inside = trimmed.slice(1, close).replace(/^@[^:"<>]+:/, "");
  return { inside, parameters: after.trim() };
}

/** The place of the `>` that ends the path: one inside a quoted string does not. */
function closingBracket(text: string): number {
  if (!text.includes('"')) return text.indexOf(">");
  let quoted = false;
  for (let at = 1; at < text.length; at++) {
    const unit = text[at];
    if (unit === "\\" && quoted) at++;
    else if (unit === '"') quoted = !quoted;
    else if (unit === ">" && !quoted) return at;
  }
  return -1;
}

/** The domain of a mailbox that was parsed before; `""` for the null reverse-path and the bare `postmaster`. */
export function domainOf(mailbox: string): Domain {
  return mailbox.slice(mailbox.lastIndexOf("@") + 1 || mailbox.length);
}

/** A mailbox (or `""`) as it stands in a command. A control character in it would be a bug that forges commands. */
export function formatPath(mailbox: string): string {
  assert(!controls.test(mailbox), "a path never holds a control character");
  return `<${mailbox}>`;
}

function refused(reason: string): { readonly kind: "refused"; readonly reason: string } {
  return { kind: "refused", reason };
}

function lengthOf(text: string): number {
  return text.length;
}
