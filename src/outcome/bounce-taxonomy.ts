// The bounce classes: one closed list for rules, the delivery log and metrics.

/**
 * Kinds: `hard` the address is bad, `soft` the mailbox is, `transient` the machines are, `rate` we go too fast, `block`
 * they distrust us, `auth` our authentication or DNS is at fault, `content` the message is, `protocol` the dialogue is,
 * `report` inbound mail that is no bounce.
 */
export type BounceKind =
  | "hard"
  | "soft"
  | "transient"
  | "rate"
  | "block"
  | "auth"
  | "content"
  | "protocol"
  | "report"
  | "unknown";

export const bounceKinds = {
  invalid_recipient: "hard",
  invalid_domain: "hard",
  inactive_mailbox: "hard",
  recipient_changed: "hard",
  mailbox_full: "soft",
  message_too_large: "content",
  recipient_rate: "soft",
  recipient_policy: "soft",
  dns_failure: "transient",
  connect_failure: "transient",
  tls_failure: "transient",
  greylisted: "transient",
  system_error: "transient",
  routing_loop: "transient",
  expired: "transient",
  rate_limit: "rate",
  conn_limit: "rate",
  session_limit: "rate",
  too_many_rcpts: "rate",
  quota_daily: "rate",
  ip_block_temp: "block",
  ip_block_dnsbl: "block",
  ip_block_local: "block",
  domain_block: "block",
  url_block: "block",
  auth_spf: "auth",
  auth_dkim: "auth",
  auth_dmarc: "auth",
  auth_ptr: "auth",
  sender_domain: "auth",
  tls_required: "auth",
  spam_content: "content",
  malformed: "content",
  attachment: "content",
  virus: "content",
  relay_denied: "protocol",
  protocol_error: "protocol",
  auto_reply: "report",
  challenge: "report",
  subscribe: "report",
  unsubscribe: "report",
  address_change: "report",
  complaint: "report",
  undetermined: "unknown",
} as const satisfies Readonly<Record<string, BounceKind>>;

/** An id of the taxonomy. */
export type KnownBounceClass = keyof typeof bounceKinds;

export const bounceClasses = Object.keys(bounceKinds) as readonly KnownBounceClass[];

/**
 * The classes that blame one mailbox, so that a list cleaner may strike or suppress it. A reply given before RCPT
 * knows no mailbox and is never put into one of them.
 */
export const mailboxClasses: ReadonlySet<string> = new Set<KnownBounceClass>([
  "invalid_recipient",
  "inactive_mailbox",
  "recipient_changed",
  "mailbox_full",
]);
