// Whether the sender is told about a recipient (RFC 3461 section 4.1).

import { assertNever } from "../core/assert.ts";
import type { Notify } from "../core/envelope.ts";
import type { DsnAction } from "./outcome.ts";

/**
 * Whether NOTIFY asks for a DSN with this action. NEVER is an empty list. Without NOTIFY failures and delays are told
 * (RFC 3461 section 4.1: the default of SMTP is failure, and delay is left to us); success only when asked for.
 */
export function isDsnDue(notify: Notify, action: DsnAction): boolean {
  switch (action) {
    case "failed":
      return notify === undefined || notify.includes("failure");
    case "delayed":
      return notify === undefined || notify.includes("delay");
    case "delivered":
    case "relayed":
      return notify?.includes("success") ?? false;
    default:
      return assertNever(action);
  }
}

/**
 * What may be said once a peer has taken the message. We never deliver to a mailbox ourselves, so all we know is
 * that another system has it: "relayed". A peer that offered DSN (`AttemptInfo.peerDsn`) was given NOTIFY and owes the
 * report itself, so we stay silent (RFC 3461 section 5.2.2); without DSN the trace ends there and we say so (section
 * 5.2.3). Not known counts as not offered: two reports are better than none.
 */
export function actionOnSuccess(peerDsn: boolean | undefined): "relayed" | undefined {
  return peerDsn === true ? undefined : "relayed";
}
