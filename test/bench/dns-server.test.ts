// The DNS server of the internet in a box, asked over UDP and TCP.

import { createSocket } from "node:dgram";
import { createConnection } from "node:net";
import { type Answer, type DecodedPacket, decode, encode, type RecordType, streamEncode } from "dns-packet";
import { test } from "tap";
import { DnsServer } from "../../native-bench/dns/dns-server.ts";
import { lookUp, reverseName, zoneOf } from "../../native-bench/dns/zone.ts";

const zone = zoneOf({
  "a.example": {
    mx: [
      { preference: 10, exchange: "mx1.a.example" },
      { preference: 20, exchange: "mx2.a.example" },
    ],
  },
  "mx1.a.example": { a: ["127.10.0.1"], aaaa: ["::1"] },
  "alias.example": { cname: "mx1.a.example" },
  "*.tail.example": { mx: [{ preference: 5, exchange: "mx1.a.example" }] },
  "own.tail.example": { a: ["127.10.0.2"] },
  "null.example": { mx: [{ preference: 0, exchange: "." }] },
  "broken.example": { fault: "servfail" },
  "silent.example": { fault: "silence" },
  "long.example": { txt: ["x".repeat(700)] },
  [reverseName("127.10.0.1")]: { ptr: ["mx1.a.example"] },
});

async function ask(port: number, name: string, type: RecordType, waitMs = 2_000): Promise<DecodedPacket | undefined> {
  const socket = createSocket("udp4");
  const query = encode({ type: "query", id: 77, flags: 0x0100, questions: [{ type, name }] });
  const reply = await new Promise<Buffer | undefined>((resolve) => {
    setTimeout(() => resolve(undefined), waitMs).unref();
    socket.once("message", resolve);
    socket.send(query, port, "127.0.0.1");
  });
  socket.close();
  return reply === undefined ? undefined : decode(reply);
}

function code(packet: DecodedPacket | undefined): number {
  return (packet?.flags ?? 0) & 0x0f;
}

function data(packet: DecodedPacket | undefined): unknown[] {
  return (packet?.answers ?? []).map((answer: Answer) => (answer.type === "OPT" ? undefined : answer.data));
}

test("the DNS server answers from its zone", async (t) => {
  const server = new DnsServer(zone);
  const port = await server.listen("127.0.0.1", 0);
  t.teardown(() => server.close());

  const mx = await ask(port, "A.Example", "MX");
  t.equal(mx?.id, 77);
  t.strictSame(data(mx), [
    { preference: 10, exchange: "mx1.a.example" },
    { preference: 20, exchange: "mx2.a.example" },
  ]);
  t.strictSame(data(await ask(port, "mx1.a.example", "A")), ["127.10.0.1"]);
  t.strictSame(data(await ask(port, "mx1.a.example", "AAAA")), ["::1"]);
  t.strictSame(data(await ask(port, "alias.example", "A")), ["mx1.a.example", "127.10.0.1"], "a CNAME is followed");
  t.strictSame(data(await ask(port, "1.0.10.127.in-addr.arpa", "PTR")), ["mx1.a.example"]);
  t.strictSame(data(await ask(port, "null.example", "MX")), [{ preference: 0, exchange: "." }]);
  t.strictSame(data(await ask(port, "deep.down.tail.example", "MX")), [{ preference: 5, exchange: "mx1.a.example" }]);

  const noData = await ask(port, "own.tail.example", "MX");
  t.strictSame([code(noData), noData?.answers?.length, noData?.authorities?.[0]?.type], [0, 0, "SOA"], "no such type");
  const noName = await ask(port, "missing.example", "MX");
  t.strictSame([code(noName), noName?.authorities?.[0]?.type], [3, "SOA"], "no such name");
  t.equal(code(await ask(port, "broken.example", "MX")), 2);
  t.equal(await ask(port, "silent.example", "MX", 150), undefined);
});

test("an answer too long for UDP is cut there and whole over TCP", async (t) => {
  const server = new DnsServer(zone);
  const port = await server.listen("127.0.0.1", 0);
  t.teardown(() => server.close());
  const cut = await ask(port, "long.example", "TXT");
  t.equal((cut?.flags ?? 0) & 0x0200, 0x0200, "TC");
  t.equal(cut?.answers?.length, 0);

  const socket = createConnection({ host: "127.0.0.1", port });
  socket.write(streamEncode({ type: "query", id: 5, questions: [{ type: "TXT", name: "long.example" }] }));
  let bytes = Buffer.alloc(0);
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    if (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) break;
  }
  const [answer] = decode(bytes.subarray(2)).answers ?? [];
  t.equal(answer?.type === "TXT" ? Buffer.concat(answer.data as Buffer[]).length : 0, 700);
});

test("a busy port is exchanged for a free one", async (t) => {
  const first = new DnsServer(zone);
  const second = new DnsServer(zone);
  const port = await first.listen("127.0.0.1", 0);
  t.not(await second.listen("127.0.0.1", port), port);
  await Promise.all([first.close(), second.close()]);
});

test("an existing name hides the wildcard above it", async (t) => {
  t.ok(lookUp(zone, "any.tail.example"));
  t.notOk(lookUp(zone, "below.own.tail.example"));
  t.notOk(lookUp(zone, "tail.example"));
});
