// The DNS server of the internet in a box: UDP and TCP on one port, answers from a zone given as data.

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  type DecodedPacket,
  decode,
  encode,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  streamEncode,
  TRUNCATED_RESPONSE,
} from "dns-packet";
import { lookUp, type Zone, type ZoneEntry } from "./zone.ts";

const noError = 0;
const serverFailure = 2;
const nameError = 3;
/** RFC 1035 section 4.2.1; more where the query says so by EDNS (RFC 6891). */
const udpBytesDefault = 512;
const aliasesMax = 8;
const portTriesMax = 50;
const tcpIdleTimeoutMs = 10_000;

/** What a question gets. `bytes` undefined: no answer at all. */
interface Reaction {
  readonly bytes: Buffer | undefined;
  readonly delayMs: number;
}

export class DnsServer {
  #zone: Zone;
  #udp: UdpSocket | undefined;
  #tcp: Server | undefined;
  readonly #connections = new Set<Socket>();
  #port = 0;
  questions = 0;

  constructor(zone: Zone) {
    this.#zone = zone;
  }

  get port(): number {
    return this.#port;
  }

  /** Answers from another zone from now on. */
  serve(zone: Zone): void {
    this.#zone = zone;
  }

  /** Binds UDP and TCP to the preferred port (0: any), or to another where that one is taken. */
  async listen(host: string, preferredPort: number): Promise<number> {
    let port = preferredPort;
    for (let i = 0; i < portTriesMax; i++) {
      try {
        return await this.#listenOn(host, port);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
        await this.close();
        port = 0;
      }
    }
    throw new Error(`no DNS port was free after ${portTriesMax} tries`);
  }

  async #listenOn(host: string, port: number): Promise<number> {
    const tcp = createServer((socket) => this.#serveTcp(socket));
    this.#tcp = tcp;
    await new Promise<void>((resolve, reject) => {
      tcp.once("error", reject);
      tcp.listen({ host, port }, resolve);
    });
    const bound = tcp.address();
    this.#port = typeof bound === "object" && bound !== null ? bound.port : port;
    const udp = createSocket("udp4");
    this.#udp = udp;
    await new Promise<void>((resolve, reject) => {
      udp.once("error", reject);
      udp.bind(this.#port, host, resolve);
    });
    udp.on("error", () => undefined);
    udp.on("message", (query, from) => this.#serveUdp(udp, query, from));
    return this.#port;
  }

  #serveUdp(udp: UdpSocket, query: Buffer, from: RemoteInfo): void {
    const { bytes, delayMs } = this.#react(query, "udp");
    if (bytes === undefined) return;
    const send = (): void => udp.send(bytes, from.port, from.address, () => undefined);
    if (delayMs > 0) setTimeout(send, delayMs).unref();
    else send();
  }

  /** RFC 1035 section 4.2.2: a length of two octets before each message. */
  #serveTcp(socket: Socket): void {
    this.#connections.add(socket);
    let rest: Buffer = Buffer.alloc(0);
    socket.setTimeout(tcpIdleTimeoutMs, () => socket.destroy());
    socket.on("error", () => undefined);
    socket.on("close", () => this.#connections.delete(socket));
    socket.on("data", (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const end = 2 + rest.readUInt16BE(0);
        const { bytes, delayMs } = this.#react(rest.subarray(2, end), "tcp");
        rest = rest.subarray(end);
        if (bytes !== undefined) setTimeout(() => socket.write(bytes), delayMs).unref();
      }
    });
  }

