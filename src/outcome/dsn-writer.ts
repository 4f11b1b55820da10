// Delivery status notifications: RFC 3461 (when and what), 3464 (the report), 6522 (the container), 6533 (with UTF-8).

import type { Random } from "../core/random.ts";
import { dateTime } from "../mime/date-time.ts";
import {
  deliveryStatus,
  printable,
  type ReportCharset,
  type StatusFields,
  statusField,
  typedAddress,
} from "../mime/delivery-status.ts";
import {
  isAscii,
  lineOctetsMax,
  multipartReport,
  quotedPrintable,
  type ReportPart,
  surveyText,
} from "../mime/multipart-report.ts";
import { diagnosticOf, spokeToRemote, statusOf, whatHappened, whatNext } from "./dsn-status.ts";
import type { Dsn, DsnAction, DsnRecipient, DsnRequest, DsnWriter } from "./outcome.ts";

export interface DsnWriterOptions {
  /** Our name in Reporting-MTA and Message-ID. */
  readonly hostname: string;
  /** The address in From; `""` or undefined for `MAILER-DAEMON@hostname`. */
  readonly returnPath: string | undefined;
  readonly random: Random;
  /** A larger message is not returned whole: only its header section is. Default 1 MiB. */
  readonly fullContentBytesMax?: number | undefined;
}

const fullContentBytesMaxDefault = 1024 * 1024;
/** A longer header section is cut after the last whole line. */
const returnedHeaderBytesMax = 128 * 1024;
const humanLineWidth = 76;

export function createDsnWriter(options: DsnWriterOptions): DsnWriter {
  return { write: (request) => writeDsn(request, options) };
}

function writeDsn(request: DsnRequest, options: DsnWriterOptions): Dsn | undefined {
  const { message, recipients, at } = request;
  const to = message.envelope.reversePath;
  // RFC 5321 section 4.5.5: no report about a report, and none to nobody. An address that cannot stand in a header
  // field cannot be answered either.
  if (message.origin === "dsn" || recipients.length === 0 || !isWritableMailbox(to)) return undefined;

  const ordered = [...recipients].sort((a, b) => actionOrder.indexOf(a.action) - actionOrder.indexOf(b.action));
  const first = (ordered[0] as DsnRecipient).action;
  const returned = readReturned(request, first, options.fullContentBytesMax ?? fullContentBytesMaxDefault);

  // RFC 6533 section 4: the forms for UTF-8 go only to a sender who used SMTPUTF8.
  const global =
    !isPlain(to) ||
    (message.envelope.smtpUtf8 &&
      (ordered.some((item) => !isPlain(item.recipient.forwardPath)) || !isAscii(returned.headerSection)));
  const charset: ReportCharset = global ? "utf-8" : "ascii";

  const parts: ReportPart[] = [
    humanPart(humanText(request, ordered, options.hostname)),
    {
      type: global ? "message/global-delivery-status" : "message/delivery-status",
      description: "Delivery report",
      encoding: global ? "8bit" : "7bit",
      body: deliveryStatus(
        messageFields(request, options.hostname),
        ordered.map((item) => recipientFields(item, charset)),
        charset,
      ),
    },
  ];
  const third = returnedPart(returned, global);
  if (third !== undefined) parts.push(third);

  const report = multipartReport("delivery-status", parts, options.random);
  const given = options.returnPath ?? "";
  const from = isWritableMailbox(given) && isPlain(given) ? given : `MAILER-DAEMON@${options.hostname}`;
  const original = isMessageId(message.messageIdHeader) ? message.messageIdHeader : undefined;
  const header = [
    `Date: ${dateTime(at)}\r\n`,
    `From: Mail Delivery System <${from}>\r\n`,
    `To: <${to}>\r\n`,
    statusField("Subject", subjects[first], "ascii"),
    `Message-ID: <${options.random.bytes(15).toString("hex")}@${options.hostname}>\r\n`,
    original === undefined ? "" : `In-Reply-To: ${original}\r\nReferences: ${original}\r\n`,
    // RFC 3834 section 5 and RFC 3464 section 2: so that no robot answers.
    "Auto-Submitted: auto-replied\r\n",
  ].join("");
  return {
    to,
    content: Buffer.concat([Buffer.from(header, "utf8"), report.content]),
    smtpUtf8: global,
    body: report.eightBit ? "8bitmime" : "7bit",
  };
}

