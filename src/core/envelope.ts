// The envelope (RFC 5321 section 2.3.1) and the DSN parameters that travel with it (RFC 3461).

/** A mailbox without angle brackets, domain in lower case; `""` for the null reverse-path. */
export type ReversePath = string;
/** A mailbox without angle brackets, domain in lower case. */
export type ForwardPath = string;

export interface Envelope {
  readonly reversePath: ReversePath;
  /** RFC 3461 section 4.4, decoded from xtext. */
  readonly envid: string | undefined;
  /** RFC 3461 section 4.3: what a failure DSN returns. */
  readonly ret: "full" | "hdrs" | undefined;
  /** RFC 6152: whether the body holds octets above 127. */
  readonly body: "7bit" | "8bitmime";
  /** RFC 6531: whether an address or the header section needs SMTPUTF8. */
  readonly smtpUtf8: boolean;
  /** RFC 8689. */
  readonly requireTls: boolean;
}

/** RFC 3461 section 4.1. An empty list stands for NEVER; undefined for "not given", which means failure (and delay). */
export type Notify = readonly ("success" | "failure" | "delay")[] | undefined;

export interface Recipient {
  readonly forwardPath: ForwardPath;
  /** RFC 3461 section 4.2: `addr-type;address`, decoded from xtext. */
  readonly orcpt: string | undefined;
  readonly notify: Notify;
}
