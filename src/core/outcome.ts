// What one attempt did to one recipient, and why.

import { assertNever } from "./assert.ts";
import type { Reply } from "./reply.ts";
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

/** What a failure may punish. */
export type Scope = "session" | "site" | "message" | "recipient";

/** The blast radius of a failure. The one place that says it. */
export function scopeOf(fault: Fault): Scope {
  switch (fault.kind) {
    case "dns":
      return "site";
    case "policy":
      return fault.rule === "null-mx" || fault.rule === "loop" || fault.rule === "internal-address"
        ? "site"
        : "message";
    case "network":
      // Unlike a refused RCPT, a connection that broke there is over for all of them.
      return fault.stage === "rcpt" ? "session" : stageScope(fault.stage);
    case "reply":
      // RFC 5321 section 3.8: a 421 closes the channel, whatever command it answers.
      if (fault.reply.code === 421) return fault.stage === "connect" || fault.stage === "banner" ? "site" : "session";
      return fault.stage === "mail" || fault.stage === "data" || fault.stage === "final-dot"
        ? "message"
        : stageScope(fault.stage);
    default:
      return assertNever(fault);
  }
}

function stageScope(stage: Stage): Scope {
  switch (stage) {
    case "resolve":
    case "connect":
    case "banner":
    case "ehlo":
    case "starttls":
    case "auth":
      return "site";
    case "mail":
    case "data":
    case "final-dot":
      return "session";
    case "rcpt":
      return "recipient";
    default:
      return assertNever(stage);
  }
}
