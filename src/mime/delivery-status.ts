// The machine-readable part of a delivery report: message/delivery-status (RFC 3464) and its UTF-8 form, which is
// message/global-delivery-status (RFC 6533).

/** `ascii` escapes every other character; `utf-8` keeps what can be printed. */
export type ReportCharset = "ascii" | "utf-8";

/** Fields in the order they are written; a value of undefined leaves the field out. */
export type StatusFields = readonly (readonly [name: string, value: string | undefined])[];

/** Lines are folded at this many characters where a blank allows it. */
const lineWidth = 76;
/** A longer word is cut, so that no line passes 998 octets even with four octets for each character. */
const wordCharactersMax = 230;
/** Longer values are cut: a reply has 2,048 characters, each of up to ten when escaped. */
const statusValueMax = 24_000;

/**
 * One group of fields about the message and one for each recipient, with an empty line between them (RFC 3464 section
 * 2.1). Names are ours; values may come from anybody.
 */
export function deliveryStatus(
  message: StatusFields,
  recipients: readonly StatusFields[],
  charset: ReportCharset,
): Buffer {
  const groups = [message, ...recipients].map((fields) =>
    fields.map(([name, value]) => (value === undefined ? "" : statusField(name, value, charset))).join(""),
  );
  return Buffer.from(groups.join("\r\n"), "utf8");
}

/** One field with CRLF, folded as RFC 5322 section 2.2.3 asks. Nothing in the value can begin another field. */
export function statusField(name: string, value: string, charset: ReportCharset): string {
  const words = printable(value, charset).slice(0, statusValueMax).split(" ");
  let line = `${name}:`;
  let out = "";
  for (const word of words) {
    if (word === "") continue;
    for (let at = 0; at < word.length; at += wordCharactersMax) {
      const piece = word.slice(at, at + wordCharactersMax);
      // The name stands with its first word: a line of a name alone is obsolete syntax.
      if (out.length + line.length > name.length + 1 && line.length + 1 + piece.length > lineWidth) {
        out += `${line}\r\n`;
        line = "";
      }
      line += ` ${piece}`;
    }
  }
  return `${out}${line}\r\n`;
}

/**
 * The text on one line: controls and line separators become blanks, marks that turn the direction of writing are
 * dropped. In ASCII other characters are written `\x{HEX}`, as RFC 6533 section 3 does in addresses.
 */
export function printable(text: string, charset: ReportCharset): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  const line = text
    .toWellFormed()
    .replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, "")
    .replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, " ");
  return charset === "utf-8" ? line : escapeNonAscii(line);
}

/** `rfc822; user@example.com`, or with an address of other characters `utf-8; ...` (RFC 6533 section 3). */
export function typedAddress(address: string, charset: ReportCharset): string {
  if (/^[\x20-\x7e]*$/.test(address)) return `rfc822; ${address}`;
  if (charset === "utf-8") return `utf-8; ${address}`;
  // utf-8-addr-xtext: "+", "=", "\" and the blank are escaped as well.
  return `utf-8; ${escapeNonAscii(address.replace(/[+=\\\s]/g, (character) => hexPoint(character)))}`;
}

function escapeNonAscii(text: string): string {
  return text.replace(/[^\x00-\x7f]/gu, (character) => hexPoint(character));
}

function hexPoint(character: string): string {
  const point = (character.codePointAt(0) as number).toString(16).toUpperCase();
  return `\\x{${point.padStart(2, "0")}}`;
}
