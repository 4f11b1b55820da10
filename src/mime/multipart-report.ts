// The container of reports: multipart/report (RFC 6522), with its boundary and the encodings of its parts.

import type { Random } from "../core/random.ts";

export interface ReportPart {
  /** The value of Content-Type. */
  readonly type: string;
  readonly description: string | undefined;
  readonly encoding: "7bit" | "8bit" | "quoted-printable";
  /** Encoded already; lines end with CRLF. */
  readonly body: Buffer;
}

export interface MultipartReport {
  /** The header fields from MIME-Version on, with the empty line, and the parts. */
  readonly content: Buffer;
  readonly eightBit: boolean;
}

/** RFC 5322 section 2.1.1, without CRLF. */
export const lineOctetsMax = 998;

/**
 * Puts the parts together: the text for people, the report for programs, and where there is one the returned message
 * (RFC 6522 section 3). The boundary is drawn until it is in none of them.
 */
export function multipartReport(reportType: string, parts: readonly ReportPart[], random: Random): MultipartReport {
  const boundary = freshBoundary(parts, random);
  const eightBit = parts.some((part) => part.encoding === "8bit");
  const pieces: Buffer[] = [
    ascii(
      `MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=${reportType};\r\n boundary="${boundary}"\r\n` +
        `${eightBit ? "Content-Transfer-Encoding: 8bit\r\n" : ""}\r\n`,
    ),
  ];
  for (const part of parts) {
    pieces.push(
      ascii(
        `--${boundary}\r\n${part.description === undefined ? "" : `Content-Description: ${part.description}\r\n`}` +
          `Content-Type: ${part.type}\r\nContent-Transfer-Encoding: ${part.encoding}\r\n\r\n`,
      ),
      part.body,
      // This line end belongs to the boundary (RFC 2046 section 5.1.1), not to the part.
      ascii("\r\n"),
    );
  }
  pieces.push(ascii(`--${boundary}--\r\n`));
  return { content: Buffer.concat(pieces), eightBit };
}

function freshBoundary(parts: readonly ReportPart[], random: Random): string {
  for (;;) {
    const boundary = `report-${random.bytes(16).toString("hex")}`;
    if (!parts.some((part) => part.body.includes(boundary))) return boundary;
  }
}

/** What an encoding has to carry: octets above 127, octets that no text has, and the longest line without CRLF. */
export function surveyText(octets: Buffer): {
  readonly eightBit: boolean;
  readonly nul: boolean;
  readonly longestLine: number;
} {
  let longestLine = 0;
  let start = 0;
  for (;;) {
    const end = octets.indexOf(0x0a, start);
    if (end < 0) break;
    longestLine = Math.max(longestLine, end - start - (octets[end - 1] === 0x0d ? 1 : 0));
    start = end + 1;
  }
  longestLine = Math.max(longestLine, octets.length - start);
  return { eightBit: !isAscii(octets), nul: octets.includes(0), longestLine };
}

export function isAscii(octets: Buffer): boolean {
  for (let i = 0; i < octets.length; i++) if ((octets[i] as number) > 0x7f) return false;
  return true;
}

/** Quoted-printable (RFC 2045 section 6.7): CRLF stays a line end, lines have at most 76 characters. */
export function quotedPrintable(octets: Buffer): Buffer {
  let out = "";
  let line = "";
  for (let i = 0; i < octets.length; i++) {
    const octet = octets[i] as number;
    if (octet === 0x0d && octets[i + 1] === 0x0a) {
      out += `${line}\r\n`;
      line = "";
      i++;
      continue;
    }
    const atEnd = i + 1 === octets.length || (octets[i + 1] === 0x0d && octets[i + 2] === 0x0a);
    const blank = octet === 0x20 || octet === 0x09;
    const plain = blank ? !atEnd : octet > 0x20 && octet < 0x7f && octet !== 0x3d;
    const written = plain ? String.fromCharCode(octet) : `=${octet.toString(16).toUpperCase().padStart(2, "0")}`;
    if (line.length + written.length > 75) {
      out += `${line}=\r\n`;
      line = "";
    }
    line += written;
  }
  return ascii(out + line);
}

function ascii(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
