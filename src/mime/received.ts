// The trace field that we prepend to each message (RFC 5321 section 4.4).

import { isIPv6 } from "node:net";
import type { Instant } from "../core/time.ts";
import { dateTime } from "./date-time.ts";

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
