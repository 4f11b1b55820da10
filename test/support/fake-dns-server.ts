// A DNS server on loopback whose every reply the test decides, over UDP and TCP on one port.

import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { type DecodedPacket, decode, encode, type Packet } from "dns-packet";

export interface DnsQuery {
  readonly packet: DecodedPacket;
  /** `TYPE name`. */
  readonly question: string;
  readonly transport: "udp" | "tcp";
  readonly clientPort: number;
  readonly hasEdns: boolean;
}

/** Messages to send back, in order; none for silence. */
export type Reply = (query: DnsQuery) => readonly Buffer[];

export class FakeDnsServer {
  readonly queries: DnsQuery[] = [];
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #reply: Reply;

  private constructor(udp: UdpSocket, tcp: Server, reply: Reply) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.#reply = reply;
    udp.on("message", (message, from) => {
      for (const out of this.#answer(message, "udp", from.port)) udp.send(out, from.port, from.address);
    });
    tcp.on("connection", (socket) => this.#serve(socket));
  }

  static async start(reply: Reply): Promise<FakeDnsServer> {
    for (;;) {
      const tcp = createServer().listen(0, "127.0.0.1");
      await once(tcp, "listening");
      const udp = createSocket("udp4");
      udp.bind((tcp.address() as AddressInfo).port, "127.0.0.1");
      try {
        await once(udp, "listening");
        return new FakeDnsServer(udp, tcp, reply);
      } catch {
        tcp.close();
      }
    }
  }

  get server(): { host: string; port: number } {
    return { host: "127.0.0.1", port: this.#udp.address().port };
  }

  set reply(reply: Reply) {
    this.#reply = reply;
  }

  get questions(): string[] {
    return this.queries.map(({ question }) => question);
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#connections.delete(socket));
    let received: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      for (const out of this.#answer(received.subarray(2), "tcp", socket.remotePort ?? 0)) {
        const length = Buffer.alloc(2);
        length.writeUInt16BE(out.length);
        // In pieces, as a network may cut it.
        socket.write(length.subarray(0, 1));
        socket.write(Buffer.concat([length.subarray(1), out.subarray(0, 5)]));
        setImmediate(() => socket.write(out.subarray(5)));
      }
    });
  }

  #answer(message: Buffer, transport: "udp" | "tcp", clientPort: number): readonly Buffer[] {
    const packet = decode(message);
    const asked = packet.questions?.[0];
    const query: DnsQuery = {
      packet,
      question: `${asked?.type} ${asked?.name}`,
      transport,
      clientPort,
      hasEdns: (packet.additionals ?? []).some((record) => record.type === "OPT"),
    };
    this.queries.push(query);
    return this.#reply(query);
  }
}

const recursionAvailable = 1 << 7;

/** A well-formed response to the query; `rcode` and `flags` are numbers as in RFC 1035 section 4.1.1. */
export function respond(query: DnsQuery, changes: Partial<Packet> = {}, rcode = 0, flags = 0): Buffer {
  return encode({
    type: "response",
    id: query.packet.id,
    flags: recursionAvailable | flags | rcode,
    questions: query.packet.questions,
    ...changes,
  } as Packet);
}

export function soa(ttl: number, minimum: number): NonNullable<Packet["authorities"]>[number] {
  const data = { mname: "ns.example", rname: "root.example", serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  return { type: "SOA", name: "example", ttl, data };
}
