// Who may submit what: trusted networks, users with their reverse-paths and streams. Default deny: whoever is
// neither trusted nor authenticated submits nothing, so that we are never an open relay.

import { isIPv6 } from "node:net";
import type { Config, UserConfig } from "../config/config.ts";
import { type IpNetwork, isInNetwork, parseIpAddress } from "../core/ip-address.ts";

/** IPv4 addresses as a dual-stack socket reports them (`::ffff:192.0.2.1`) are the IPv4 addresses they are. */
export function plainAddress(address: string): string {
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(address) ? address.slice(7) : address;
}

export function isInNetworks(text: string, networks: readonly IpNetwork[]): boolean {
  const address = parseIpAddress(plainAddress(text));
  return address !== undefined && networks.some((network) => isInNetwork(address, network));
}

/** The address, or for IPv6 its /64: one customer has at least that much, so limits count it as one. */
export function addressGroup(address: string): string {
  if (!isIPv6(address)) return address;
  const [head, tail] = address.split("::") as [string, string | undefined];
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const tailGroups = tail === "" ? 0 : tail.split(":").length;
    while (groups.length < 8 - tailGroups) groups.push("0");
  }
  return `${groups.slice(0, 4).join(":")}::/64`;
}

/**
 * Whether the user may give this reverse-path. The null reverse-path is always allowed: automatic answers need it
 * (RFC 3834 section 3.3), and it claims nobody's name.
 */
export function mayUseReversePath(user: UserConfig, reversePath: string): boolean {
  if (user.reversePaths.length === 0 || reversePath === "") return true;
  return user.reversePaths.some((pattern) => matchesPattern(pattern, reversePath));
}

/**
 * Matches `*@example.com`, `*@*.example.com`, `a@example.com` or `*`. A `*` before the @ stands for any local part,
 * `*.` after it for one or more labels. Local parts are case-sensitive (RFC 5321 section 2.4), domains are not.
 */
export function matchesPattern(pattern: string, mailbox: string): boolean {
  if (pattern === "*") return true;
  const patternAt = pattern.lastIndexOf("@");
  const mailboxAt = mailbox.lastIndexOf("@");
  const local = pattern.slice(0, patternAt);
  if (local !== "*" && local !== mailbox.slice(0, mailboxAt)) return false;
  const domain = pattern.slice(patternAt + 1).toLowerCase();
  const mailboxDomain = mailbox.slice(mailboxAt + 1).toLowerCase();
  return domain.startsWith("*.") ? mailboxDomain.endsWith(domain.slice(1)) : mailboxDomain === domain;
}

export type StreamChoice =
  | { readonly kind: "stream"; readonly stream: string }
  | { readonly kind: "refused"; readonly text: string };

/** The stream of a message whose X-Postern-Stream says `wanted`. `user` is undefined for a trusted network. */
export function chooseStream(config: Config, user: UserConfig | undefined, wanted: string | undefined): StreamChoice {
  const allowed = user === undefined || user.streams.length === 0 ? undefined : user.streams;
  if (wanted === undefined) {
    const usesDefault = allowed === undefined || allowed.includes(config.defaultStream);
    return { kind: "stream", stream: usesDefault ? config.defaultStream : (allowed[0] as string) };
  }
  if (!config.streams.has(wanted)) return { kind: "refused", text: `X-Postern-Stream: there is no stream ${wanted}` };
  if (allowed !== undefined && !allowed.includes(wanted)) {
    return { kind: "refused", text: `X-Postern-Stream: ${user?.name} may not use the stream ${wanted}` };
  }
  return { kind: "stream", stream: wanted };
}
