// The one path from collected content to a submission: header fields read once, ours taken out and added, the stream
// chosen. Both doors (SMTP, and later HTTP) take it.

import type { Config, UserConfig } from "../config/config.ts";
import type { Envelope, Recipient } from "../core/envelope.ts";
import type { QueueId } from "../core/ids.ts";
import type { Instant } from "../core/time.ts";
import { dateTime } from "../mime/date-time.ts";
import { fromDomain } from "../mime/from-domain.ts";
import {
  fieldName,
  fieldText,
  type HeaderField,
  type HeaderSection,
  headerFieldsMax,
  parseHeaderSection,
} from "../mime/header-section.ts";
import { type ReceivedFacts, receivedField } from "../mime/received.ts";
import type { Submission } from "../queue/queue.ts";
import type { Content } from "./content-reader.ts";
import { reply, type SmtpReply } from "./replies.ts";
import { chooseStream } from "./submission-policy.ts";

/** What the session knows about the message besides its content. */
export interface IntakeFacts {
  readonly config: Config;
  /** undefined for a trusted network. */
  readonly user: UserConfig | undefined;
  readonly reversePath: string;
  readonly recipients: readonly Recipient[];
  readonly ret: Envelope["ret"];
  readonly envid: string | undefined;
  /** MAIL had the SMTPUTF8 parameter. */
  readonly smtpUtf8: boolean;
  /** The reverse-path or a forward-path cannot be written in US-ASCII. */
  readonly hasUtf8Address: boolean;
  readonly headerSectionBytesMax: number;
  readonly queueId: QueueId;
  readonly receivedAt: Instant;
  readonly sessionId: string;
  readonly helo: string | undefined;
  readonly remoteAddress: string;
  readonly extended: boolean;
  readonly tls: ReceivedFacts["tls"];
}

export type IntakeResult =
  | { readonly kind: "submission"; readonly submission: Submission }
  | { readonly kind: "refused"; readonly reply: SmtpReply };

/** RFC 5321 section 6.3: a loop is assumed at no less than 100 Received fields. */
const receivedFieldsMax = 100;
/** Labels (stream, tenant, job) and idempotency keys. The spool keeps a key with the user's name in 512 octets. */
const labelBytesMax = 255;
/** With folding and blanks around it. */
const labelFieldBytesMax = 1_024;

/**
 * Makes the submission. The body stays in the buffers it came in; the header section is copied once:
 *
 * - `Received` is put on top (RFC 5321 section 4.4) and nothing before it is touched: trace fields stay together.
 * - The `X-Postern-` fields that choose and label are taken out, with their folded lines.
 * - `Date` and `Message-ID` are added at the end of the section where they are missing (RFC 6409 sections 8.2, 8.3).
 * - `Bcc` stays as it is: RFC 6409 section 8 does not list its removal among what a submission server may change, and
 *   RFC 5322 section 3.6.3 leaves it to the author's program whether recipients see it.
 * - Where the body begins without the empty line before it, that line is added: a field put in front of such a
 *   content would otherwise make its first lines part of the header section.
 * - Lines longer than 998 octets (RFC 5322 section 2.1.1), up to the listener's limit, are kept: folding or encoding
 *   them would change what the author wrote and perhaps signed; RFC 5321 section 4.5.3.1.6 lets us take them.
 */
