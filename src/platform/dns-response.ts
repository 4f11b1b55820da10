// Reads DNS responses: pure functions from a packet to what it says about one name and type.

import type { DecodedPacket } from "dns-packet";
import type { MxRecord } from "../core/dns.ts";
import { canonicalIp } from "../core/ip-address.ts";

export type QueryType = "MX" | "A" | "AAAA" | "TXT";

export interface Question {
  /** Lower case, no final dot. */
  readonly name: string;
  readonly type: QueryType;
}

/** What one response says. Times to live are as received, in seconds. */
export type Finding =
  | { readonly kind: "found"; readonly records: readonly unknown[]; readonly ttlSeconds: number }
  /** `ttlSeconds` is undefined where no SOA record told it (RFC 2308 section 5). */
  | { readonly kind: "no-name" | "no-data"; readonly ttlSeconds: number | undefined }
  /** The answer stops at a CNAME: the target is to be asked for. */
  | { readonly kind: "alias"; readonly target: string; readonly hops: number; readonly ttlSeconds: number }
  | { readonly kind: "edns-refused" }
  | { readonly kind: "failed"; readonly reason: "servfail" | "bogus" };

/** CNAMEs followed for one lookup. A loop ends here too. */
export const aliasesMax = 8;

const formatError = 1;
const serverFailure = 2;
const nameError = 3;
const notImplemented = 4;
const extendedErrorOption = 15;

/** Whether the response is one to this question (RFC 5452 section 9.1); the id has been checked. */
export function answersQuestion(packet: DecodedPacket, question: Question): boolean {
  const flags = packet.flags ?? 0;
  const opcode = (flags >> 11) & 0xf;
  if (!packet.flag_qr || opcode !== 0) return false;
  const questions = packet.questions ?? [];
  // Servers that could not read the query, or would not, may leave it out.
  if (questions.length === 0) return rcodeOf(packet) !== 0 && rcodeOf(packet) !== nameError;
  const asked = questions[0];
  return (
    questions.length === 1 &&
    asked?.type === question.type &&
    (asked.class ?? "IN") === "IN" &&
    normalName(asked.name) === question.name
  );
}

/** What the response says about the question, with CNAMEs in it followed (RFC 1034 section 3.6.2, RFC 2308). */
export function readResponse(packet: DecodedPacket, question: Question): Finding {
  const rcode = rcodeOf(packet);
  if (rcode === formatError || rcode === notImplemented || rcode >= 16) return { kind: "edns-refused" };
  if (rcode === serverFailure && isBogus(packet)) return { kind: "failed", reason: "bogus" };
  if (rcode !== 0 && rcode !== nameError) return { kind: "failed", reason: "servfail" };

  const chain = followAliases(packet, question.name);
  if (chain === undefined) return { kind: "failed", reason: "servfail" };
  const negativeTtl = soaTtl(packet);
  const smaller = (left: number | undefined) => (left === undefined ? undefined : Math.min(left, chain.ttlSeconds));
  if (rcode === nameError) return { kind: "no-name", ttlSeconds: smaller(negativeTtl) };

  const found = recordsAt(packet, { name: chain.name, type: question.type });
  if (found.records.length > 0) {
    return { kind: "found", records: found.records, ttlSeconds: Math.min(found.ttlSeconds, chain.ttlSeconds) };
  }
  if (negativeTtl === undefined) {
    if (chain.hops > 0) {
      return { kind: "alias", target: chain.name, hops: chain.hops, ttlSeconds: chain.ttlSeconds };
    }
    // No data would need an SOA record or authority; without them this is a referral, or a server that does not
    // recurse. To take it for "there is no mail exchanger" would bounce mail.
    if (isReferral(packet)) return { kind: "failed", reason: "servfail" };
  }
  return { kind: "no-data", ttlSeconds: smaller(negativeTtl) };
}

/** Lower case without the final dot; `""` for the root. */
export function normalName(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}

