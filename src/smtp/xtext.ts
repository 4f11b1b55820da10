// xtext: how ENVID and ORCPT travel in MAIL and RCPT (RFC 3461 section 4).

/** Encodes the UTF-8 octets of `text`: everything but the printable US-ASCII other than `+` and `=` becomes `+HH`. */
export function encodeXtext(text: string): string {
  if (/^[!-*,-<>-~]*$/.test(text)) return text;
  let out = "";
  for (const octet of Buffer.from(text, "utf8")) {
    const plain = octet >= 33 && octet <= 126 && octet !== 43 && octet !== 61;
    out += plain ? String.fromCharCode(octet) : `+${octet.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

/** Decodes xtext into the text whose UTF-8 octets it stands for; undefined when it is not xtext. */
export function decodeXtext(xtext: string): string | undefined {
  if (!/^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/.test(xtext)) return undefined;
  if (!xtext.includes("+")) return xtext;
  const octets: number[] = [];
  for (let at = 0; at < xtext.length; at++) {
    const encoded = xtext[at] === "+";
    octets.push(encoded ? Number.parseInt(xtext.slice(at + 1, at + 3), 16) : xtext.charCodeAt(at));
    if (encoded) at += 2;
  }
  return Buffer.from(octets).toString("utf8");
}
