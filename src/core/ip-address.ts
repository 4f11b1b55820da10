// IP addresses and networks as values: parsing, the canonical text form, and which addresses are internal.

import { isIP } from "node:net";

export interface IpAddress {
  readonly family: 4 | 6;
  /** 4 or 16 octets, in network order. */
  readonly octets: Uint8Array;
}

/** A network in CIDR form. Bits of the base behind the prefix do not count. */
export interface IpNetwork {
  readonly base: IpAddress;
  /** 0 to 32, or 0 to 128. */
  readonly prefixBits: number;
}

/** undefined for what is no address, and for an address with a zone (RFC 4007), which means nothing in DNS or mail. */
export function parseIpAddress(text: string): IpAddress | undefined {
  switch (isIP(text)) {
    case 4:
      return { family: 4, octets: Uint8Array.from(text.split("."), Number) };
    case 6:
      return text.includes("%") ? undefined : { family: 6, octets: ipv6Octets(text) };
    default:
      return undefined;
  }
}

/** The canonical text: dotted decimal, or RFC 5952 (lower case, the longest run of zeros as `::`). */
export function formatIpAddress(address: IpAddress): string {
  if (address.family === 4) return address.octets.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => groupAt(address.octets, i));
  const run = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  // RFC 5952 section 4.2.2: a single zero is not shortened.
  if (run.length < 2) return hex.join(":");
  return `${hex.slice(0, run.start).join(":")}::${hex.slice(run.start + run.length).join(":")}`;
}

/** Equal addresses have equal canonical texts. undefined for what is no address. */
export function canonicalIp(text: string): string | undefined {
  const address = parseIpAddress(text);
  return address === undefined ? undefined : formatIpAddress(address);
}

/**
 * The address in an address literal of RFC 5321 section 4.1.3, `[192.0.2.1]` or `[IPv6:2001:db8::1]`; undefined for a
 * domain name, a general address literal, and anything else.
 */
export function parseAddressLiteral(domain: string): IpAddress | undefined {
  if (!domain.startsWith("[") || !domain.endsWith("]")) return undefined;
  const inner = domain.slice(1, -1);
  const isTagged = /^ipv6:/i.test(inner);
  const address = parseIpAddress(isTagged ? inner.slice(5) : inner);
  return address?.family === (isTagged ? 6 : 4) ? address : undefined;
}

/** `192.0.2.0/24`, `2001:db8::/32`, or an address for itself alone. undefined for anything else. */
export function parseIpNetwork(cidr: string): IpNetwork | undefined {
  const slash = cidr.indexOf("/");
  const base = parseIpAddress(slash < 0 ? cidr : cidr.slice(0, slash));
  if (base === undefined) return undefined;
  const bitsMax = base.octets.length * 8;
  if (slash < 0) return { base, prefixBits: bitsMax };
  const bits = cidr.slice(slash + 1);
  const prefixBits = Number(bits);
  return /^\d{1,3}$/.test(bits) && prefixBits <= bitsMax ? { base, prefixBits } : undefined;
}

/** The networks of a list in CIDR form; an entry that does not parse stands for none. */
export function parseIpNetworks(cidrs: readonly string[]): readonly IpNetwork[] {
  return cidrs.map(parseIpNetwork).filter((network) => network !== undefined);
}

export function isInNetwork(address: IpAddress, network: IpNetwork): boolean {
  if (address.family !== network.base.family) return false;
  const whole = network.prefixBits >> 3;
  for (let i = 0; i < whole; i++) if (address.octets[i] !== network.base.octets[i]) return false;
  const rest = network.prefixBits & 7;
  if (rest === 0) return true;
  const mask = (0xff << (8 - rest)) & 0xff;
  return ((address.octets[whole] as number) & mask) === ((network.base.octets[whole] as number) & mask);
}

/** Whether only this machine can reach the address. False for what is no address. */
export function isLoopbackAddress(text: string): boolean {
  const address = parseIpAddress(text);
  return address?.family === 4
    ? address.octets[0] === 127
    : address !== undefined && formatIpAddress(address) === "::1";
}