export function makeSubmission(content: Content, facts: IntakeFacts): IntakeResult {
  const { head, rest } = splitHead(content.chunks, facts.headerSectionBytesMax);
  const section = parseHeaderSection(head);
  if (section === undefined) return refused(552, "5.3.4", `The header section has more than ${headerFieldsMax} fields`);
  const isCut = section.separator === "missing" && rest.length > 0 && head.indexOf("\r\n", section.bodyStart) === -1;
  if (isCut || section.bodyStart > facts.headerSectionBytesMax)
    return refused(552, "5.3.4", headerSectionTooLong(facts));
  const found = readFields(head, section, facts.config.events.headers);
  if (found.receivedCount >= receivedFieldsMax) {
    return refused(554, "5.4.6", `Mail loop: ${found.receivedCount} Received fields`);
  }
  const ours = [found.stream, found.job, found.tenant, found.idempotencyKey];
  if (!ours.every((field) => field === undefined || isLabel(head, field))) {
    return refused(554, "5.6.0", `X-Postern fields hold 1 to ${labelBytesMax} octets of printable UTF-8`);
  }
  const streamChoice = chooseStream(facts.config, facts.user, labelText(head, found.stream));
  if (streamChoice.kind === "refused") return refused(550, "5.7.1", streamChoice.text);

  const hasUtf8Header = facts.smtpUtf8 && hasOctetAbove127(head, section.fieldsEnd);
  const smtpUtf8 = facts.hasUtf8Address || hasUtf8Header;
  const messageId = found.messageId === undefined ? `<${facts.queueId}@${facts.config.hostname}>` : undefined;
  let added = found.hasDate ? "" : `Date: ${dateTime(facts.receivedAt)}\r\n`;
  if (messageId !== undefined) added += `Message-ID: ${messageId}\r\n`;
  if (section.separator === "missing") added += "\r\n";
  const received = receivedField({
    helo: facts.helo,
    remoteAddress: facts.remoteAddress,
    hostname: facts.config.hostname,
    extended: facts.extended,
    tls: facts.tls,
    authenticated: facts.user !== undefined,
    smtpUtf8,
    queueId: facts.queueId,
    forwardPath: onlyRecipient(facts.recipients, smtpUtf8),
    at: facts.receivedAt,
  });
  const header = writeHeaderSection(head, section, found.stripped, received, added);
  const chunks = [header];
  if (section.bodyStart < head.length) chunks.push(head.subarray(section.bodyStart));
  chunks.push(...rest);
  const contentBytes = content.bytes - section.bodyStart + header.length;
  return {
    kind: "submission",
    submission: {
      stream: streamChoice.stream,
      tenant: labelText(head, found.tenant),
      job: labelText(head, found.job),
      envelope: {
        reversePath: facts.reversePath,
        envid: facts.envid,
        ret: facts.ret,
        // By what the content holds, not by what MAIL said: a client that declares less would break on the way, one
        // that declares more would be refused by a receiver without 8BITMIME for no reason (RFC 6152 section 3).
        body: content.has8Bit ? "8bitmime" : "7bit",
        smtpUtf8,
        requireTls: false,
      },
      recipients: facts.recipients,
      content: chunks,
      contentBytes,
      headerBytes: header.length,
      hasDotLines: content.hasDotLines,
      fromDomain: found.from === undefined ? undefined : fromDomain(fieldText(head, found.from, fromCharactersMax)),
      messageIdHeader: found.messageId === undefined ? messageId : fieldText(head, found.messageId),
      loggedHeaders: found.logged,
      user: facts.user?.name,
      queueId: facts.queueId,
      receivedAt: facts.receivedAt,
      sessionId: facts.sessionId,
      remote: { name: facts.helo ?? "", address: facts.remoteAddress },
      idempotencyKey: labelText(head, found.idempotencyKey),
    },
  };
}

/** The first From address is near the begin; a field with thousands of authors is not read to its end. */
const fromCharactersMax = 8_192;

interface FoundFields {
  readonly receivedCount: number;
  readonly hasDate: boolean;
  readonly messageId: HeaderField | undefined;
  readonly from: HeaderField | undefined;
  readonly stream: HeaderField | undefined;
  readonly job: HeaderField | undefined;
  readonly tenant: HeaderField | undefined;
  readonly idempotencyKey: HeaderField | undefined;
  readonly stripped: readonly HeaderField[];
  readonly logged: Readonly<Record<string, string>>;
}

