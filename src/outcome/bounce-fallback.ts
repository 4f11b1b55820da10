// What the codes of a reply mean when nothing in its text helps: RFC 3463 with the IANA registry, then RFC 5321.

import type { Stage } from "../core/outcome.ts";
import type { KnownBounceClass } from "./bounce-taxonomy.ts";

/** By the enhanced status code; undefined where the code says too little (x.0.0 and what is not registered). */
export function classOfEnhanced(
  digit: number,
  subject: number,
  detail: number,
  stage: Stage,
): KnownBounceClass | undefined {
  const transient = digit === 4;
  switch (subject) {
    case 1:
      // 5.1.10 is "null MX of the recipient" (RFC 7505); Exchange means an unknown user by it, which its rules say.
      if (detail <= 4) return "invalid_recipient";
      if (detail === 6) return "recipient_changed";
      if (detail === 7 || detail === 8) return "sender_domain";
      return detail === 10 ? "invalid_domain" : undefined;
    case 2:
      if (detail === 1) return transient ? "recipient_rate" : "inactive_mailbox";
      if (detail === 2) return "mailbox_full";
      if (detail === 3) return "message_too_large";
      // Something about the mailbox that is not said: no ground to call it unknown.
      return transient ? "system_error" : "undetermined";
    case 3:
      return detail === 4 ? "message_too_large" : "system_error";
    case 4:
      if (detail <= 2) return "connect_failure";
      if (detail <= 4) return "dns_failure";
      if (detail === 6 || detail === 14) return "routing_loop";
      if (detail === 7) return "expired";
      return transient ? "system_error" : undefined;
    case 5:
      if (detail === 3) return "too_many_rcpts";
      return detail === 6 ? "relay_denied" : "protocol_error";
    case 6:
      return "malformed";
    case 7:
      return classOfSecurity(transient, detail) ?? classOfRefusal(transient, stage);
    default:
      return undefined;
  }
}

function classOfSecurity(transient: boolean, detail: number): KnownBounceClass | undefined {
  switch (detail) {
    case 2:
      return "recipient_policy";
    case 3:
      return "protocol_error";
    case 4:
    case 5:
    case 6:
      return "tls_failure";
    case 7:
      return "malformed";
    // AUTH: we are asked for it, or ours failed (RFC 4954 section 6).
    case 8:
    case 9:
    case 11:
    case 12:
    case 14:
      return "relay_denied";
    case 10:
    case 30:
      return "tls_required";
    case 13:
      return "inactive_mailbox";
    // MT-PRIORITY (RFC 6710): too low now, or too low for ever.
    case 15:
    case 16:
      return transient ? "system_error" : "recipient_policy";
    // RRVS (RFC 7293): the mailbox or its domain has another owner now.
    case 17:
    case 18:
      return "recipient_changed";
    case 19:
      return "system_error";
    // RFC 7372.
    case 20:
    case 21:
    case 22:
      return "auth_dkim";
    case 23:
    case 24:
      return "auth_spf";
    case 25:
      return "auth_ptr";
    case 26:
    case 29:
      return "auth_dmarc";
    // RFC 7505: the sender's domain has a null MX.
    case 27:
      return "sender_domain";
    case 28:
      return "rate_limit";
    default:
      return detail >= 321 && detail <= 325 ? "tls_failure" : undefined;
  }
}

/** x.7.0 and x.7.1: a policy, whose aim the stage tells. Never an unknown mailbox, though the code may be 550. */
function classOfRefusal(transient: boolean, stage: Stage): KnownBounceClass | undefined {
  if (transient) return undefined;
  return stage === "rcpt" ? "recipient_policy" : undefined;
}

/** By the reply code and the stage (RFC 5321 section 4.2.2). */
export function classOfCode(code: number, stage: Stage): KnownBounceClass {
  const opening = stage === "connect" || stage === "banner";
  switch (code) {
    case 454:
      return stage === "starttls" ? "tls_failure" : "system_error";
    case 500:
    case 501:
    case 502:
    case 503:
    case 504:
    case 555:
      return "protocol_error";
    // RFC 7504: the host takes no mail.
    case 521:
    case 556:
      return "invalid_domain";
    case 530:
      return stage === "auth" ? "relay_denied" : "tls_required";
    case 534:
    case 535:
    case 538:
      return "relay_denied";
    case 541:
      return "recipient_policy";
    case 550:
      return classOf550(stage);
    case 551:
      return stage === "rcpt" ? "recipient_changed" : "relay_denied";
    case 552:
      return stage === "rcpt" ? "mailbox_full" : "message_too_large";
    case 553:
      if (opening) return "ip_block_local";
      if (stage === "rcpt") return "invalid_recipient";
      return stage === "mail" ? "sender_domain" : "undetermined";
    case 554:
      return opening ? "ip_block_local" : "undetermined";
    case 571:
      if (stage === "rcpt") return "recipient_policy";
      return stage === "data" || stage === "final-dot" ? "spam_content" : "ip_block_temp";
    default:
      return code < 500 ? "system_error" : "undetermined";
  }
}

/** "Not taken: mailbox unavailable" means another thing at each stage. */
function classOf550(stage: Stage): KnownBounceClass {
  switch (stage) {
    case "connect":
    case "banner":
      return "ip_block_local";
    case "ehlo":
      return "auth_ptr";
    case "mail":
      return "ip_block_temp";
    case "rcpt":
      return "invalid_recipient";
    case "data":
    case "final-dot":
      return "spam_content";
    default:
      return "undetermined";
  }
}
