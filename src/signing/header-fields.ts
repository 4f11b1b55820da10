// Finds the header section and its fields in content (RFC 5322 section 2.2), as far as signing needs it.

export interface ContentParts {
  /** The header section as latin1 text, without the empty line that ends it. */
  readonly headerSection: string;
  readonly body: readonly Buffer[];
}

const emptyLine = Buffer.from("\r\n\r\n");

/** Splits content, cut anywhere, at its first empty line. Content without one is all header section. */
export function splitContent(content: readonly Buffer[]): ContentParts {
  let head = content[0] ?? Buffer.alloc(0);
  for (let next = 1; ; next++) {
    // Content that begins with the empty line has no header section.
    if (head.length >= 2 && head[0] === 0x0d && head[1] === 0x0a) {
      return { headerSection: "", body: [head.subarray(2), ...content.slice(next)] };
    }
    const end = head.indexOf(emptyLine);
    if (end >= 0) {
      const body = head.length > end + 4 ? [head.subarray(end + 4), ...content.slice(next)] : content.slice(next);
      return { headerSection: head.toString("latin1", 0, end + 2), body };
    }
    const chunk = content[next];
    if (chunk === undefined) return { headerSection: head.toString("latin1"), body: [] };
    // Seldom: the spool's chunks are larger than nearly all header sections.
    head = Buffer.concat([head, chunk]);
  }
}

export interface HeaderField {
  /** In lower case. */
  readonly name: string;
  /** The field as it stands in the message, folds included, without its final CRLF. */
  readonly raw: string;
}

/** The fields in message order. Lines that are no field (no colon, or nothing before it) are left out. */
export function scanFields(headerSection: string): HeaderField[] {
  const fields: HeaderField[] = [];
  for (let from = 0; from < headerSection.length; ) {
    const end = fieldEnd(headerSection, from);
    const raw = headerSection.slice(from, end);
    const colon = raw.indexOf(":");
    // RFC 5322 section 4.5.3 (obsolete syntax) lets blanks stand before the colon.
    if (colon > 0)
      fields.push({
        name: raw
          .slice(0, colon)
          .replace(/[ \t]+$/, "")
          .toLowerCase(),
        raw,
      });
    from = end + 2;
  }
  return fields;
}

/** Where the CRLF is that no blank follows (RFC 5322 section 2.2.3). */
function fieldEnd(headerSection: string, from: number): number {
  let end = headerSection.indexOf("\r\n", from);
  while (end >= 0 && (headerSection[end + 2] === " " || headerSection[end + 2] === "\t")) {
    end = headerSection.indexOf("\r\n", end + 2);
  }
  return end < 0 ? headerSection.length : end;
}
