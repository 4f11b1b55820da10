// What a receiver reads out of a message: whose it is, and whether its body arrived as it was sent.

import { crc32 } from "node:zlib";
import { isQueueId } from "../../src/core/ids.ts";

export interface ContentFacts {
  readonly benchId: string;
  readonly queueId: string;
  readonly bodyIntact: boolean | undefined;
}

const benchIdField = Buffer.from("X-Bench-Id: ");
const benchBodyField = Buffer.from("X-Bench-Body: ");
const carriageReturn = 13;
const lineFeed = 10;
const blank = 0x20;
const letterI = 0x69;
const letterD = 0x64;
const queueIdLength = 16;

/** The message in [from, end) of `bytes` is as it was sent: CRLF line ends, no dot-stuffing. Its header is read in one pass. */
export function inspectContent(bytes: Buffer, from = 0, end: number = bytes.length): ContentFacts {
  let benchId = "";
  let queueId = "";
  let mark: number | undefined;
  let line = from;
  for (let next = line; line < end; line = next) {
    next = line;
    while (next < end && bytes[next] !== lineFeed) next++;
    next++;
    if (bytes[line] === carriageReturn) break;
    if (startsWith(bytes, line, benchIdField)) {
      benchId = bytes.toString("latin1", line + benchIdField.length, Math.min(end, next - 2));
    } else if (startsWith(bytes, line, benchBodyField)) mark = line + benchBodyField.length;
    else if (queueId === "") queueId = queueIdIn(bytes, line, next);
  }
  const body = line + 2;
  return { benchId, queueId, bodyIntact: mark === undefined ? undefined : hasMark(bytes, mark, body, end) };
}

/** The value of X-Bench-Body for a body. */
export function bodyMark(body: Uint8Array): string {
  return `${body.length}-${crc32(body).toString(16)}`;
}

/** Whether the mark at `mark` (see `bodyMark`) is that of the body in [from, end). */
function hasMark(bytes: Buffer, mark: number, from: number, end: number): boolean {
  if (from > end) return false;
  const wanted = bodyMark(bytes.subarray(from, end));
  for (let i = 0; i < wanted.length; i++) if (bytes[mark + i] !== wanted.charCodeAt(i)) return false;
  return bytes[mark + wanted.length] === carriageReturn;
}

function startsWith(bytes: Buffer, at: number, text: Buffer): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}

/** The id clause of our shape in a line of a Received field (RFC 5321 section 4.4), or `""`. */
function queueIdIn(bytes: Buffer, from: number, end: number): string {
  for (let at = from; at + 3 + queueIdLength <= end; at++) {
    if (bytes[at] !== letterI || bytes[at + 1] !== letterD || bytes[at + 2] !== blank) continue;
    const text = bytes.toString("latin1", at + 3, at + 3 + queueIdLength);
    if (isQueueId(text)) return text;
  }
  return "";
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