/** Of a field that is given more than once the first one counts; of ours all are taken out. */
function readFields(head: Buffer, section: HeaderSection, loggedNames: readonly string[]): FoundFields {
  let receivedCount = 0;
  let hasDate = false;
  let messageId: HeaderField | undefined;
  let from: HeaderField | undefined;
  let stream: HeaderField | undefined;
  let job: HeaderField | undefined;
  let tenant: HeaderField | undefined;
  let idempotencyKey: HeaderField | undefined;
  const stripped: HeaderField[] = [];
  const logged: Record<string, string> = Object.create(null);
  for (const field of section.fields) {
    const name = fieldName(head, field);
    switch (name) {
      case "received":
        receivedCount++;
        break;
      case "date":
        hasDate = true;
        break;
      case "message-id":
        messageId ??= field;
        break;
      case "from":
        from ??= field;
        break;
      case "x-postern-stream":
        stream ??= field;
        stripped.push(field);
        break;
      case "x-postern-job":
        job ??= field;
        stripped.push(field);
        break;
      case "x-postern-tenant":
        tenant ??= field;
        stripped.push(field);
        break;
      case "x-postern-idempotency-key":
        idempotencyKey ??= field;
        stripped.push(field);
        break;
    }
    if (loggedNames.includes(name) && logged[name] === undefined) logged[name] = fieldText(head, field);
  }
  return { receivedCount, hasDate, messageId, from, stream, job, tenant, idempotencyKey, stripped, logged };
}

/**
 * Whether the field's value can be kept as it is. One that had to be cut off or mended could become another one's: two
 * idempotency keys would be one, and the second message would be taken for a repeat of the first.
 */
function isLabel(head: Buffer, field: HeaderField): boolean {
  if (field.end - field.valueStart > labelFieldBytesMax) return false;
  const text = head.toString("utf8", field.valueStart, field.end).replaceAll("\r\n", "").trim();
  // A tab may come from folding. What is not UTF-8 has become U+FFFD.
  const unwanted = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufffd]/;
  return !unwanted.test(text) && Buffer.byteLength(text) <= labelBytesMax;
}

/** An empty field is as good as none. */
function labelText(head: Buffer, field: HeaderField | undefined): string | undefined {
  const text = field === undefined ? "" : fieldText(head, field);
  return text === "" ? undefined : text;
}

/**
 * The part of the content that holds the whole header section, in one buffer, and the chunks behind it. Nothing is
 * copied when the first chunk holds it, which is so for most mail.
 */
function splitHead(
  chunks: readonly Buffer[],
  headerSectionBytesMax: number,
): { head: Buffer; rest: readonly Buffer[] } {
  const first = chunks[0] ?? Buffer.alloc(0);
  if (chunks.length <= 1 || first.indexOf("\r\n\r\n") !== -1) return { head: first, rest: chunks.slice(1) };
  let count = 0;
  let bytes = 0;
  // One octet more than the limit shows that it is passed.
  while (count < chunks.length && bytes <= headerSectionBytesMax) bytes += (chunks[count++] as Buffer).length;
  return { head: Buffer.concat(chunks.slice(0, count), bytes), rest: chunks.slice(count) };
}

function writeHeaderSection(
  head: Buffer,
  section: HeaderSection,
  stripped: readonly HeaderField[],
  received: string,
  added: string,
): Buffer {
  let strippedBytes = 0;
  for (const field of stripped) strippedBytes += field.end - field.start;
  const receivedBytes = Buffer.byteLength(received);
  const header = Buffer.allocUnsafe(receivedBytes + section.bodyStart - strippedBytes + Buffer.byteLength(added));
  let to = header.write(received, 0, "utf8");
  let from = 0;
  for (const field of stripped) {
    to += head.copy(header, to, from, field.start);
    from = field.end;
  }
  to += head.copy(header, to, from, section.fieldsEnd);
  to += header.write(added, to, "utf8");
  head.copy(header, to, section.fieldsEnd, section.bodyStart);
  return header;
}

/** The "for" clause names the recipient of a message that has one; see `ReceivedFacts.forwardPath`. */
function onlyRecipient(recipients: readonly Recipient[], smtpUtf8: boolean): string | undefined {
  const path = recipients.length === 1 ? (recipients[0] as Recipient).forwardPath : undefined;
  return path !== undefined && (smtpUtf8 || /^[ -~]*$/.test(path)) ? path : undefined;
}

function hasOctetAbove127(head: Buffer, end: number): boolean {
  for (let at = 0; at < end; at++) if ((head[at] as number) > 127) return true;
  return false;
}

export function headerSectionTooLong(facts: Pick<IntakeFacts, "headerSectionBytesMax">): string {
  return `The header section is longer than ${facts.headerSectionBytesMax} octets`;
}

function refused(code: number, enhanced: string, text: string): IntakeResult {
  return { kind: "refused", reply: reply(code, enhanced, text) };
}
