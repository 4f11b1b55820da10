// What receivers say: one set of reply lines per family. Each entry is a whole reply without its last CRLF.

export interface ReplyTexts {
  readonly banner: string;
  readonly tooManyConnections: string;
  readonly tooManyMessages: string;
  readonly addressRate: string;
  readonly domainRate: string;
  readonly blocked: string;
  readonly greylisted: string;
  readonly deferred: string;
  readonly unknownUser: string;
  readonly down: string;
  readonly contentRefused: string;
  readonly accepted: string;
}

/** Postfix-like wording, which most small receivers show. */
export const plainTexts: ReplyTexts = {
  banner: "220 mx ESMTP",
  tooManyConnections: "421 4.7.0 Error: too many connections from your address",
  tooManyMessages: "421 4.7.0 Error: too many messages in this session",
  addressRate: "450 4.7.1 Error: too much mail from your address",
  domainRate: "450 4.7.1 Error: too much mail from your domain",
  blocked: "421 4.7.0 Service refused for your address, try again later",
  greylisted: "450 4.2.0 Recipient address rejected: Greylisted, try again later",
  deferred: "451 4.3.0 Error: queue file write error",
  unknownUser: "550 5.1.1 Recipient address rejected: User unknown in local recipient table",
  down: "421 4.3.2 Service not available",
  contentRefused: "554 5.7.1 Message rejected as spam by content scanner",
  accepted: "250 2.0.0 Ok: queued",
};

export const gmailTexts: ReplyTexts = {
  ...plainTexts,
  banner: "220 mx.google.com ESMTP gsmtp",
  tooManyConnections: "421 4.7.0 Try again later, closing connection. gsmtp",
  tooManyMessages: "421 4.7.0 Connection expired, try reconnecting. gsmtp",
  addressRate:
    "421-4.7.28 Gmail has detected an unusual rate of email originating from your IP\r\n" +
    "421-4.7.28 address. To protect our users from spam, email sent from your IP address\r\n" +
    "421 4.7.28 has been temporarily rate limited. gsmtp",
  domainRate:
    "421-4.7.28 Gmail has detected an unusual rate of email originating from your SPF\r\n" +
    "421 4.7.28 domain. Email sent from your domain has been temporarily rate limited. gsmtp",
  blocked: "421 4.7.28 Gmail has detected an unusual rate of email. gsmtp",
  deferred: "451 4.3.0 Mail server temporarily rejected message. gsmtp",
  unknownUser:
    "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n" +
    "550-5.1.1 double-checking the recipient's email address for typos or\r\n" +
    "550 5.1.1 unnecessary spaces. gsmtp",
  accepted: "250 2.0.0 OK gsmtp",
};

export const microsoftTexts: ReplyTexts = {
  ...plainTexts,
  banner: "220 mail.protection.outlook.com Microsoft ESMTP MAIL Service ready",
  tooManyConnections:
    "421 4.3.2 The maximum number of concurrent connections per resource forest has exceeded a limit, closing transmission channel",
  tooManyMessages: "421 4.7.0 RP-002 exceeded maximum number of messages per connection",
  addressRate:
    "451 4.7.650 The mail server has been temporarily rate limited due to IP reputation. For e-mail delivery information, see https://postmaster.example (S775)",
  domainRate: "451 4.7.500 Server busy. Please try again later (S77719)",
  blocked: "451 4.7.651 The mail server has been temporarily rate limited due to IP reputation (S3114)",
  deferred: "451 4.7.500 Server busy. Please try again later (AS761)",
  unknownUser: "550 5.5.0 Requested action not taken: mailbox unavailable",
  accepted: "250 2.6.0 Queued mail for delivery",
};

export const yahooTexts: ReplyTexts = {
  ...plainTexts,
  banner: "220 mtaproxy1.free.mail.yahoo.com ESMTP ready",
  tooManyConnections: "421 4.7.0 Too many connections",
  tooManyMessages: "421 Max message per connection reached, closing transmission channel",
  addressRate:
    "421 4.7.0 [TSS04] Messages temporarily deferred due to unexpected volume or user complaints - 4.16.55.1",
  domainRate: "421 4.7.0 [TS02] Messages temporarily deferred due to unexpected volume - 4.16.56.1",
  blocked: "421 4.7.0 [TSS05] Messages temporarily deferred due to user complaints - 4.16.55.1",
  deferred: "451 4.3.2 Resources temporarily unavailable. Please try again later. [#4.16.1]",
  unknownUser: "554 delivery error: dd This user doesn't have a yahoo.com account (-9)",
  accepted: "250 ok dirdel",
};

export const appleTexts: ReplyTexts = {
  ...plainTexts,
  banner: "220 icloud.com ESMTP",
  addressRate: "421 4.7.1 [HCM1] Your mail was deferred",
  deferred: "451 4.7.1 Service unavailable - try again later",
  unknownUser: "550 5.1.1 unknown or illegal alias",
};

export const gmxTexts: ReplyTexts = {
  ...plainTexts,
  banner: "220 gmx.net (mxgmx) Nemesis ESMTP Service ready",
  tooManyConnections: "421-gmx.net (mxgmx) Nemesis ESMTP Service not available\r\n421 Too many connections",
  addressRate:
    "421-Requested action not taken: mailbox unavailable\r\n421-Reject due to policy restrictions. Too many messages\r\n421 For explanation visit https://postmaster.example/case?c=r0601",
  unknownUser: "550 Requested action not taken: mailbox unavailable",
  accepted: "250 Requested mail action okay, completed",
};

export const mimecastTexts: ReplyTexts = {
  ...plainTexts,
  greylisted: "451 Internal resources are temporarily unavailable - https://community.example/docs/DOC-1369#451",
  deferred: "451 Internal resources are temporarily unavailable - https://community.example/docs/DOC-1369#451",
  unknownUser: "550 Invalid Recipient - https://community.example/docs/DOC-1369#550",
  contentRefused: "554 Email rejected due to security policies - https://community.example/docs/DOC-1369#554",
  accepted: "250 SmtpThread-ID - queued",
};