/**
 * Whether no public mail exchanger can have this address: what RFC 6890 and the IANA special-purpose registries keep
 * from global use, and IPv6 forms that carry such an IPv4 address inside.
 */
export function isInternalAddress(address: IpAddress): boolean {
  if (internalNetworks.some((network) => isInNetwork(address, network))) return true;
  const embedded = embeddedIpv4(address);
  return embedded !== undefined && isInternalAddress(embedded);
}

/**
 * The test that exchangers' addresses go through: true for public addresses and for those in the allowed networks.
 * `allowed` is in CIDR form; an entry that does not parse allows nothing.
 */
export function addressFilter(allowed: readonly string[]): (address: string) => boolean {
  const networks = parseIpNetworks(allowed);
  return (text) => {
    const address = parseIpAddress(text);
    if (address === undefined) return false;
    return !isInternalAddress(address) || networks.some((network) => isInNetwork(address, network));
  };
}

const internalNetworks: readonly IpNetwork[] = [
  "0.0.0.0/8", // this network (RFC 791)
  "10.0.0.0/8", // private (RFC 1918)
  "100.64.0.0/10", // carrier-grade NAT (RFC 6598)
  "127.0.0.0/8", // loopback (RFC 1122)
  "169.254.0.0/16", // link-local (RFC 3927), and the metadata services of clouds
  "172.16.0.0/12", // private (RFC 1918)
  "192.0.0.0/24", // protocol assignments (RFC 6890)
  "192.0.2.0/24", // documentation (RFC 5737)
  "192.88.99.0/24", // 6to4 relays, given up (RFC 7526)
  "192.168.0.0/16", // private (RFC 1918)
  "198.18.0.0/15", // benchmarks (RFC 2544)
  "198.51.100.0/24", // documentation (RFC 5737)
  "203.0.113.0/24", // documentation (RFC 5737)
  "224.0.0.0/4", // multicast (RFC 5771)
  "240.0.0.0/4", // reserved, and the broadcast address (RFC 1112, RFC 919)
  "::/96", // unspecified, loopback, and IPv4-compatible (RFC 4291)
  "::ffff:0:0/96", // IPv4-mapped (RFC 4291): never in DNS for a good reason
  "64:ff9b:1::/48", // local NAT64 (RFC 8215)
  "100::/64", // discard (RFC 6666)
  "2001::/23", // protocol assignments (RFC 2928): Teredo, benchmarks, ORCHID
  "2001:db8::/32", // documentation (RFC 3849)
  "3fff::/20", // documentation (RFC 9637)
  "5f00::/16", // segment routing (RFC 9602)
  "fc00::/7", // unique local (RFC 4193)
  "fe80::/10", // link-local (RFC 4291)
  "fec0::/10", // site-local, given up (RFC 3879)
  "ff00::/8", // multicast (RFC 4291)
].map((cidr) => parseIpNetwork(cidr) as IpNetwork);

/** The IPv4 address that NAT64 (RFC 6052) or 6to4 (RFC 3056) would send to. */
function embeddedIpv4({ family, octets }: IpAddress): IpAddress | undefined {
  if (family === 4) return undefined;
  const isNat64 = groupAt(octets, 0) === 0x64 && groupAt(octets, 1) === 0xff9b && octets.subarray(4, 12).every(isZero);
  if (isNat64) return { family: 4, octets: octets.subarray(12) };
  if (groupAt(octets, 0) === 0x2002) return { family: 4, octets: octets.subarray(2, 6) };
  return undefined;
}

function isZero(octet: number): boolean {
  return octet === 0;
}

function groupAt(octets: Uint8Array, index: number): number {
  return ((octets[2 * index] as number) << 8) | (octets[2 * index + 1] as number);
}

/** `text` is known to be valid. */
function ipv6Octets(text: string): Uint8Array {
  const [head = "", tail] = text.split("::");
  const before = groupOctets(head);
  const after = tail === undefined ? [] : groupOctets(tail);
  const octets = new Uint8Array(16);
  octets.set(before);
  octets.set(after, 16 - after.length);
  return octets;
}

function groupOctets(part: string): number[] {
  if (part === "") return [];
  return part.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/** The first of the longest runs (RFC 5952 section 4.2.3). */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}
