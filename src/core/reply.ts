// An SMTP reply as we keep it (RFC 5321 section 4.2, RFC 3463).

export interface Reply {
  /** 200 to 599. */
  readonly code: number;
  /** The enhanced status code, such as "5.1.1", where the peer gave one (RFC 2034). */
  readonly enhanced: string | undefined;
  /** The text of all lines joined with a blank, without codes; at most `replyTextMax` characters, controls replaced. */
  readonly text: string;
}

export const replyTextMax = 2_048;

/** The reply on one line, as in logs: `550 5.1.1 no such user`. */
export function formatReply(reply: Reply): string {
  return [reply.code, reply.enhanced, reply.text].filter((part) => part !== undefined && part !== "").join(" ");
}
