// The outcome room's door: what a fault means, and the reports about it.

import type { SiteName } from "../core/ids.ts";
import type { Message, QueuedRecipient } from "../core/message.ts";
import type { Fault, Outcome } from "../core/outcome.ts";
import type { Instant } from "../core/time.ts";

/** Ids of the merged taxonomy, such as "invalid_recipient" or "rate_limit". */
export type BounceClass = string;

export interface Classifier {
  /**
   * The class of a fault. `site` is the name of the site that answered, so that the rules of that operator apply;
   * without it only the rules for everyone do. The class says what is wrong, not how long it lasts: that is the
   * outcome's kind (a 450 4.1.1 is an invalid_recipient too).
   */
  classify(fault: Fault, site?: SiteName): BounceClass;
}

/** RFC 3464 section 2.3.3. "expanded" does not occur here. */
export type DsnAction = "failed" | "delayed" | "delivered" | "relayed";

export interface DsnRecipient {
  readonly recipient: QueuedRecipient;
  readonly action: DsnAction;
  /** undefined: expired without an attempt. */
  readonly outcome: Outcome | undefined;
  readonly remoteName: string | undefined;
  /** For "delayed": until when we go on trying. */
  readonly willRetryUntil: Instant | undefined;
}

export interface DsnRequest {
  readonly message: Message;
  readonly recipients: readonly DsnRecipient[];
  /** The stored content of the message, for the returned part (RET, RFC 3461 section 4.3). */
  readonly content: () => Iterable<Buffer>;
  readonly at: Instant;
}

/** A finished DSN: content with CRLF line ends, to be accepted as a new message from the null reverse-path. */
export interface Dsn {
  readonly to: string;
  readonly content: Buffer;
  readonly smtpUtf8: boolean;
  /** "8bitmime" when the returned message holds octets above 127. */
  readonly body: "7bit" | "8bitmime";
}

export interface DsnWriter {
  /** undefined when nobody may be told: a null reverse-path, or a message that is a DSN itself. */
  write(request: DsnRequest): Dsn | undefined;
}

export { loadClassifier, ReplyClassifier } from "./bounce-class.ts";
export { createDsnWriter } from "./dsn-writer.ts";
export { formatEvent } from "./event-format.ts";
export { EventLog } from "./event-log.ts";
export { actionOnSuccess, isDsnDue } from "./notify.ts";
