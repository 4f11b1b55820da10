// Families of words that receivers use for the same thing, for replies that no rule of a file decides.

import { compilePattern } from "./bounce-rules.ts";
import type { KnownBounceClass } from "./bounce-taxonomy.ts";

export interface TextFamily {
  readonly bounceClass: KnownBounceClass;
  /** The first digit of the codes it applies to; undefined for both. */
  readonly digit: 4 | 5 | undefined;
  readonly pattern: RegExp;
  /** The family does not apply to a text that holds this. */
  readonly unless: RegExp | undefined;
}

/** Names of lists of IP addresses, and the words for such a list. */
const ipLists =
  "\\b(?:spamhaus|zen|sbl|xbl|css|pbl|barracudacentral|spamcop|psbl|uceprotect|invaluement|ivmsip|sorbs|cloudmark|csi|senderscore|return ?path|trustedsource|abusix|mailspike|dnsbl|rbl|block ?list(?:ed)?|black ?list(?:ed)?)\\b";
const authFault = "\\b.{0,60}(?:fail|not pass|reject|polic|align|record)";
const mailboxWord = "(?:mailbox|mail box|account|user|recipient|inbox|address)";
const goneWord =
  "(?:disabled|suspended|inactive|deactivated|inactivity|archived|no longer (?:valid|active|in use|available|on server))";
const unknownWord =
  "(?:no such|unknown|invalid|non-?existent|does(?:n.?t| not) exist|not (?:found|listed|our customer|a valid|known)|no mailbox|unallocated|unrecognized)";
/** Words that say that the fault is not the recipient's: then no mailbox is blamed. */
const senderWords =
  "\\b(?:sender|sending|helo|ehlo|client host|return-?path|reply-to|from address|from domain|ip address|mail from)\\b";

type Row = readonly [KnownBounceClass, 4 | 5 | undefined, string, string?];

/** Tried in this order: lists, authentication, the mailbox, the rate, the content. */
const rows: readonly Row[] = [
  // Lists. A list of domains or URLs blames the content, a list of addresses blames our address.
  ["url_block", undefined, "\\b(?:surbl|uribl|ivmuri|dbl)\\b"],
  ["ip_block_dnsbl", undefined, ipLists],

  // Authentication and DNS of ours.
  ["auth_ptr", undefined, "\\bptr\\b|reverse (?:dns|host ?name)|\\brdns\\b|\\bfcrdns\\b"],
  ["auth_dmarc", undefined, `\\bdmarc${authFault}|unauthenticated`],
  ["auth_dkim", undefined, `\\bdkim${authFault}`],
  ["auth_spf", undefined, `\\bspf${authFault}|doesn.?t allow sending mails? from`],
  ["tls_required", undefined, "must issue a starttls|encryption (?:needed|required)|tls (?:is )?required"],
  [
    "sender_domain",
    undefined,
    "sender address rejected|domain of sender|sender domain.{0,30}(?:not (?:found|exist)|must resolve)|sender verif(?:y|ication) failed",
  ],
  [
    "greylisted",
    4,
    "gr[ea]y-?list|try again (?:in|after) \\d|verification in progress|unverified (?:recipient )?address|first contact",
  ],
  [
    "relay_denied",
    5,
    "relay(?:ing)? (?:access |is )?(?:denied|disallowed|prohibited|not (?:permitted|allowed))|not authenticated|unable to relay|(?:do|does|will) not relay|not a local domain",
  ],

  // The mailbox. "full" comes before "gone": Gmail says "out of storage and inactive".
  [
    "mailbox_full",
    undefined,
    "(?:over|exceed\\w{0,5}).{0,20}(?:quota|storage)|quota exceeded|mailbox (?:is |for user is )?full|inbox is full|out of storage|insufficient mailbox|bo[iî]te.{0,30}pleine|casella piena|postfach.{0,30}voll|over ?quota",
  ],
  ["inactive_mailbox", 5, `${mailboxWord}\\b.{0,60}\\b${goneWord}|\\b${goneWord} ${mailboxWord}`, senderWords],
  ["routing_loop", undefined, "mail loop|routing loop|loop detected|too many hops|hop count exceeded"],
  ["invalid_recipient", 5, `\\b${unknownWord}.{0,40}(?:${mailboxWord}|customer)`, senderWords],
  [
    "invalid_recipient",
    5,
    `${mailboxWord}\\b.{0,60}(?:${unknownWord}|not in recipient list|could not be found|cannot be found)`,
    senderWords,
  ],
  [
    "invalid_recipient",
    5,
    "destinataire.{0,20}(?:inconnu|invalide)|utilisateur.{0,20}inconnu|sconosciut|inesistente|nicht gefunden|unbekannt|не (?:существует|найден)|用户不存在|존재하지|recip(?:ient)?notfound",
  ],
  ["invalid_recipient", 4, "\\b(?:user|mailbox|recipient) (?:is )?unknown|unknown user|no such user", senderWords],

  // The rate. Temporary whatever the code says.
  ["too_many_rcpts", undefined, "too many (?:recipients|rcpt)"],
  [
    "session_limit",
    undefined,
    "max(?:imum)? (?:number of )?(?:message|connection)s? (?:count )?per (?:connection|session)|too many messages (?:for|in|on) this (?:session|connection)|too many errors",
  ],
  [
    "conn_limit",
    undefined,
    "too many (?:open |concurrent |simultaneous )?(?:connections|sessions)|concurrent connection|trop de (?:connexions|sessions)",
  ],
  [
    "rate_limit",
    undefined,
    "too (?:many|fast|quickly|frequent)|rate[- ]?limit|throttl|frequency limited|slow down|unusual rate|excessive volume|trop de|temporarily deferred|permanently deferred|server busy",
  ],

  // The content, then who we are to them.
  ["virus", 5, "\\bvirus\\b|malware|infected|phish"],
  [
    "attachment",
    5,
    "(?:illegal|prohibited|forbidden|banned|blocked) (?:attachment|file)|attachment.{0,40}(?:not allowed|forbidden|prohibited|blocked)",
  ],
  ["message_too_large", 5, "message (?:is )?too (?:large|big)|(?:message )?size limit|exceeds.{0,30}size"],
  ["malformed", 5, "rfc ?5?322|malformed|missing.{0,20}header|duplicate header|bare (?:lf|cr|line feed)"],
  ["domain_block", undefined, "reputation of (?:the |your )?(?:sending |sender )?domain"],
  [
    "ip_block_temp",
    undefined,
    "(?:low|bad|poor) reputation|\\bip\\b.{0,40}(?:block|reject|banned)|access denied|not (?:welcome|authorized to send)",
  ],
  [
    "spam_content",
    5,
    "\\bspam|unsolicited|\\bjunk\\b|\\bbulk\\b|suspicio|content (?:denied|rejected)|policy (?:reasons?|restrictions?|rejection)|local policy",
  ],
  [
    "system_error",
    4,
    "temporar(?:y|ily)|try (?:again )?later|unavailable|system (?:problem|error|resources)|internal server error|timed? ?out|timeout",
  ],
];

/** The families, compiled once for each classifier. */
export function textFamilies(): TextFamily[] {
  return rows.map(([bounceClass, digit, pattern, unless]) => ({
    bounceClass,
    digit,
    pattern: compilePattern(pattern),
    unless: unless === undefined ? undefined : compilePattern(unless),
  }));
}
