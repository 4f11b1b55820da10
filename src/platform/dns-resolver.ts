// A stub resolver (RFC 1034 section 5.3.1) over UDP and TCP. It gives what Node's own does not: times to live for all
// types, the AD bit, and a missing name told from a missing type.

import { createSocket } from "node:dgram";
import { Resolver as SystemResolver } from "node:dns";
import { connect as connectTcp } from "node:net";
import { type DecodedPacket, decode, encode } from "dns-packet";
import { assert } from "../core/assert.ts";
import type { Answer, MxRecord, Resolver } from "../core/dns.ts";
import { isLoopbackAddress } from "../core/ip-address.ts";
import type { Random } from "../core/random.ts";
import { type Clock, dayMs, hourMs, type Millis, secondMs } from "../core/time.ts";
import {
  aliasesMax,
  answersQuestion,
  type Finding,
  isValidName,
  normalName,
  type QueryType,
  type Question,
  readResponse,
} from "./dns-response.ts";

export interface DnsServer {
  /** An IP address. */
  readonly host: string;
  readonly port: number;
}

export interface DnsResolverOptions {
  /** Never empty. Asked in turn, beginning with the one that answered last. */
  readonly servers: readonly DnsServer[];
  /** How long one server is waited for. A whole lookup takes at most `lookupTries` times as long. */
  readonly timeoutMs: Millis;
  readonly clock: Clock;
  readonly random: Random;
  /** Sets the DO bit (RFC 3225), for servers that validate only then. */
  readonly dnssecOk?: boolean;
}

const dnsPort = 53;
const lookupTries = 4;
/** A datagram may be lost: within a try it is sent again after this time, with the same id. */
const retransmitMs: Millis = secondMs;
const ttlMinMs: Millis = 5 * secondMs;
const ttlMaxMs: Millis = dayMs;
const negativeTtlMaxMs: Millis = hourMs;
/** For a negative answer without an SOA record. */
const negativeTtlDefaultMs: Millis = 30 * secondMs;
const lookupsMax = 512;
const waitingMax = 10_000;
/** What the DNS flag day 2020 recommends: it fits into every path without fragments. */
const udpPayloadBytes = 1_232;

const recursionDesired = 1 << 8;
const authenticData = 1 << 5;
const dnssecOkFlag = 1 << 15;
const truncatedBit = 0x02;

/** What came of sending one query to one server. */
type Exchange = { readonly kind: "response"; readonly packet: DecodedPacket } | { readonly kind: Trouble };
type Trouble = "truncated" | "timeout" | "unreachable" | "malformed";

/** A finding together with whether the server vouches for it (RFC 6840 section 5.8). */
type Verdict = {
  readonly finding: Exclude<Finding, { kind: "edns-refused" }> | FailedTry;
  readonly authentic: boolean;
};
type FailedTry = { readonly kind: "failed"; readonly reason: "timeout" | "servfail" | "bogus" };

export class DnsResolver implements Resolver {
  readonly #servers: readonly DnsServer[];
  readonly #timeoutMs: Millis;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #dnssecOk: boolean;
  readonly #slots: Slots;
  /** Ends each exchange under way, for `close`. */
  readonly #exchanges = new Set<() => void>();
  #preferred = 0;
  #closed = false;

  constructor(options: DnsResolverOptions) {
    assert(options.servers.length > 0, "a resolver needs a server");
    this.#servers = options.servers;
    this.#timeoutMs = options.timeoutMs;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#dnssecOk = options.dnssecOk ?? false;
    this.#slots = new Slots(options.clock, lookupsMax, waitingMax);
  }

  mx(name: string): Promise<Answer<MxRecord>> {
    return this.#lookup<MxRecord>(name, "MX");
  }

  a(name: string): Promise<Answer<string>> {
    return this.#lookup<string>(name, "A");
  }

  aaaa(name: string): Promise<Answer<string>> {
    return this.#lookup<string>(name, "AAAA");
  }

