// The domain of the first author address in a From field (RFC 5322 section 3.4): it chooses the DKIM keys.

import { domainToASCII } from "node:url";

/**
 * The domain of the first mailbox in `value` (the unfolded value of a From field) in lower-case A-labels without a
 * final dot. Reads quoted strings, comments, groups, routes and display names in encoded words. Undefined when
 * there is no address, when its domain is not a domain name, or for an address literal. Linear in the length.
 */
export function fromDomain(value: string): string | undefined {
  let domain = "";
  /** What comes after the last `@` outside of quotes and comments, or undefined before an `@`. */
  let afterAt: string | undefined;
  let at = 0;
  let inAngle = false;
  scan: while (at < value.length) {
    const character = value[at] as string;
    switch (character) {
      case '"':
        at = endOfQuoted(value, at + 1);
        // A quoted string cannot be part of a domain.
        afterAt = undefined;
        continue;
      case "(":
        at = endOfComment(value, at + 1);
        continue;
      case "[":
        at = endOfLiteral(value, at + 1);
        if (afterAt !== undefined) return undefined;
        continue;
      case "<":
        inAngle = true;
        afterAt = undefined;
        break;
      case ">":
        if (inAngle) break scan;
        break;
      case ":":
        // In angle brackets the end of a route, which is obsolete and ignored (section 4.4); outside the begin of a
        // group, whose name we have read up to here.
        afterAt = undefined;
        break;
      case ",":
      case ";":
        // Inside a route a comma separates its hosts; elsewhere it ends a mailbox.
        if (!inAngle && afterAt !== undefined) break scan;
        afterAt = undefined;
        break;
      case "@":
        afterAt = "";
        break;
      default:
        if (afterAt !== undefined && character !== " " && character !== "\t") afterAt += character;
    }
    at++;
  }
  domain = afterAt ?? "";
  if (domain.endsWith(".")) domain = domain.slice(0, -1);
  // domainToASCII is a URL parser: it takes far more than domains, and cuts off what follows a slash.
  if (domain.length > 255 || !/^[\w.\u0080-\u{10ffff}-]+$/u.test(domain)) return undefined;
  const ascii = (/^[\w.-]+$/.test(domain) ? domain : domainToASCII(domain)).toLowerCase();
  return isDomainName(ascii) ? ascii : undefined;
}

function isDomainName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(text);
}

function endOfQuoted(value: string, start: number): number {
  for (let at = start; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === '"') return at + 1;
  }
  return value.length;
}

/** Comments nest (section 3.2.2); a counter takes any depth. */
function endOfComment(value: string, start: number): number {
  let depth = 1;
  for (let at = start; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === "(") depth++;
    else if (value[at] === ")" && --depth === 0) return at + 1;
  }
  return value.length;
}

function endOfLiteral(value: string, start: number): number {
  const end = value.indexOf("]", start);
  return end === -1 ? value.length : end + 1;
}
