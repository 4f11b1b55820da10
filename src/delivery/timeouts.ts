// The waits of a session, phase by phase (RFC 5321 section 4.5.3.2).

import type { DeliveryTimeouts } from "../config/config.ts";
import type { SessionTimeouts } from "../smtp/client-session.ts";

export function sessionTimeouts(timeouts: DeliveryTimeouts): SessionTimeouts {
  return {
    replyMs: {
      resolve: timeouts.connectMs,
      connect: timeouts.connectMs,
      banner: timeouts.bannerMs,
      ehlo: timeouts.ehloMs,
      starttls: timeouts.startTlsMs,
      auth: timeouts.ehloMs,
      mail: timeouts.mailMs,
      rcpt: timeouts.rcptMs,
      data: timeouts.dataMs,
      "final-dot": timeouts.finalDotMs,
    },
    blockMs: timeouts.blockMs,
  };
}