const actionOrder: readonly DsnAction[] = ["failed", "delayed", "relayed", "delivered"];

const subjects: Readonly<Record<DsnAction, string>> = {
  failed: "Undeliverable: your message could not be delivered",
  delayed: "Delayed: your message has not been delivered yet",
  relayed: "Relayed: your message was handed to another mail system",
  delivered: "Delivered: your message arrived",
};

const introductions: Readonly<Record<DsnAction, string>> = {
  failed: "Your message could not be delivered to:",
  delayed: "Your message has not been delivered yet, and is still being tried, to:",
  relayed: "Your message was handed on to the mail system of:",
  delivered: "Your message was delivered to:",
};

function humanText(request: DsnRequest, ordered: readonly DsnRecipient[], hostname: string): string {
  const { message } = request;
  const lines = [`This is the mail system at ${hostname}.`, ""];
  lines.push(
    ...wrap(
      `It took a message from you on ${dateTime(message.receivedAt)}; its number here is ${message.queueId}.`,
      "",
    ),
  );
  let action: DsnAction | undefined;
  for (const item of ordered) {
    if (item.action !== action) {
      action = item.action;
      lines.push("", introductions[action]);
    }
    const { words, quoted } = whatHappened(item);
    lines.push("", `  <${printable(item.recipient.forwardPath, "utf-8")}>`);
    lines.push(...wrap(printable(words, "utf-8"), "    "));
    if (quoted !== undefined) lines.push(...wrap(printable(quoted, "utf-8"), "      | "));
    lines.push(...wrap(whatNext(item), "    "));
  }
  lines.push("", ...wrap("The next part of this report is for programs. Your message, or its header, follows it.", ""));
  return `${lines.join("\r\n")}\r\n`;
}

/** Breaks a text of one line into lines that begin with `indent`; a word that is too long is cut. */
function wrap(text: string, indent: string): string[] {
  const width = humanLineWidth - indent.length;
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap((part) => part.match(/.{1,200}/gu) ?? [])) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  if (line !== "") lines.push(indent + line);
  return lines;
}

function humanPart(text: string): ReportPart {
  const body = Buffer.from(text, "utf8");
  const description = "What happened";
  const { eightBit, longestLine } = surveyText(body);
  if (!eightBit && longestLine <= lineOctetsMax)
    return { type: "text/plain; charset=us-ascii", description, encoding: "7bit", body };
  return { type: "text/plain; charset=utf-8", description, encoding: "quoted-printable", body: quotedPrintable(body) };
}

/** RFC 3464 section 2.2. */
function messageFields({ message }: DsnRequest, hostname: string): StatusFields {
  return [
    ["Original-Envelope-Id", message.envelope.envid || undefined],
    ["Reporting-MTA", `dns; ${hostname}`],
    ["Arrival-Date", dateTime(message.receivedAt)],
    ["X-Postern-Queue-Id", message.queueId],
  ];
}

/** RFC 3464 section 2.3. */
function recipientFields(item: DsnRecipient, charset: ReportCharset): StatusFields {
  const { recipient, outcome, action } = item;
  const orcpt = recipient.orcpt;
  return [
    // `addr-type;address`, as the sender gave it (RFC 3461 section 4.2).
    ["Original-Recipient", orcpt !== undefined && /^[A-Za-z0-9-]{1,40};./.test(orcpt) ? orcpt : undefined],
    ["Final-Recipient", typedAddress(recipient.forwardPath, charset)],
    ["Action", action],
    ["Status", statusOf(item)],
    ["Remote-MTA", item.remoteName !== undefined && spokeToRemote(outcome) ? `dns; ${item.remoteName}` : undefined],
    ["Diagnostic-Code", diagnosticOf(outcome)],
    ["Last-Attempt-Date", outcome === undefined ? undefined : dateTime(outcome.at)],
    [
      "Will-Retry-Until",
      action === "delayed" && item.willRetryUntil !== undefined ? dateTime(item.willRetryUntil) : undefined,
    ],
  ];
}

