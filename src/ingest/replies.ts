// The replies that ingest gives: code, enhanced status code (RFC 3463, RFC 2034) and a text that says what to do.

export interface SmtpReply {
  readonly code: number;
  readonly enhanced: string;
  readonly text: string;
}

export function reply(code: number, enhanced: string, text: string): SmtpReply {
  return { code, enhanced, text };
}

/**
 * The reply's line. Texts may hold what a client sent: controls and non-ASCII characters are replaced, so that a
 * reply can never be split into two, and the line stays below 512 octets (RFC 5321 section 4.5.3.1.5).
 */
export function replyLine(smtpReply: SmtpReply): string {
  return `${smtpReply.code} ${smtpReply.enhanced} ${cleanText(smtpReply.text)}\r\n`;
}

export function cleanText(text: string): string {
  const clean = /^[ -~]*$/.test(text) ? text : text.replace(/[^ -~]/g, "?");
  return clean.length > replyTextCharactersMax ? clean.slice(0, replyTextCharactersMax) : clean;
}

const replyTextCharactersMax = 480;

export const authenticationRequired = reply(530, "5.7.0", "Authentication required");
export const needMail = reply(503, "5.5.1", "Send MAIL first");
export const needRcpt = reply(503, "5.5.1", "No valid recipients: send RCPT first");
export const needEhlo = reply(503, "5.5.1", "Send EHLO first");
export const nestedMail = reply(503, "5.5.1", "A transaction is in progress: send RSET first");
export const shuttingDown = reply(421, "4.3.2", "Shutting down, try again");
export const idleTooLong = reply(421, "4.4.2", "Idle too long, closing");
export const dataTooSlow = reply(421, "4.4.2", "Content comes too slowly, closing");
export const tooManyErrors = reply(421, "4.7.0", "Too many errors, closing");
export const tooManyConnections = reply(421, "4.3.2", "Too many connections, try again");
export const tooManyFromAddress = reply(421, "4.7.0", "Too many connections from your address, try again");
export const tooManyAuthFailures = reply(421, "4.7.0", "Too many failed logins from your address, try again later");
export const outOfStep = reply(554, "5.5.0", "Input was sent before it was asked for, closing");
export const bareLineEnd = reply(500, "5.5.2", "Lines end in CRLF: a bare CR, LF or NUL is not allowed");
export const spoolFailed = reply(451, "4.3.0", "The message could not be stored, try again");
export const noMemory = reply(452, "4.3.1", "Too much mail is being received at the moment, try again");
