// MAIL and RCPT with the parameters that the peer's extensions allow.

import type { TlsInfo } from "../core/attempt.ts";
import type { Recipient } from "../core/envelope.ts";
import type { PolicyRule } from "../core/outcome.ts";
import type { Extensions } from "../smtp/extensions.ts";
import { formatPath } from "../smtp/path.ts";
import { encodeXtext } from "../smtp/xtext.ts";
import { sentBytes } from "./content.ts";
import type { Work } from "./delivery.ts";

/** Why this peer can never take this message, or undefined. Known before an octet of it is sent. */
export function refusalBy(
  extensions: Extensions,
  tls: TlsInfo | undefined,
  work: Work,
): { readonly rule: PolicyRule; readonly message: string } | undefined {
  const { envelope } = work.message;
  if (envelope.requireTls && !(tls?.verified === true && extensions.requireTls)) {
    // RFC 8689 section 4.2.1.
    return { rule: "require-tls", message: "5.7.30 the peer offers no REQUIRETLS in a verified TLS session" };
  }
  if (envelope.body === "8bitmime" && !extensions.eightBitMime) {
    // RFC 6152 section 3: a conversion would break signatures, so the message goes back.
    return { rule: "8bitmime", message: "5.6.3 the peer does not offer 8BITMIME" };
  }
  if (envelope.smtpUtf8 && !extensions.smtpUtf8) {
    // RFC 6531 section 3.2.
    return { rule: "smtputf8", message: "5.6.7 the peer does not offer SMTPUTF8" };
  }
  if (extensions.sizeMaxBytes !== undefined && sentBytes(work) > extensions.sizeMaxBytes) {
    // RFC 1870 section 6.1.
    const message = `5.3.4 the message has ${sentBytes(work)} octets, the peer takes ${extensions.sizeMaxBytes}`;
    return { rule: "message-size", message };
  }
  return undefined;
}

export function mailLine(work: Work, extensions: Extensions): string {
  const { envelope } = work.message;
  let line = `MAIL FROM:${formatPath(envelope.reversePath)}`;
  if (extensions.size) line += ` SIZE=${sentBytes(work)}`;
  if (envelope.body === "8bitmime") line += " BODY=8BITMIME";
  if (envelope.smtpUtf8) line += " SMTPUTF8";
  if (envelope.requireTls) line += " REQUIRETLS";
  if (!extensions.dsn) return line;
  if (envelope.ret !== undefined) line += ` RET=${envelope.ret.toUpperCase()}`;
  if (envelope.envid !== undefined) line += ` ENVID=${encodeXtext(envelope.envid)}`;
  return line;
}

export function rcptLine(recipient: Recipient, extensions: Extensions): string {
  let line = `RCPT TO:${formatPath(recipient.forwardPath)}`;
  if (!extensions.dsn) return line;
  if (recipient.notify !== undefined) {
    line += ` NOTIFY=${recipient.notify.length === 0 ? "NEVER" : recipient.notify.join(",").toUpperCase()}`;
  }
  if (recipient.orcpt !== undefined) line += orcptParameter(recipient.orcpt);
  return line;
}

/** RFC 3461 section 4.2: the address type is not in xtext, the address is. */
function orcptParameter(orcpt: string): string {
  const end = orcpt.indexOf(";");
  if (end < 1 || !/^[A-Za-z0-9-]+$/.test(orcpt.slice(0, end))) return "";
  return ` ORCPT=${orcpt.slice(0, end)};${encodeXtext(orcpt.slice(end + 1))}`;
}
