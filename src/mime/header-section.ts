// Finds the header section of a content and its fields as offsets (RFC 5322 section 2.2), without copying them.

export interface HeaderField {
  /** Offset of the first octet of the field's name. */
  readonly start: number;
  /** Offset after the name, before any blank and the colon. */
  readonly nameEnd: number;
  /** Offset after the colon. */
  readonly valueStart: number;
  /** Offset after the CRLF of the field's last line. */
  readonly end: number;
}

/**
 * `separator`: how the header section ends. "empty-line" is the proper one; "none" is a content that consists of
 * fields only, which RFC 5322 section 3.5 allows; "missing" means that a line follows which is no field, so that the
 * body begins there and whoever adds fields must also add the empty line.
 */
export interface HeaderSection {
  readonly fields: readonly HeaderField[];
  /** Offset after the last field: where a new field may be put. */
  readonly fieldsEnd: number;
  /** Offset of the body's first octet. */
  readonly bodyStart: number;
  readonly separator: "empty-line" | "none" | "missing";
}

/** More fields than this are an attack or a broken program, not mail. */
export const headerFieldsMax = 4_096;

/**
 * Parses the header section at the start of `content`, whose lines all end in CRLF. `content` may be cut off anywhere
 * after the header section. Returns undefined when there are more than `headerFieldsMax` fields. Linear in the length
 * of the header section; folded fields, fields with non-ASCII values and `Name :` (RFC 5322 section 4.5.3) are fields.
 */
export function parseHeaderSection(content: Buffer): HeaderSection | undefined {
  const fields: HeaderField[] = [];
  let at = 0;
  while (at < content.length) {
    if (content[at] === cr && content[at + 1] === lf) {
      return { fields, fieldsEnd: at, bodyStart: at + 2, separator: "empty-line" };
    }
    const nameEnd = endOfName(content, at);
    const colon = nameEnd === at ? -1 : skipBlanks(content, nameEnd);
    if (colon === -1 || content[colon] !== colonOctet) {
      return { fields, fieldsEnd: at, bodyStart: at, separator: "missing" };
    }
    if (fields.length === headerFieldsMax) return undefined;
    const end = endOfField(content, colon + 1);
    fields.push({ start: at, nameEnd, valueStart: colon + 1, end });
    at = end;
  }
  return at === 0
    ? { fields, fieldsEnd: 0, bodyStart: 0, separator: "missing" }
    : { fields, fieldsEnd: at, bodyStart: at, separator: "none" };
}

/** The field's name in lower case. */
export function fieldName(content: Buffer, field: HeaderField): string {
  return content.toString("latin1", field.start, field.nameEnd).toLowerCase();
}

/**
 * The field's value as text: unfolded (RFC 5322 section 2.2.3), decoded as UTF-8, controls and direction marks replaced
 * by a blank,
 * trimmed, and cut after `charactersMax`.
 */
export function fieldText(content: Buffer, field: HeaderField, charactersMax = fieldTextMax): string {
  // One character takes at most 4 octets, and folding at most doubles that: no need to look at more.
  const end = Math.min(field.end, field.valueStart + charactersMax * 8 + 2);
  const raw = content.toString("utf8", field.valueStart, end);
  const text = raw
    .replaceAll("\r\n", "")
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, " ")
    .trim();
  return text.length > charactersMax ? text.slice(0, charactersMax) : text;
}

const fieldTextMax = 998;

const lf = 0x0a;
const cr = 0x0d;
const colonOctet = 0x3a;
const space = 0x20;
const tab = 0x09;

/** RFC 5322 section 2.2: a name is made of printable US-ASCII characters but the colon. */
function endOfName(content: Buffer, start: number): number {
  let at = start;
  for (; at < content.length; at++) {
    const octet = content[at] as number;
    if (octet <= space || octet > 0x7e || octet === colonOctet) break;
  }
  return at;
}

function skipBlanks(content: Buffer, start: number): number {
  let at = start;
  while (content[at] === space || content[at] === tab) at++;
  return at;
}

/** A field goes on while the next line begins with a blank. */
function endOfField(content: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const newline = content.indexOf(lf, at);
    if (newline === -1) return content.length;
    at = newline + 1;
    const next = content[at];
    if (next !== space && next !== tab) return at;
  }
}
