// The stub resolver against a server that does all that servers do.

import { createSocket } from "node:dgram";
import type { Packet } from "dns-packet";
import { type Test, test } from "tap";
import type { Answer } from "../../src/core/dns.ts";
import { dayMs, hourMs, type Millis, secondMs } from "../../src/core/time.ts";
import { DnsResolver, type DnsResolverOptions, systemDnsServers } from "../../src/platform/dns-resolver.ts";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { SystemRandom } from "../../src/platform/system-random.ts";
import { type DnsQuery, FakeDnsServer, type Reply, respond, soa } from "../support/fake-dns-server.ts";

const truncated = 1 << 9;
const authenticData = 1 << 5;
const clock = new SystemClock();
const random = new SystemRandom();

async function serve(t: Test, reply: Reply): Promise<FakeDnsServer> {
  const server = await FakeDnsServer.start(reply);
  t.teardown(() => server.close());
  return server;
}

function resolverFor(
  servers: readonly { server: { host: string; port: number } }[],
  options: Partial<DnsResolverOptions> = {},
): DnsResolver {
  return new DnsResolver({ servers: servers.map(({ server }) => server), timeoutMs: 200, clock, random, ...options });
}

/** Milliseconds until the answer ends, rounded to the second, or NaN. */
function ttlOf(answer: Answer<unknown>): Millis {
  return answer.kind === "failed" ? Number.NaN : Math.round((answer.until - clock.now()) / secondMs) * secondMs;
}

const a = (name: string, data: string, ttl = 60) => ({ type: "A", name, ttl, data }) as const;
const cname = (name: string, data: string, ttl = 60) => ({ type: "CNAME", name, ttl, data }) as const;

test("each type is read as it should be", async (t) => {
  const answers: Record<string, Packet["answers"]> = {
    "MX example.com": [
      { type: "MX", name: "Example.COM", ttl: 300, data: { preference: 10, exchange: "MX.Example.com" } },
      { type: "MX", name: "example.com", ttl: 200, data: { preference: 0, exchange: "." } },
    ],
    "A example.com": [a("example.com", "192.0.2.1"), a("example.com", "192.0.2.2"), a("other.example", "192.0.2.9")],
    "AAAA example.com": [{ type: "AAAA", name: "example.com", ttl: 60, data: "2001:DB8:0::1" }],
    "TXT example.com": [
      { type: "TXT", name: "example.com", ttl: 60, data: [Buffer.from("v=spf1 "), Buffer.from("-all")] },
    ],
  };
  const server = await serve(t, (query) => [respond(query, { answers: answers[query.question] ?? [] })]);
  const resolver = resolverFor([server]);
  const mx = await resolver.mx("example.com");
  t.match(mx, {
    kind: "found",
    authentic: false,
    records: [
      { preference: 10, exchange: "mx.example.com" },
      { preference: 0, exchange: "" },
    ],
  });
  t.equal(ttlOf(mx), 200 * secondMs, "the smallest of the records");
  t.match(await resolver.a("example.com"), { kind: "found", records: ["192.0.2.1", "192.0.2.2"] });
  t.match(await resolver.aaaa("EXAMPLE.com."), { kind: "found", records: ["2001:db8::1"] });
  t.match(await resolver.txt("example.com"), { kind: "found", records: ["v=spf1 -all"] });
  t.ok(server.queries.every(({ hasEdns, transport }) => hasEdns && transport === "udp"));
});

test("ids and source ports differ from query to query", async (t) => {
  const server = await serve(t, (query) => [respond(query, { answers: [a("x.example", "192.0.2.1")] })]);
  const resolver = resolverFor([server]);
  await Promise.all(Array.from({ length: 20 }, () => resolver.a("x.example")));
  t.ok(new Set(server.queries.map(({ packet }) => packet.id)).size > 15);
  t.ok(new Set(server.queries.map(({ clientPort }) => clientPort)).size > 15);
});

