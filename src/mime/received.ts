// The trace field that we prepend to each message (RFC 5321 section 4.4), and the date format of header fields.

import { isIPv6 } from "node:net";
import { dayMs, hourMs, type Instant, minuteMs, secondMs } from "../core/time.ts";

export interface ReceivedFacts {
  /** What the client said in EHLO or HELO. It is written only when it has the syntax of a domain or a literal. */
  readonly helo: string | undefined;
  readonly remoteAddress: string;
  readonly hostname: string;
  /** EHLO was used: "ESMTP" (RFC 5321), else "SMTP". */
  readonly extended: boolean;
  readonly tls: { readonly version: string; readonly cipher: string } | undefined;
  readonly authenticated: boolean;
  /** The transaction used SMTPUTF8 (RFC 6531 section 4.3). */
  readonly smtpUtf8: boolean;
  readonly queueId: string;
  /** Given only for a message with one recipient: more would tell them of each other (RFC 5321 section 7.6). */
  readonly forwardPath: string | undefined;
  readonly at: Instant;
}

/**
 * The whole field with its final CRLF, folded so that lines stay within 78 octets unless one name is longer; 998 is
 * never passed since names and paths are at most 256 octets.
 */
export function receivedField(facts: ReceivedFacts): string {
  const literal = addressLiteral(facts.remoteAddress);
  const from = facts.helo !== undefined && isHeloName(facts.helo) ? `${facts.helo} (${literal})` : literal;
  const tls = facts.tls === undefined ? "" : `\r\n\t(${facts.tls.version} ${facts.tls.cipher})`;
  const recipient = facts.forwardPath === undefined ? "" : `\r\n\tfor <${facts.forwardPath}>`;
  return (
    `Received: from ${from}\r\n\tby ${facts.hostname} with ${protocolName(facts)}${tls}\r\n\tid ${facts.queueId}` +
    `${recipient};\r\n\t${dateTime(facts.at)}\r\n`
  );
}

/** RFC 3848 and RFC 6531 section 4.3: ESMTP, ESMTPS, ESMTPA, ESMTPSA and their UTF8SMTP forms. */
export function protocolName(facts: Pick<ReceivedFacts, "extended" | "tls" | "authenticated" | "smtpUtf8">): string {
  if (!facts.extended) return "SMTP";
  return (
    (facts.smtpUtf8 ? "UTF8SMTP" : "ESMTP") + (facts.tls === undefined ? "" : "S") + (facts.authenticated ? "A" : "")
  );
}

/** RFC 5321 section 4.1.3. */
export function addressLiteral(address: string): string {
  return isIPv6(address) ? `[IPv6:${address}]` : `[${address}]`;
}

/** A domain (with underscores, which machines do use) or an address literal; nothing that could break a comment. */
function isHeloName(text: string): boolean {
  return text.length <= 255 && /^(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[A-Za-z0-9.:-]+\])$/.test(text);
}

const dayNames = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const monthNames = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** RFC 5322 section 3.3, in UTC: `Sat, 21 Nov 2026 17:24:00 +0000`. */
export function dateTime(at: Instant): string {
  const days = Math.floor(at / dayMs);
  const rest = at - days * dayMs;
  const { year, month, day } = civilDate(days);
  const hours = two(Math.floor(rest / hourMs));
  const minutes = two(Math.floor((rest % hourMs) / minuteMs));
  const seconds = two(Math.floor((rest % minuteMs) / secondMs));
  const dayName = dayNames[((days % 7) + 7) % 7] as string;
  return `${dayName}, ${two(day)} ${monthNames[month - 1] as string} ${year} ${hours}:${minutes}:${seconds} +0000`;
}

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

/**
 * The proleptic Gregorian date of a count of days since 1970-01-01. Counted in eras of 400 years that begin on the
 * first of March, so that the leap day is the last day of a year.
 */
function civilDate(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}
