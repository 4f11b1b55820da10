// What a receiver reads out of a message: whose it is, and whether its body arrived as it was sent.

import { crc32 } from "node:zlib";
import { isQueueId } from "../../src/core/ids.ts";

export interface ContentFacts {
  readonly benchId: string;
  readonly queueId: string;
  readonly bodyIntact: boolean | undefined;
}

const headerEnd = Buffer.from("\r\n\r\n");
const benchIdField = Buffer.from("\r\nX-Bench-Id: ");
const benchBodyField = Buffer.from("\r\nX-Bench-Body: ");
const idClause = Buffer.from("id ");
const carriageReturn = 13;
const queueIdLength = 16;

/** `content` is the message as it was sent: CRLF line ends, no dot-stuffing. */
export function inspectContent(content: Buffer): ContentFacts {
  const end = content.indexOf(headerEnd);
  const header = end < 0 ? content : content.subarray(0, end + 2);
  return {
    benchId: fieldValue(header, benchIdField) ?? "",
    queueId: firstQueueId(header) ?? "",
    bodyIntact: bodyIntact(fieldValue(header, benchBodyField), end < 0 ? undefined : content.subarray(end + 4)),
  };
}

/** The value of X-Bench-Body for a body. */
export function bodyMark(body: Uint8Array): string {
  return `${body.length}-${crc32(body).toString(16)}`;
}

function bodyIntact(mark: string | undefined, body: Buffer | undefined): boolean | undefined {
  if (mark === undefined) return undefined;
  return body !== undefined && bodyMark(body) === mark;
}

function fieldValue(header: Buffer, field: Buffer): string | undefined {
  const at = header.indexOf(field);
  if (at < 0) return undefined;
  const start = at + field.length;
  const end = header.indexOf(carriageReturn, start);
  return header.toString("latin1", start, end < 0 ? header.length : end);
}

/** The id clause of the topmost Received field that has one of our shape (RFC 5321 section 4.4). */
function firstQueueId(header: Buffer): string | undefined {
  for (let at = header.indexOf(idClause); at >= 0; at = header.indexOf(idClause, at + 1)) {
    const text = header.toString("latin1", at + idClause.length, at + idClause.length + queueIdLength);
    if (isQueueId(text)) return text;
  }
  return undefined;
}

const dotDot = Buffer.from("\r\n..");

/** Takes away the dots that the sender put before lines that begin with one (RFC 5321 section 4.5.2). */
export function unstuff(content: Buffer): Buffer {
  const startsStuffed = content.length >= 2 && content[0] === 0x2e && content[1] === 0x2e;
  let at = content.indexOf(dotDot);
  if (at < 0 && !startsStuffed) return content;
  const parts: Buffer[] = [];
  let from = startsStuffed ? 1 : 0;
  for (; at >= 0; at = content.indexOf(dotDot, at + 3)) {
    parts.push(content.subarray(from, at + 3));
    from = at + 4;
  }
  parts.push(content.subarray(from));
  return Buffer.concat(parts);
}