test("a missing name and a missing type are different answers, kept as long as the SOA says", async (t) => {
  const replies: Record<string, (query: DnsQuery) => Buffer> = {
    "A gone.example": (query) => respond(query, { authorities: [soa(600, 120)] }, 3),
    "A empty.example": (query) => respond(query, { authorities: [soa(100, 900)] }),
    "A long.example": (query) => respond(query, { authorities: [soa(1e6, 1e6)] }, 3),
    "A short.example": (query) => respond(query, { authorities: [soa(0, 0)] }, 3),
    "A nosoa.example": (query) => respond(query),
    "A ever.example": (query) => respond(query, { answers: [a("ever.example", "192.0.2.1", 0x7fff_ffff)] }),
    "A wrong.example": (query) => respond(query, { answers: [a("wrong.example", "192.0.2.1", 0x8000_0000)] }),
  };
  const server = await serve(t, (query) => [replies[query.question]?.(query) ?? respond(query, {}, 2)]);
  const resolver = resolverFor([server]);
  const cases: [string, string, Millis][] = [
    ["gone.example", "no-name", 120 * secondMs],
    ["empty.example", "no-data", 100 * secondMs],
    ["long.example", "no-name", hourMs],
    ["short.example", "no-name", 5 * secondMs],
    ["nosoa.example", "no-data", 30 * secondMs],
    ["ever.example", "found", dayMs],
    ["wrong.example", "found", 5 * secondMs],
  ];
  for (const [name, kind, ttlMs] of cases) {
    const answer = await resolver.a(name);
    t.equal(answer.kind, kind, name);
    t.equal(ttlOf(answer), ttlMs, name);
  }
});

test("names that cannot exist are not asked for", async (t) => {
  const server = await serve(t, () => []);
  const resolver = resolverFor([server]);
  for (const name of [
    "",
    ".",
    "a..b",
    `${"x".repeat(64)}.example`,
    `${"x.".repeat(127)}xx`,
    "bücher.example",
    "a b.example",
  ]) {
    t.equal((await resolver.a(name)).kind, "no-name", JSON.stringify(name));
  }
  t.same(server.questions, []);
});

test("CNAMEs in an answer are followed, and the smallest time to live counts", async (t) => {
  const server = await serve(t, (query) => [
    respond(query, {
      answers: [
        cname("www.example", "B.example", 20),
        a("c.example", "192.0.2.3", 50),
        cname("b.example", "c.example", 90),
      ],
    }),
  ]);
  const answer = await resolverFor([server]).a("www.example");
  t.match(answer, { kind: "found", records: ["192.0.2.3"] });
  t.equal(ttlOf(answer), 20 * secondMs);
  t.equal(server.queries.length, 1);
});

test("an answer that stops at a CNAME is chased", async (t) => {
  const replies: Record<string, Partial<Packet>> = {
    "A www.example": { answers: [cname("www.example", "b.example", 40)] },
    "A b.example": { answers: [cname("b.example", "c.example", 70), a("c.example", "192.0.2.3", 50)] },
    "A half.example": { answers: [cname("half.example", "nothing.example", 40)] },
    "A nothing.example": { authorities: [soa(600, 300)] },
    "A told.example": { answers: [cname("told.example", "nothing.example", 40)], authorities: [soa(10, 10)] },
  };
  const server = await serve(t, (query) => [respond(query, replies[query.question])]);
  const resolver = resolverFor([server]);
  const answer = await resolver.a("www.example");
  t.match(answer, { kind: "found", records: ["192.0.2.3"] });
  t.equal(ttlOf(answer), 40 * secondMs);
  t.same(server.questions, ["A www.example", "A b.example"]);
  const half = await resolver.a("half.example");
  t.equal(half.kind, "no-data");
  t.equal(ttlOf(half), 40 * secondMs);
  t.equal((await resolver.a("told.example")).kind, "no-data");
  t.equal(server.questions.at(-1), "A told.example", "the SOA says that there is no more to find");
});

test("a CNAME that leads to a missing name is a missing name", async (t) => {
  const server = await serve(t, (query) => [
    respond(query, { answers: [cname("x.example", "gone.example", 8)], authorities: [soa(600, 300)] }, 3),
  ]);
  const answer = await resolverFor([server]).a("x.example");
  t.equal(answer.kind, "no-name");
  t.equal(ttlOf(answer), 8 * secondMs);
});

test("CNAME loops and chains without end fail, in one answer and over many", async (t) => {
  let made = 0;
  const server = await serve(t, (query) => {
    const name = query.question.slice(2);
    if (name === "self.example") return [respond(query, { answers: [cname(name, name)] })];
    if (name === "a.example") return [respond(query, { answers: [cname(name, "b.example")] })];
    if (name === "b.example") return [respond(query, { answers: [cname(name, "a.example")] })];
    return [respond(query, { answers: [cname(name, `n${made++}.example`)] })];
  });
  const resolver = resolverFor([server]);
  for (const name of ["self.example", "a.example", "endless.example"]) {
    t.same(await resolver.a(name), { kind: "failed", reason: "servfail" }, name);
  }
  t.ok(server.queries.length <= 1 + 9 + 9, String(server.queries.length));
});