interface Returned {
  /** With CRLF after the last field, without the empty line. Empty when it could not be read. */
  readonly headerSection: Buffer;
  /** undefined when only the header section is to be returned. */
  readonly full: Buffer | undefined;
}

/**
 * RFC 3461 section 4.3: RET=FULL asks for the whole message, and only a failure returns it. RFC 8689 section 5: a
 * message that must not travel in clear does not do so in a report.
 */
function readReturned(request: DsnRequest, action: DsnAction, fullBytesMax: number): Returned {
  const { message } = request;
  const { ret, requireTls } = message.envelope;
  const wantFull = action === "failed" && ret === "full" && !requireTls && message.contentBytes <= fullBytesMax;
  const octets = readStart(request.content, wantFull ? message.contentBytes : message.headerBytes, wantFull);
  const emptyLine = 2;
  const headerEnd = Math.max(0, Math.min(message.headerBytes - emptyLine, octets.length));
  let headerSection = octets.subarray(0, headerEnd);
  if (headerSection.length > returnedHeaderBytesMax)
    headerSection = headerSection.subarray(0, headerSection.lastIndexOf("\r\n", returnedHeaderBytesMax - 2) + 2);
  return { headerSection, full: wantFull && octets.length === message.contentBytes ? octets : undefined };
}

/** The first octets of the content. Damaged content must not keep the sender from being told: then as many as there are. */
function readStart(content: () => Iterable<Buffer>, count: number, whole: boolean): Buffer {
  const chunks: Buffer[] = [];
  let length = 0;
  const limit = whole ? count : Math.min(count, returnedHeaderBytesMax + lineOctetsMax);
  try {
    for (const chunk of content()) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= limit) break;
    }
  } catch {
    // The third part is optional (RFC 6522 section 3).
  }
  return Buffer.concat(chunks).subarray(0, limit);
}

function returnedPart({ headerSection, full }: Returned, global: boolean): ReportPart | undefined {
  if (full !== undefined) {
    const { eightBit, nul, longestLine } = surveyText(full);
    // message/rfc822 must not be encoded (RFC 2046 section 5.2.1): a content that no line-based transport can carry
    // is not returned whole.
    if (!nul && longestLine <= lineOctetsMax)
      return {
        type: global ? "message/global" : "message/rfc822",
        description: "Your message",
        encoding: eightBit ? "8bit" : "7bit",
        body: full,
      };
  }
  if (headerSection.length === 0) return undefined;
  const { eightBit, nul, longestLine } = surveyText(headerSection);
  const description = "The header of your message";
  const long = nul || longestLine > lineOctetsMax;
  if (global && !long) return { type: "message/global-headers", description, encoding: "8bit", body: headerSection };
  // RFC 6522 section 4 allows quoted-printable for a header that needs it.
  const plain = !eightBit && !long;
  return {
    type: "text/rfc822-headers",
    description,
    encoding: plain ? "7bit" : "quoted-printable",
    body: plain ? headerSection : quotedPrintable(headerSection),
  };
}

/** Whether the address can stand between angle brackets in a header field without being taken for anything else. */
function isWritableMailbox(address: string): boolean {
  return (
    address.length <= 512 &&
    /^(?:[^\s\x00-\x20\x7f-\x9f\u2028\u2029"(),:;<>@[\\\]]+|"(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029"\\]|\\[\x20-\x7e])*")@(?:[^\s\x00-\x20\x7f-\x9f\u2028\u2029"(),:;<>@[\\\]]+|\[[A-Za-z0-9.:-]+\])$/u.test(
      address,
    )
  );
}

function isMessageId(text: string | undefined): text is string {
  return text !== undefined && text.length <= 900 && /^<[\x21-\x3b\x3d\x3f-\x7e]+>$/.test(text);
}

function isPlain(text: string): boolean {
  return /^[\x00-\x7f]*$/.test(text);
}
