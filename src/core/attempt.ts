// The answers of governors, and what is known about one attempt.

import type { SourceName } from "./ids.ts";
import type { Instant, Millis } from "./time.ts";

/** A governor's answer: go now, or not before this point of the clock's monotonic time. */
export type Admission = { readonly kind: "go" } | { readonly kind: "wait"; readonly untilMs: Millis };

export interface TlsInfo {
  readonly version: string;
  readonly cipher: string;
  /** Whether the peer's certificate is valid for the host name. Opportunistic TLS goes on without it. */
  readonly verified: boolean;
}

/** The facts of an attempt that the delivery log shows. */
export interface AttemptInfo {
  readonly source: SourceName;
  readonly remote: { readonly name: string; readonly address: string } | undefined;
  readonly tls: TlsInfo | undefined;
  /** Whether the peer offered DSN, and so took over the duty to report success (RFC 3461 section 5.2). */
  readonly peerDsn: boolean;
  /** Unique for each SMTP session, so that the log lines of one connection can be found. */
  readonly sessionId: string;
  readonly startedAt: Instant;
  readonly transactionMs: Millis;
}