test("guesses are not believed: wrong id, wrong question, a query, another port", async (t) => {
  const bad = { answers: [a("x.example", "192.0.2.66")] };
  const server = await serve(t, (query) => {
    const stranger = createSocket("udp4");
    stranger.send(respond(query, bad), query.clientPort, "127.0.0.1", () => stranger.close());
    return [
      respond(query, { ...bad, id: ((query.packet.id ?? 0) + 1) & 0xffff }),
      respond(query, { ...bad, questions: [{ type: "A", name: "y.example" }] }),
      respond(query, { ...bad, questions: [{ type: "AAAA", name: "x.example" }] }),
      respond(query, { ...bad, questions: [] }),
      respond(query, { ...bad, type: "query" }),
      Buffer.from("x"),
      respond(query, { answers: [a("x.example", "192.0.2.1")] }),
    ];
  });
  t.match(await resolverFor([server]).a("x.example"), { kind: "found", records: ["192.0.2.1"] });
});

test("500 MX records do not fit into a datagram and come over TCP", async (t) => {
  const answers = Array.from({ length: 500 }, (_, i) => ({
    type: "MX" as const,
    name: "big.example",
    ttl: 60,
    data: { preference: i, exchange: `mx${i}.big.example` },
  }));
  const server = await serve(t, (query) =>
    query.transport === "udp"
      ? [respond(query, { answers: answers.slice(0, 3) }, 0, truncated).subarray(0, 90)]
      : [respond(query, { answers })],
  );
  const answer = await resolverFor([server]).mx("big.example");
  t.equal(answer.kind === "found" && answer.records.length, 500);
  t.same(
    server.queries.map(({ transport }) => transport),
    ["udp", "tcp"],
  );
});

test("names in an answer may be compressed", async (t) => {
  const server = await serve(t, (query) => {
    const head = respond(query);
    head.writeUInt16BE(1, 6);
    // The owner is a pointer to the question's name; the exchange is `mx.` and the same pointer.
    const record = Buffer.from("c00c000f00010000003c00070005026d78c00c", "hex");
    return [Buffer.concat([head, record])];
  });
  t.match(await resolverFor([server]).mx("z.example"), {
    kind: "found",
    records: [{ preference: 5, exchange: "mx.z.example" }],
  });
});

test("a server in trouble gives way to the next, which is asked first from then on", async (t) => {
  const sick = await serve(t, (query) => [respond(query, {}, 2)]);
  const well = await serve(t, (query) => [respond(query, { answers: [a("x.example", "192.0.2.1")] })]);
  const resolver = resolverFor([sick, well]);
  t.equal((await resolver.a("x.example")).kind, "found");
  t.equal((await resolver.a("x.example")).kind, "found");
  t.equal(sick.queries.length, 1);
  t.equal(well.queries.length, 2);
});

test("servfail, refusal, rubbish and a referral are transient, and each server is asked once", async (t) => {
  const kinds: Record<string, (query: DnsQuery) => Buffer> = {
    "A servfail.example": (query) => respond(query, {}, 2),
    "A refused.example": (query) => respond(query, { questions: [] }, 5),
    "A rubbish.example": (query) => {
      const head = respond(query);
      head.writeUInt16BE(1, 6);
      return Buffer.concat([head, Buffer.from("c0ff00", "hex")]);
    },
    "A referral.example": (query) =>
      respond(query, { authorities: [{ type: "NS", name: "example", ttl: 60, data: "ns.example" }] }),
  };
  const server = await serve(t, (query) => [kinds[query.question]?.(query) ?? respond(query)]);
  const resolver = resolverFor([server]);
  for (const name of ["servfail.example", "refused.example", "rubbish.example", "referral.example"]) {
    t.same(await resolver.a(name), { kind: "failed", reason: "servfail" }, name);
  }
  t.equal(server.queries.length, 4);
});

test("a server that says that DNSSEC failed makes the answer bogus", async (t) => {
  const server = await serve(t, (query) => [
    respond(
      query,
      {
        additionals: [
          {
            type: "OPT",
            name: ".",
            udpPayloadSize: 1232,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options: [{ code: 15, data: Buffer.from([0, 7]) }],
          },
        ] as unknown as Packet["additionals"],
      },
      2,
    ),
  ]);
  t.same(await resolverFor([server]).a("x.example"), { kind: "failed", reason: "bogus" });
});

