// What RFC 5321 says about the octets after 354, written as plainly as possible: the measure for the content reader.

export interface ModelContent {
  readonly isBad: boolean;
  /** Unstuffed. */
  readonly content: string;
  /** What follows the final dot. */
  readonly rest: string;
}

/** `raw` in single octets; undefined when the content does not end in it. */
export function modelContent(raw: string): ModelContent | undefined {
  let sent: string;
  let rest: string;
  if (raw.startsWith(".\r\n")) {
    sent = "";
    rest = raw.slice(3);
  } else {
    const end = raw.indexOf("\r\n.\r\n");
    if (end === -1) return undefined;
    sent = raw.slice(0, end + 2);
    rest = raw.slice(end + 5);
  }
  const isBad = /\r(?!\n)|(?<!\r)\n|\0/.test(sent);
  const content = sent
    .split("\r\n")
    .map((line) => (line.startsWith(".") ? line.slice(1) : line))
    .join("\r\n");
  return { isBad, content, rest };
}