/** Whether the name can be asked for at all: 1 to 253 printable ASCII characters, labels of 1 to 63. */
export function isValidName(name: string): boolean {
  return /^[\x21-\x7e]{1,253}$/.test(name) && name.split(".").every((label) => label.length > 0 && label.length <= 63);
}

function followAliases(
  packet: DecodedPacket,
  start: string,
): { name: string; hops: number; ttlSeconds: number } | undefined {
  const targets = new Map<string, { target: string; ttlSeconds: number }>();
  for (const record of packet.answers ?? []) {
    if (record.type !== "CNAME" || (record.class ?? "IN") !== "IN") continue;
    targets.set(normalName(record.name), { target: normalName(record.data), ttlSeconds: ttlOf(record.ttl) });
  }
  let name = start;
  let ttlSeconds = Number.POSITIVE_INFINITY;
  for (let hops = 0; hops <= aliasesMax; hops++) {
    const alias = targets.get(name);
    if (alias === undefined) return { name, hops, ttlSeconds };
    name = alias.target;
    ttlSeconds = Math.min(ttlSeconds, alias.ttlSeconds);
  }
  return undefined;
}

function recordsAt(packet: DecodedPacket, { name, type }: Question): { records: unknown[]; ttlSeconds: number } {
  const records: unknown[] = [];
  let ttlSeconds = Number.POSITIVE_INFINITY;
  for (const record of packet.answers ?? []) {
    if (record.type !== type || (record.class ?? "IN") !== "IN" || normalName(record.name) !== name) continue;
    const value = recordValue(record);
    if (value === undefined) continue;
    records.push(value);
    ttlSeconds = Math.min(ttlSeconds, ttlOf(record.ttl));
  }
  return { records, ttlSeconds };
}

type ResponseRecord = NonNullable<DecodedPacket["answers"]>[number];

function recordValue(record: ResponseRecord): MxRecord | string | undefined {
  switch (record.type) {
    case "MX":
      return { preference: record.data.preference ?? 0, exchange: normalName(record.data.exchange) };
    case "A":
    case "AAAA":
      return canonicalIp(record.data);
    case "TXT": {
      // RFC 7208 section 3.3: the strings of one record are one text.
      const parts = Array.isArray(record.data) ? record.data : [record.data];
      return parts.map((part) => part.toString()).join("");
    }
    default:
      return undefined;
  }
}

/** RFC 2308 section 5: the smaller of the SOA record's own time to live and its MINIMUM field. */
function soaTtl(packet: DecodedPacket): number | undefined {
  for (const record of packet.authorities ?? []) {
    if (record.type === "SOA") return Math.min(ttlOf(record.ttl), ttlOf(record.data.minimum));
  }
  return undefined;
}

function isReferral(packet: DecodedPacket): boolean {
  if (packet.flag_aa) return false;
  return !packet.flag_ra || (packet.authorities ?? []).some((record) => record.type === "NS");
}

/** RFC 2181 section 8: a time to live with the top bit set counts as zero. */
function ttlOf(seconds: number | undefined): number {
  return seconds === undefined || seconds > 0x7fff_ffff ? 0 : seconds;
}

/** With the upper bits that EDNS adds (RFC 6891 section 6.1.3). */
function rcodeOf(packet: DecodedPacket): number {
  const low = (packet.flags ?? 0) & 0xf;
  for (const record of packet.additionals ?? []) {
    if (record.type === "OPT") return (record.extendedRcode << 4) | low;
  }
  return low;
}

/** RFC 8914: the codes from "DNSSEC Bogus" (6) to "NSEC Missing" (12) say that validation failed. */
function isBogus(packet: DecodedPacket): boolean {
  for (const record of packet.additionals ?? []) {
    if (record.type !== "OPT") continue;
    for (const option of record.options) {
      if (Number(option.code) !== extendedErrorOption || !("data" in option)) continue;
      const data: unknown = option.data;
      if (!Buffer.isBuffer(data) || data.length < 2) continue;
      const info = data.readUInt16BE(0);
      if (info >= 6 && info <= 12) return true;
    }
  }
  return false;
}