test("a server that does not know EDNS is asked without", async (t) => {
  const server = await serve(t, (query) =>
    query.hasEdns
      ? [respond(query, { questions: [] }, 1)]
      : [respond(query, { answers: [a("x.example", "192.0.2.1")] })],
  );
  t.equal((await resolverFor([server]).a("x.example")).kind, "found");
  t.same(
    server.queries.map(({ hasEdns }) => hasEdns),
    [true, false],
  );
});

test("AD from a loopback server is believed, and only if the whole chain has it", async (t) => {
  const server = await serve(t, (query) => {
    const name = query.question.slice(2);
    if (name === "signed.example") return [respond(query, { answers: [a(name, "192.0.2.1")] }, 0, authenticData)];
    return [respond(query, { answers: [cname(name, "signed.example")] })];
  });
  const resolver = resolverFor([server]);
  t.match(await resolver.a("signed.example"), { kind: "found", authentic: true });
  t.match(await resolver.a("alias.example"), { kind: "found", authentic: false });
  t.ok(server.queries[0]?.packet.flag_ad, "AD is asked for");
});

test("silence is a timeout, in bounded time", async (t) => {
  const server = await serve(t, () => []);
  const started = performance.now();
  t.same(await resolverFor([server], { timeoutMs: 60 }).a("x.example"), { kind: "failed", reason: "timeout" });
  const took = performance.now() - started;
  t.ok(took >= 115 && took < 1000, `${took} ms`);
  t.equal(server.queries.length, 2);
});

test("a lost datagram is sent again within the try, with the same id", async (t) => {
  let seen = 0;
  const server = await serve(t, (query) =>
    ++seen === 1 ? [] : [respond(query, { answers: [a("x.example", "192.0.2.1")] })],
  );
  t.equal((await resolverFor([server], { timeoutMs: 5000 }).a("x.example")).kind, "found");
  t.equal(server.queries[0]?.packet.id, server.queries[1]?.packet.id);
});

test("a port where nobody listens costs no waiting", async (t) => {
  const gone = await FakeDnsServer.start(() => []);
  const { server } = gone;
  gone.close();
  const well = await serve(t, (query) => [respond(query, { answers: [a("x.example", "192.0.2.1")] })]);
  const started = performance.now();
  t.equal((await resolverFor([{ server }, well], { timeoutMs: 5000 }).a("x.example")).kind, "found");
  t.same(await resolverFor([{ server }], { timeoutMs: 5000 }).a("x.example"), { kind: "failed", reason: "timeout" });
  t.ok(performance.now() - started < 2000);
});

test("a TCP server that closes, or is silent, does not hang the lookup", async (t) => {
  const server = await serve(t, (query) => (query.transport === "udp" ? [respond(query, {}, 0, truncated)] : []));
  t.equal((await resolverFor([server], { timeoutMs: 60 }).a("x.example")).kind, "failed");
});

test("more lookups than slots wait for their turn, and a dead server holds none of them for ever", async (t) => {
  let open = 0;
  let most = 0;
  const server = await serve(t, (query) => {
    most = Math.max(most, ++open);
    setImmediate(() => open--);
    return [respond(query, { answers: [a(query.question.slice(2), "192.0.2.1")] })];
  });
  const resolver = resolverFor([server], { timeoutMs: 3000 });
  const answers = await Promise.all(Array.from({ length: 1200 }, (_, i) => resolver.a(`n${i}.example`)));
  t.equal(answers.filter((answer) => answer.kind === "found").length, 1200);
  t.ok(most <= 512, String(most));

  server.reply = () => [];
  const dead = resolverFor([server], { timeoutMs: 100 });
  const started = performance.now();
  const failures = await Promise.all(Array.from({ length: 1200 }, (_, i) => dead.a(`n${i}.example`)));
  t.ok(failures.every((answer) => answer.kind === "failed" && answer.reason === "timeout"));
  t.ok(performance.now() - started < 2500, `${performance.now() - started} ms`);
});

test("close ends what is under way and what waits", async (t) => {
  const server = await serve(t, () => []);
  const resolver = resolverFor([server], { timeoutMs: 60_000 });
  const answers = Promise.all(Array.from({ length: 600 }, (_, i) => resolver.a(`n${i}.example`)));
  await new Promise((resolve) => setTimeout(resolve, 50));
  resolver.close();
  t.ok((await answers).every((answer) => answer.kind === "failed"));
  t.same(await resolver.a("later.example"), { kind: "failed", reason: "timeout" });
});

test("the system's servers are addresses with ports", (t) => {
  const servers = systemDnsServers();
  t.ok(servers.every(({ host, port }) => /^[\d.]+$|:/.test(host) && !host.startsWith("[") && port > 0 && port < 65536));
  t.end();
});
