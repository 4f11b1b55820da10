// What the peer offers in its answer to EHLO (RFC 5321 section 4.1.1.1).

export interface Extensions {
  /** RFC 2920. */
  readonly pipelining: boolean;
  /** RFC 3030. */
  readonly chunking: boolean;
  /** RFC 1870: offered at all, and the limit in octets (undefined: none told). */
  readonly size: boolean;
  readonly sizeMaxBytes: number | undefined;
  /** RFC 6152. */
  readonly eightBitMime: boolean;
  /** RFC 6531. */
  readonly smtpUtf8: boolean;
  /** RFC 3461. */
  readonly dsn: boolean;
  /** RFC 3207. */
  readonly startTls: boolean;
  /** RFC 8689. */
  readonly requireTls: boolean;
  /** RFC 2034. */
  readonly enhancedStatusCodes: boolean;
  /** RFC 9422: transactions in a session, recipients in a transaction. */
  readonly mailMax: number | undefined;
  readonly rcptMax: number | undefined;
}

/** What a peer offers that knows only HELO. */
export const noExtensions: Extensions = {
  pipelining: false,
  chunking: false,
  size: false,
  sizeMaxBytes: undefined,
  eightBitMime: false,
  smtpUtf8: false,
  dsn: false,
  startTls: false,
  requireTls: false,
  enhancedStatusCodes: false,
  mailMax: undefined,
  rcptMax: undefined,
};

/** Reads the lines of a positive answer to EHLO, codes removed. The first one is the greeting. */
export function parseExtensions(lines: readonly string[]): Extensions {
  const offered = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const end = line.indexOf(" ");
    const keyword = (end === -1 ? line : line.slice(0, end)).toUpperCase();
    if (!offered.has(keyword)) offered.set(keyword, end === -1 ? "" : line.slice(end + 1));
  }
  const limits = offered.get("LIMITS");
  return {
    pipelining: offered.has("PIPELINING"),
    chunking: offered.has("CHUNKING"),
    size: offered.has("SIZE"),
    // RFC 1870 section 4: 0 and no number both stand for "no fixed limit".
    sizeMaxBytes: positiveInteger(offered.get("SIZE")),
    eightBitMime: offered.has("8BITMIME"),
    smtpUtf8: offered.has("SMTPUTF8"),
    dsn: offered.has("DSN"),
    startTls: offered.has("STARTTLS"),
    requireTls: offered.has("REQUIRETLS"),
    enhancedStatusCodes: offered.has("ENHANCEDSTATUSCODES"),
    mailMax: limitOf(limits, "MAILMAX"),
    rcptMax: limitOf(limits, "RCPTMAX"),
  };
}

function positiveInteger(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,15}$/.test(text.trim())) return undefined;
  const value = Number(text);
  return value > 0 ? value : undefined;
}

/** RFC 9422 section 3: `NAME=value` pairs parted by blanks, values of one to six digits; others are ignored. */
function limitOf(limits: string | undefined, name: string): number | undefined {
  for (const pair of limits?.split(" ") ?? []) {
    const [key, value] = pair.split("=");
    if (key?.toUpperCase() === name && value !== undefined && /^\d{1,6}$/.test(value)) return positiveInteger(value);
  }
  return undefined;
}
