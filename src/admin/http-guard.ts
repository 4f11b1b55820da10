// Who may speak to the HTTP API: the bearer token, and the checks against web pages that make a browser speak to it.

import { createHash, timingSafeEqual } from "node:crypto";
import { isLoopback } from "../config/address.ts";

/** What a guard looks at: header fields in lower case, as Node gives them. */
export interface RequestHead {
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
  readonly authorization: string | undefined;
}

export type Verdict =
  | { readonly kind: "pass" }
  | { readonly kind: "refuse"; readonly status: number; readonly why: string };

const pass: Verdict = { kind: "pass" };

/**
 * Refuses what a web page elsewhere could have caused. Without a token only a Host on loopback is served, so that a
 * name that an attacker points at 127.0.0.1 (DNS rebinding) gets nothing. An Origin must be our own; there is no CORS.
 */
export function checkBrowser(head: RequestHead, hasToken: boolean): Verdict {
  const host = head.host ?? "";
  if (!hasToken && !isLoopback(hostName(host))) {
    return { kind: "refuse", status: 421, why: "without admin.token_env only localhost is served, not this Host" };
  }
  if (head.origin !== undefined && !isOwnOrigin(head.origin, host)) {
    return { kind: "refuse", status: 403, why: "requests from other web origins are refused" };
  }
  if (head.fetchSite !== undefined && head.fetchSite !== "same-origin" && head.fetchSite !== "none") {
    return { kind: "refuse", status: 403, why: "requests from other web sites are refused" };
  }
  return pass;
}

/** What can be sent as a bearer token at all; one with a blank or a line end would be refused at each request. */
export function isToken(text: string): boolean {
  return /^[!-~]+$/.test(text);
}

/** RFC 6750 section 2.1. The comparison takes the same time wherever the token differs. */
export function checkToken(head: RequestHead, token: string | undefined): Verdict {
  if (token === undefined) return pass;
  const given = /^Bearer +([^ ]+) *$/i.exec(head.authorization ?? "")?.[1];
  if (given === undefined) {
    return { kind: "refuse", status: 401, why: "send the header Authorization: Bearer <token>" };
  }
  // Digests have one length, which timingSafeEqual needs, and hide the token's.
  return timingSafeEqual(digest(given), digest(token)) ? pass : { kind: "refuse", status: 401, why: "wrong token" };
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function isOwnOrigin(origin: string, host: string): boolean {
  const lower = origin.toLowerCase();
  return host !== "" && (lower === `http://${host.toLowerCase()}` || lower === `https://${host.toLowerCase()}`);
}

/** The name in a Host field, without port and brackets (RFC 9110 section 7.2). */
function hostName(host: string): string {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(host);
  return (bracketed?.[1] ?? host.replace(/:\d+$/, "")).toLowerCase();
}
