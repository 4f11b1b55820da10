// Reading DNS responses, whatever comes.

import { decode, encode, type Packet } from "dns-packet";
import { test } from "tap";
import { answersQuestion, isValidName, normalName, readResponse } from "../../src/platform/dns-response.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const question = { name: "example.com", type: "MX" } as const;

function sample(): Buffer {
  return encode({
    type: "response",
    id: 1,
    flags: 1 << 7,
    questions: [{ type: "MX", name: "example.com" }],
    answers: [
      { type: "CNAME", name: "example.com", ttl: 60, data: "b.example.com" },
      { type: "MX", name: "b.example.com", ttl: 60, data: { preference: 1, exchange: "mx.example.com" } },
      { type: "TXT", name: "b.example.com", ttl: 60, data: [Buffer.from("v=spf1"), Buffer.from(" -all")] },
      { type: "A", name: "b.example.com", ttl: 60, data: "192.0.2.1" },
    ],
    authorities: [
      {
        type: "SOA",
        name: "example.com",
        ttl: 60,
        data: {
          mname: "ns.example.com",
          rname: "a.example.com",
          serial: 1,
          refresh: 1,
          retry: 1,
          expire: 1,
          minimum: 9,
        },
      },
    ],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize: 1232,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [{ code: 15, data: Buffer.from([0, 6, 65]) }],
      },
    ] as unknown as Packet["additionals"],
  });
}

test("a damaged response may be unreadable, but it never breaks the reader", (t) => {
  const random = new SeededRandom(20_260_101);
  const kinds = new Map<string, number>();
  const whole = sample();
  for (let run = 0; run < 20_000; run++) {
    const message = Buffer.from(whole);
    for (let n = random.integer(6); n >= 0; n--) message[random.integer(message.length)] = random.integer(256);
    const cut = random.integer(4) === 0 ? message.subarray(0, random.integer(message.length)) : message;
    let kind = "unreadable";
    let packet: ReturnType<typeof decode> | undefined;
    try {
      packet = decode(cut);
    } catch {}
    if (packet !== undefined) kind = answersQuestion(packet, question) ? readResponse(packet, question).kind : "other";
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  t.ok((kinds.get("found") ?? 0) > 500 && (kinds.get("unreadable") ?? 0) > 500, JSON.stringify([...kinds]));
  t.end();
});

test("the whole sample says what it should", (t) => {
  const packet = decode(sample());
  t.ok(answersQuestion(packet, question));
  t.same(readResponse(packet, question), {
    kind: "found",
    records: [{ preference: 1, exchange: "mx.example.com" }],
    ttlSeconds: 60,
  });
  t.same(readResponse(packet, { name: "example.com", type: "TXT" }), {
    kind: "found",
    records: ["v=spf1 -all"],
    ttlSeconds: 60,
  });
  t.same(readResponse(packet, { name: "example.com", type: "AAAA" }), { kind: "no-data", ttlSeconds: 9 });
  t.end();
});

test("names are compared in lower case without the final dot", (t) => {
  t.equal(normalName("MX.Example.COM."), "mx.example.com");
  t.equal(normalName("."), "");
  t.equal(isValidName("_dmarc.example.com"), true);
  t.equal(isValidName("example.com."), false);
  t.end();
});
