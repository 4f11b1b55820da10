// What one attempt did to one recipient, and why.

import { assertNever } from "./assert.ts";
import { formatReply, type Reply } from "./reply.ts";
import type { Instant } from "./time.ts";

export type Stage =
  | "resolve"
  | "connect"
  | "banner"
  | "ehlo"
  | "starttls"
  | "auth"
  | "mail"
  | "rcpt"
  | "data"
  | "final-dot";

export type PolicyRule =
  | "null-mx"
  | "loop"
  | "mta-sts"
  | "dane"
  | "require-tls"
  | "suppressed"
  | "internal-address"
  | "8bitmime"
  | "smtputf8"
  | "message-size"
  | "damaged-content"
  | "signing";

/** Why: the peer said so, the network failed, DNS said so, or our own policy forbade it. */
export type Fault =
  | { readonly kind: "reply"; readonly stage: Stage; readonly reply: Reply }
  | { readonly kind: "network"; readonly stage: Stage; readonly message: string }
  | { readonly kind: "dns"; readonly stage: "resolve"; readonly message: string }
  | { readonly kind: "policy"; readonly rule: PolicyRule; readonly message: string };

/** What one attempt did to one recipient. "unknown": the final dot was sent and no reply came (RFC 1047). */
export type Outcome =
  | { readonly kind: "delivered"; readonly at: Instant; readonly reply: Reply }
  | { readonly kind: "transient"; readonly at: Instant; readonly fault: Fault }
  | { readonly kind: "permanent"; readonly at: Instant; readonly fault: Fault }
  | { readonly kind: "unknown"; readonly at: Instant; readonly fault: Fault };

/** The fault on one line, as people read it: `550 5.1.1 no such user`, `connect: ECONNREFUSED`. */
export function describeFault(fault: Fault): string {
  switch (fault.kind) {
    case "reply":
      return formatReply(fault.reply);
    case "network":
    case "dns":
      return `${fault.stage}: ${fault.message}`;
    case "policy":
      return fault.message;
    default:
      return assertNever(fault);
  }
}