  #react(query: Buffer, transport: "udp" | "tcp"): Reaction {
    this.questions++;
    let packet: DecodedPacket;
    try {
      packet = decode(query);
    } catch {
      return { bytes: undefined, delayMs: 0 };
    }
    const question = packet.questions?.[0];
    if (question === undefined) return { bytes: undefined, delayMs: 0 };
    const found = resolve(this.#zone, question.name.toLowerCase(), question.type);
    if (found.kind === "silence") return { bytes: undefined, delayMs: 0 };
    const flags = AUTHORITATIVE_ANSWER | RECURSION_AVAILABLE | ((packet.flags ?? 0) & RECURSION_DESIRED);
    const response = {
      type: "response" as const,
      id: packet.id,
      flags: flags | found.code,
      questions: [question],
      answers: [...found.answers],
      authorities: found.answers.length === 0 && found.code !== serverFailure ? [authority(this.#zone)] : [],
      additionals: packet.additionals?.some((record) => record.type === "OPT") === true ? [optRecord()] : [],
    };
    if (transport === "tcp") return { bytes: streamEncode(response), delayMs: found.delayMs };
    const bytes = encode(response);
    if (bytes.length <= udpBytes(packet)) return { bytes, delayMs: found.delayMs };
    const cut = encode({ ...response, answers: [], authorities: [], flags: response.flags | TRUNCATED_RESPONSE });
    return { bytes: cut, delayMs: found.delayMs };
  }

  async close(): Promise<void> {
    const udp = this.#udp;
    const tcp = this.#tcp;
    this.#udp = undefined;
    this.#tcp = undefined;
    for (const socket of this.#connections) socket.destroy();
    if (udp !== undefined) await new Promise<void>((resolve) => closeUdp(udp, resolve));
    if (tcp?.listening === true) await new Promise<void>((resolve) => tcp.close(() => resolve()));
  }
}

type Resolution =
  | { readonly kind: "answer"; readonly code: number; readonly answers: readonly Answer[]; readonly delayMs: number }
  | { readonly kind: "silence" };

function resolve(zone: Zone, name: string, type: string): Resolution {
  const answers: Answer[] = [];
  let current = name;
  let delayMs = 0;
  for (let i = 0; i < aliasesMax; i++) {
    const entry = lookUp(zone, current);
    if (entry === undefined) return { kind: "answer", code: nameError, answers, delayMs };
    if (entry.fault === "silence") return { kind: "silence" };
    delayMs += entry.delayMs ?? 0;
    if (entry.fault === "servfail") return { kind: "answer", code: serverFailure, answers: [], delayMs };
    if (entry.cname === undefined || type === "CNAME") {
      answers.push(...records(entry, current, type, zone.ttlSeconds));
      return { kind: "answer", code: noError, answers, delayMs };
    }
    answers.push({ type: "CNAME", name: current, ttl: zone.ttlSeconds, data: entry.cname });
    current = entry.cname;
  }
  return { kind: "answer", code: serverFailure, answers: [], delayMs };
}

function records(entry: ZoneEntry, name: string, type: string, ttl: number): Answer[] {
  switch (type) {
    case "MX":
      return (entry.mx ?? []).map((data) => ({ type: "MX", name, ttl, data }));
    case "A":
      return (entry.a ?? []).map((data) => ({ type: "A", name, ttl, data }));
    case "AAAA":
      return (entry.aaaa ?? []).map((data) => ({ type: "AAAA", name, ttl, data }));
    case "TXT":
      return (entry.txt ?? []).map((text) => ({ type: "TXT", name, ttl, data: textStrings(text) }));
    case "PTR":
      return (entry.ptr ?? []).map((data) => ({ type: "PTR", name, ttl, data }));
    case "CNAME":
      return entry.cname === undefined ? [] : [{ type: "CNAME", name, ttl, data: entry.cname }];
    default:
      return [];
  }
}

/** A text longer than 255 octets takes several strings (RFC 1035 section 3.3.14). */
function textStrings(text: string): string[] {
  return text.match(/[\s\S]{1,255}/g) ?? [""];
}

/** How long a missing name or type may be remembered (RFC 2308 section 5). */
function authority(zone: Zone): Answer {
  const data = {
    mname: "ns.invalid",
    rname: "hostmaster.invalid",
    serial: 1,
    refresh: 3_600,
    retry: 600,
    expire: 86_400,
    minimum: zone.ttlSeconds,
  };
  return { type: "SOA", name: ".", ttl: zone.ttlSeconds, data };
}

function optRecord(): Answer {
  return {
    type: "OPT",
    name: ".",
    udpPayloadSize: 1_232,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
}

function udpBytes(query: DecodedPacket): number {
  const opt = query.additionals?.find((record) => record.type === "OPT");
  return opt?.type === "OPT" ? Math.max(udpBytesDefault, opt.udpPayloadSize) : udpBytesDefault;
}

function closeUdp(udp: UdpSocket, done: () => void): void {
  try {
    udp.close(done);
  } catch {
    done();
  }
}