  txt(name: string): Promise<Answer<string>> {
    return this.#lookup<string>(name, "TXT");
  }

  /** Ends all lookups under way with `timeout`; later ones end so at once. */
  close(): void {
    this.#closed = true;
    this.#slots.close();
    for (const end of this.#exchanges) end();
  }

  async #lookup<Value>(name: string, type: QueryType): Promise<Answer<Value>> {
    const question: Question = { name: normalName(name), type };
    if (!isValidName(question.name)) {
      return { kind: "no-name", authentic: false, until: this.#clock.now() + negativeTtlMaxMs };
    }
    const deadlineMs = this.#clock.monotonicMs() + lookupTries * this.#timeoutMs;
    if (!(await this.#slots.take(deadlineMs))) return { kind: "failed", reason: "timeout" };
    try {
      return await this.#followed<Value>(question, deadlineMs);
    } finally {
      this.#slots.giveBack();
    }
  }

  /** Asks, and asks again for the target when an answer stops at a CNAME. */
  async #followed<Value>(question: Question, deadlineMs: Millis): Promise<Answer<Value>> {
    let asked = question;
    let hops = 0;
    let ttlSeconds = Number.POSITIVE_INFINITY;
    let authentic = true;
    for (;;) {
      const verdict = await this.#ask(asked, deadlineMs);
      const finding = verdict.finding;
      authentic = authentic && verdict.authentic;
      switch (finding.kind) {
        case "failed":
          return finding;
        case "found": {
          const records = finding.records as readonly Value[];
          const until = this.#clock.now() + positiveTtlMs(Math.min(ttlSeconds, finding.ttlSeconds));
          return { kind: "found", records, authentic, until };
        }
        case "no-name":
        case "no-data":
          return {
            kind: finding.kind,
            authentic,
            until: this.#clock.now() + negativeTtlMs(ttlSeconds, finding.ttlSeconds),
          };
        case "alias":
          hops += finding.hops;
          ttlSeconds = Math.min(ttlSeconds, finding.ttlSeconds);
          asked = { name: finding.target, type: question.type };
          if (hops > aliasesMax || !isValidName(asked.name)) return { kind: "failed", reason: "servfail" };
      }
    }
  }

  /** Asks the servers in turn, twice round, but none again that has given its verdict. */
  async #ask(question: Question, deadlineMs: Millis): Promise<Verdict> {
    const first = this.#preferred;
    const failures = new Map<number, FailedTry>();
    for (let n = 0; n < 2 * this.#servers.length; n++) {
      const index = (first + n) % this.#servers.length;
      const before = failures.get(index);
      if (before !== undefined && before.reason !== "timeout") continue;
      if (this.#closed || this.#clock.monotonicMs() >= deadlineMs) break;
      const verdict = await this.#try(this.#servers[index] as DnsServer, question, deadlineMs);
      if (verdict.finding.kind !== "failed") {
        this.#preferred = index;
        return verdict;
      }
      failures.set(index, verdict.finding);
    }
    return { finding: { kind: "failed", reason: worstReason(failures.values()) }, authentic: false };
  }

  /** One server: UDP first, TCP when the answer does not fit (RFC 7766 section 5), no EDNS when it is not understood. */
  async #try(server: DnsServer, question: Question, deadlineMs: Millis): Promise<Verdict> {
    let edns = true;
    for (;;) {
      let exchange = await this.#exchange(exchangeUdp, server, question, edns, deadlineMs);
      if (exchange.kind === "truncated") {
        exchange = await this.#exchange(exchangeTcp, server, question, edns, deadlineMs);
      }
      if (exchange.kind !== "response") return failedTry(exchange.kind === "malformed" ? "servfail" : "timeout");
      const finding = readResponse(exchange.packet, question);
      if (finding.kind !== "edns-refused") {
        // RFC 6840 section 5.8: AD means something only where the way to the server is safe.
        return { finding, authentic: exchange.packet.flag_ad && isLoopbackAddress(server.host) };
      }
      if (!edns) return failedTry("servfail");
      edns = false;
    }
  }

  async #exchange(
    transport: Transport,
    server: DnsServer,
    question: Question,
    edns: boolean,
    deadlineMs: Millis,
  ): Promise<Exchange> {
    const timeoutMs = Math.min(this.#timeoutMs, deadlineMs - this.#clock.monotonicMs());
    if (timeoutMs <= 0 || this.#closed) return { kind: "timeout" };
    const id = this.#random.integer(0x1_0000);
    const { promise, resolve } = Promise.withResolvers<Exchange>();
    const stop = () => resolve({ kind: "timeout" });
    this.#exchanges.add(stop);
    const query = encodeQuery(id, question, edns, this.#dnssecOk);
    const release = transport({ clock: this.#clock, server, question, id, query, timeoutMs, resolve });
    try {
      return await promise;
    } finally {
      this.#exchanges.delete(stop);
      release();
    }
  }
}

/** The servers of the system's resolver configuration (resolv.conf). */
export function systemDnsServers(): DnsServer[] {
  return new SystemResolver().getServers().map(parseServer);
}

/** `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`. */
function parseServer(text: string): DnsServer {
  const match = /^\[(.+)\](?::(\d+))?$/.exec(text) ?? /^([^:]+)(?::(\d+))?$/.exec(text);
  return { host: match?.[1] ?? text, port: Number(match?.[2] ?? dnsPort) };
}

interface Sending {
  readonly clock: Clock;
  readonly server: DnsServer;
  readonly question: Question;
  readonly id: number;
  readonly query: Buffer;
  readonly timeoutMs: Millis;
  /** Called once or more; the first one counts. */
  readonly resolve: (exchange: Exchange) => void;
}

/** Sends one query and resolves it. Returns what frees its socket and timer. */
type Transport = (sending: Sending) => () => void;

/** A socket of its own for each query: the system draws its port, which with the id keeps guesses out (RFC 5452). */
function exchangeUdp({ clock, server, question, id, query, timeoutMs, resolve }: Sending): () => void {
  const socket = createSocket(server.host.includes(":") ? "udp6" : "udp4");
  const endMs = clock.monotonicMs() + timeoutMs;
  const send = () => socket.send(query, (error) => error && resolve({ kind: "unreachable" }));
  const wait = () => {
    const leftMs = endMs - clock.monotonicMs();
    if (leftMs <= 0) return undefined;
    return clock.after(Math.min(retransmitMs, leftMs), () => {
      timer = wait();
      if (timer === undefined) resolve({ kind: "timeout" });
      else if (isConnected) send();
    });
  };
  let isConnected = false;
  let timer = wait();
  socket.on("error", () => resolve({ kind: "unreachable" }));
  socket.on("message", (message) => {
    const exchange = readDatagram(message, id, question);
    if (exchange !== undefined) resolve(exchange);
  });
  // A connected socket takes datagrams of this server alone, and learns when nobody listens there.
  socket.on("connect", () => {
    isConnected = true;
    send();
  });
  socket.connect(server.port, server.host);
  return () => {
    timer?.cancel();
    socket.close();
  };
}

function exchangeTcp({ clock, server, question, id, query, timeoutMs, resolve }: Sending): () => void {
  const socket = connectTcp({ host: server.host, port: server.port, noDelay: true });
  const timer = clock.after(timeoutMs, () => resolve({ kind: "timeout" }));
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  socket.cork();
  socket.write(length);
  socket.write(query);
  socket.uncork();
  // At most 65535 octets and their length (RFC 1035 section 4.2.2).
  const received = Buffer.allocUnsafe(2 + 0xffff);
  let receivedBytes = 0;
  socket.on("error", () => resolve({ kind: "unreachable" }));
  socket.on("close", () => resolve({ kind: "unreachable" }));
  socket.on("data", (chunk: Buffer) => {
    receivedBytes += chunk.copy(received, receivedBytes);
    const neededBytes = receivedBytes < 2 ? 2 : 2 + received.readUInt16BE(0);
    if (receivedBytes < neededBytes || neededBytes === 2) return;
    const exchange = readDatagram(received.subarray(2, neededBytes), id, question);
    // There is nobody to guess here: what does not fit is the server's fault.
    resolve(exchange === undefined || exchange.kind === "truncated" ? { kind: "malformed" } : exchange);
  });
  return () => {
    timer.cancel();
    socket.destroy();
  };
}

/** undefined for what is no response to the query, and may be somebody's guess. */
function readDatagram(message: Buffer, id: number, question: Question): Exchange | undefined {
  if (message.length < 12 || message.readUInt16BE(0) !== id) return undefined;
  // The rest of a truncated message may be cut anywhere; nothing of it is used.
  if (((message[2] as number) & truncatedBit) !== 0) return { kind: "truncated" };
  try {
    const packet = decode(message);
    return answersQuestion(packet, question) ? { kind: "response", packet } : undefined;
  } catch {
    return { kind: "malformed" };
  }
}

function encodeQuery(id: number, question: Question, edns: boolean, dnssecOk: boolean): Buffer {
  return encode({
    type: "query",
    id,
    // RFC 6840 section 5.7: AD in a query asks for AD in the response.
    flags: recursionDesired | authenticData,
    questions: [{ name: question.name, type: question.type, class: "IN" }],
    additionals: edns
      ? [
          {
            type: "OPT",
            name: ".",
            udpPayloadSize: udpPayloadBytes,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: dnssecOk ? dnssecOkFlag : 0,
            flag_do: dnssecOk,
            options: [],
          },
        ]
      : [],
  });
}

function failedTry(reason: FailedTry["reason"]): Verdict {
  return { finding: { kind: "failed", reason }, authentic: false };
}

/** What a server said tells more than that another one was silent. */
function worstReason(failures: Iterable<FailedTry>): FailedTry["reason"] {
  const reasons = new Set(Array.from(failures, (failure) => failure.reason));
  if (reasons.has("bogus")) return "bogus";
  return reasons.has("servfail") ? "servfail" : "timeout";
}

function positiveTtlMs(ttlSeconds: number): Millis {
  return Math.min(Math.max(ttlSeconds * secondMs, ttlMinMs), ttlMaxMs);
}

function negativeTtlMs(chainSeconds: number, ttlSeconds: number | undefined): Millis {
  const ownMs = ttlSeconds === undefined ? negativeTtlDefaultMs : ttlSeconds * secondMs;
  return Math.min(Math.max(Math.min(ownMs, chainSeconds * secondMs), ttlMinMs), negativeTtlMaxMs);
}

/** Bounds what is under way at once; those that wait go in order of arrival. */
class Slots {
  readonly #clock: Clock;
  readonly #waitingMax: number;
  readonly #waiting = new Set<(granted: boolean) => void>();
  #free: number;

  constructor(clock: Clock, slotsMax: number, waitMax: number) {
    this.#clock = clock;
    this.#free = slotsMax;
    this.#waitingMax = waitMax;
  }

  /** false when none came free before `deadlineMs` on the monotonic clock, or too many wait. */
  async take(deadlineMs: Millis): Promise<boolean> {
    if (this.#free > 0) {
      this.#free--;
      return true;
    }
    if (this.#waiting.size >= this.#waitingMax) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#waiting.add(resolve);
    const timer = this.#clock.after(deadlineMs - this.#clock.monotonicMs(), () => {
      this.#waiting.delete(resolve);
      resolve(false);
    });
    const granted = await promise;
    timer.cancel();
    return granted;
  }

  giveBack(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next);
      next(true);
      return;
    }
    this.#free++;
  }

  close(): void {
    for (const waiting of this.#waiting) waiting(false);
    this.#waiting.clear();
  }
}
