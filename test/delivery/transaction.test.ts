// The dialogue of mail transactions, against receivers that behave and that do not.

import { type Test, test } from "tap";
import type { Work } from "../../src/delivery/delivery.ts";
import { newQuirks, openConnection } from "../../src/delivery/delivery.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { RecordingFeed, specOf, testTimeouts, workOf } from "../support/lane-work.ts";
import { type PeerBehaviour, type PeerSession, SimNetwork } from "../support/scripted-peer.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock } from "../support/sim-clock.ts";

interface Run {
  readonly feed: RecordingFeed;
  readonly network: SimNetwork;
  readonly session: PeerSession;
  readonly clock: SimClock;
}

/** Runs the work over connections to one receiver until the connection is over; idle ends after `idleMs`. */
async function deliver(
  behaviour: PeerBehaviour,
  work: readonly Work[],
  spec: Parameters<typeof specOf>[0] = {},
  parts: { quirks?: ReturnType<typeof newQuirks>; clock?: SimClock; cuts?: number } = {},
): Promise<Run> {
  const clock = parts.clock ?? new SimClock();
  const random = new SeededRandom(parts.cuts ?? 1);
  const network = new SimNetwork(parts.cuts === undefined ? undefined : random);
  network.receivers.set("192.0.2.1", behaviour);
  const feed = new RecordingFeed(work);
  const options = {
    timeouts: testTimeouts,
    isAllowedAddress: () => true,
    quirks: parts.quirks ?? newQuirks(clock),
  };
  feed.connection = openConnection({ clock, random, network, log: silentLog }, options, specOf(spec), feed);
  for (let turns = 0; !feed.isClosed; turns++) {
    if (turns > 10_000) throw new Error("the connection does not end");
    await clock.advance(turns < 200 ? 0 : 1_000);
  }
  return { feed, network, session: network.sessions[0] as PeerSession, clock };
}

const pipelining = ["PIPELINING", "8BITMIME", "SIZE 10000000", "ENHANCEDSTATUSCODES"];
const chunking = [...pipelining, "CHUNKING"];
const modes: readonly (readonly [string, readonly string[]])[] = [
  ["step by step", ["8BITMIME"]],
  ["with PIPELINING", pipelining],
  ["with CHUNKING", chunking],
  ["with CHUNKING alone", ["CHUNKING"]],
];

/** The verdict for a verb; others get the usual answer. */
function refusing(verb: string, reply: string, extensions: readonly string[]): PeerBehaviour {
  if (verb === ".") return { extensions, verdict: () => reply };
  return { extensions, answer: (line) => (line.startsWith(verb) ? reply : undefined) };
}

for (const [name, extensions] of modes) {
  test(`${name} every message arrives whole, once, in order`, async (t) => {
    const work = [
      workOf({ content: "A: 1\r\n\r\none\r\n" }),
      workOf({ content: "A: 2\r\n\r\n.two\r\n..\r\n.\r\n", to: ["x@b.example", "y@b.example"] }),
      workOf({ content: ["A: 3\r\n\r\nthr", "ee\r", "\n.end\r\n"], addedHeaders: "DKIM-Signature: v=1\r\n" }),
    ];
    const { feed, session } = await deliver({ extensions }, work, {}, { cuts: 7 });
    t.same(
      work.map((each) => feed.outcomes(each)),
      [["delivered"], ["delivered", "delivered"], ["delivered"]],
    );
    t.same(
      session.delivered.map((message) => message.content),
      [
        "A: 1\r\n\r\none\r\n",
        "A: 2\r\n\r\n.two\r\n..\r\n.\r\n",
        "DKIM-Signature: v=1\r\nA: 3\r\n\r\nthree\r\n.end\r\n",
      ],
    );
    t.equal(session.delivered[1]?.rcpts.length, 2);
    t.equal(session.commands.at(-1), "QUIT");
    t.equal(feed.log.at(-1), "closed");
    t.equal(session.commands.includes("RSET"), false, "RSET is for failed transactions only");
  });

  for (const [verb, stage] of [
    ["MAIL", "mail"],
    ["RCPT", "rcpt"],
    ["DATA", "data"],
    [".", "final-dot"],
  ] as const) {
    if (verb === "DATA" && extensions.includes("CHUNKING")) continue;
    test(`${name} a refusal at ${verb} is the outcome, and the next message goes through`, async (t) => {
      for (const [reply, kind] of [
        ["450 4.2.0 later", "transient"],
        ["550 5.7.1 no", "permanent"],
      ] as const) {
        let seen = 0;
        const behaviour = refusing(verb, reply, extensions);
        const work = [workOf(), workOf(), workOf()];
        const once: PeerBehaviour = {
          extensions,
          answer: (line, session) => {
            const answer = behaviour.answer?.(line, session);
            return answer !== undefined && seen++ === 1 ? answer : undefined;
          },
          verdict: (message, session) => {
            const answer = behaviour.verdict?.(message, session);
            return answer !== undefined && seen++ === 1 ? answer : undefined;
          },
        };
        const { feed, session } = await deliver(once, work);
        t.same(
          work.map((each) => feed.outcomes(each)[0]),
          ["delivered", `${kind} ${stage} ${reply.slice(0, 3)}`, "delivered"],
          reply,
        );
        t.equal(session.delivered.length, 2);
      }
    });

    test(`${name} a 421 at ${verb} ends the session without losing anybody`, async (t) => {
      const work = [workOf({ to: ["a@b.example", "c@b.example"] }), workOf()];
      const { feed, session } = await deliver(refusing(verb, "421 4.3.2 closing", extensions), work);
      const outcomes = feed.outcomes(work[0] as Work);
      t.same(outcomes, [`transient ${stage} 421`, `transient ${stage} 421`]);
      const second = feed.outcomes(work[1] as Work)[0];
      t.ok(second === "unsettled" || second === "returned", `the second is as if never tried: ${second}`);
      t.equal(session.hasClientClosed, true);
    });
  }

  test(`${name} each recipient has its own answer`, async (t) => {
    const behaviour: PeerBehaviour = {
      extensions,
      answer: (line) =>
        line.includes("bad@") ? "550 5.1.1 unknown" : line.includes("slow@") ? "450 4.2.1 greylisted" : undefined,
    };
    const work = [workOf({ to: ["bad@b.example", "good@b.example", "slow@b.example"] }), workOf()];
    const { feed, session } = await deliver(behaviour, work);
    t.same(feed.outcomes(work[0] as Work), ["permanent rcpt 550", "delivered", "transient rcpt 450"]);
    t.same(feed.outcomes(work[1] as Work), ["delivered"]);
    t.same(session.delivered[0]?.rcpts, ["RCPT TO:<good@b.example>"]);
  });

  test(`${name} a message that no recipient wanted is not sent, and the next one is`, async (t) => {
    const behaviour: PeerBehaviour = {
      extensions,
      answer: (line) => (line.includes("bad") ? "550 5.1.1 unknown" : undefined),
    };
    const work = [workOf(), workOf({ to: ["bad1@b.example", "bad2@b.example"] }), workOf()];
    const { feed, session } = await deliver(behaviour, work);
    t.same(
      work.map((each) => feed.outcomes(each)[0]),
      ["delivered", "permanent rcpt 550", "delivered"],
    );
    t.equal(session.delivered.length, 2);
  });

  test(`${name} more recipients than a message may have go in several transactions`, async (t) => {
    const to = Array.from({ length: 7 }, (_, i) => `r${i}@b.example`);
    const work = [workOf({ to }), workOf()];
    const { feed, session } = await deliver({ extensions }, work, { recipientsPerMessageMax: 3 });
    t.same(
      feed.outcomes(work[0] as Work),
      to.map(() => "delivered"),
    );
    t.same(
      session.delivered.map((message) => message.rcpts.length),
      [3, 3, 1, 1],
    );
  });

  test(`${name} recipients beyond the peer's limit follow at once, and count as tried once`, async (t) => {
    const to = Array.from({ length: 8 }, (_, i) => `r${i}@b.example`);
    let count = 0;
    const behaviour: PeerBehaviour = {
      extensions,
      answer: (line) => {
        if (line.startsWith("MAIL")) count = 0;
        return line.startsWith("RCPT") && ++count > 3 ? "452 4.5.3 Too many recipients" : undefined;
      },
    };
    const work = [workOf({ to }), workOf()];
    const { feed, session } = await deliver(behaviour, work);
    t.same(
      feed.outcomes(work[0] as Work),
      to.map(() => "delivered"),
    );
    const recipients = session.delivered.flatMap((message) => message.rcpts);
    t.same(new Set(recipients).size, 9);
    t.equal(recipients.length, 9, "nobody gets it twice");
    t.same(feed.outcomes(work[1] as Work), ["delivered"]);
  });

  test(`${name} a full mailbox with the same code is not taken for too many recipients`, async (t) => {
    const behaviour: PeerBehaviour = {
      extensions,
      answer: (line) => (line.includes("full@") ? "452 4.2.2 mailbox full" : undefined),
    };
    const work = [workOf({ to: ["a@b.example", "full@b.example"] })];
    const { feed } = await deliver(behaviour, work);
    t.same(feed.outcomes(work[0] as Work), ["delivered", "transient rcpt 452"]);
  });

  test(`${name} a connection that is lost after the whole content leaves the outcome unknown`, async (t) => {
    for (const ending of ["close", "reset"] as const) {
      const work = [workOf({ to: ["bad@b.example", "a@b.example"] })];
      const { feed, session } = await deliver(
        {
          extensions,
          answer: (line) => (line.includes("bad@") ? "550 5.1.1 unknown" : undefined),
          verdict: () => ({ reply: "", ending }),
        },
        work,
      );
      t.same(feed.outcomes(work[0] as Work), ["permanent rcpt 550", "unknown final-dot"]);
      t.equal(session.delivered.length, 1);
    }
  });

  test(`${name} silence after the whole content ends at the deadline as unknown`, async (t) => {
    const work = [workOf()];
    const { feed, clock } = await deliver({ extensions, verdict: () => ({ reply: "", ending: "hang" }) }, work);
    t.same(feed.outcomes(work[0] as Work), ["unknown final-dot"]);
    const waited = clock.monotonicMs();
    t.ok(waited >= testTimeouts.finalDotMs && waited < testTimeouts.finalDotMs + 10_000, `waited ${waited} ms`);
  });

  test(`${name} damaged content is never completed`, async (t) => {
    const work = [workOf({ content: "A: 1\r\n\r\nhalf of it", isDamaged: true }), workOf()];
    const { feed, session } = await deliver({ extensions }, work);
    t.same(feed.outcomes(work[0] as Work), ["transient damaged-content"]);
    t.equal(session.delivered.filter((message) => message.content.includes("half")).length, 0);
    if (feed.outcomes(work[1] as Work)[0] !== "unsettled") t.same(feed.outcomes(work[1] as Work), ["delivered"]);
  });

  test(`${name} damage in the midst of large content cuts the connection`, async (t) => {
    const chunk = `${"x".repeat(70)}\r\n`.repeat(900);
    const work = [workOf({ content: new Array(12).fill(chunk), isDamaged: true })];
    const { feed, session } = await deliver({ extensions }, work);
    t.same(feed.outcomes(work[0] as Work), ["transient damaged-content"]);
    t.equal(session.delivered.length, 0);
    t.equal(session.hasClientClosed, true);
  });

  test(`${name} large content arrives whole`, async (t) => {
    const chunk = `.${"x".repeat(70)}\r\n`.repeat(900);
    const work = [workOf({ content: new Array(12).fill(chunk) }), workOf()];
    const { feed, session } = await deliver({ extensions }, work);
    t.same(feed.outcomes(work[0] as Work), ["delivered"]);
    t.ok(session.delivered[0]?.content === chunk.repeat(12));
    t.same(feed.outcomes(work[1] as Work), ["delivered"]);
  });
}

test("with PIPELINING the envelope of the next message goes in the write of the final dot", async (t) => {
  const work = [workOf(), workOf(), workOf()];
  const { session } = await deliver({ extensions: pipelining }, work);
  const flights = session.writes.map((write) => write.replace(/\r\n/g, "|"));
  t.match(flights[1], /^MAIL [^|]*\|RCPT [^|]*\|DATA\|$/);
  t.match(flights[2], /^Subject.*\|\.\|MAIL [^|]*\|RCPT [^|]*\|DATA\|$/);
  t.match(flights[3], /^Subject.*\|\.\|MAIL [^|]*\|RCPT [^|]*\|DATA\|$/);
  t.match(flights[4], /^Subject.*\|\.\|$/);
  t.equal(flights[5], "QUIT|");
});

test("with CHUNKING the first message is one write, and the next envelope is in it", async (t) => {
  const work = [workOf(), workOf()];
  const { session } = await deliver({ extensions: chunking }, work);
  const flights = session.writes.map((write) => write.replace(/\r\n/g, "|"));
  t.match(flights[1], /^MAIL [^|]*\|RCPT [^|]*\|BDAT 21 LAST\|Subject.*Hello\|MAIL [^|]*\|RCPT [^|]*\|$/);
  t.match(flights[2], /^BDAT 21 LAST\|Subject.*Hello\|$/);
});

/** Ends the connection just when work comes after a rest of so long; returns what became of the work. */
async function lostAfterRest(t: Test, restMs: number): Promise<readonly string[]> {
  const clock = new SimClock();
  const network = new SimNetwork();
  network.receivers.set("192.0.2.1", { extensions: chunking });
  const feed = new RecordingFeed();
  const ports = { clock, random: new SeededRandom(1), network, log: silentLog };
  const options = {
    timeouts: { ...testTimeouts, idleMs: 10_000 },
    isAllowedAddress: () => true,
    quirks: newQuirks(clock),
  };
  const connection = openConnection(ports, options, specOf(), feed);
  for (let i = 0; i < 20; i++) await clock.advance(0);
  t.equal(connection.state, "idle");
  await clock.advance(restMs);
  t.equal(connection.state, "idle", "it rests still");
  const session = network.sessions[0] as PeerSession;
  session.end("close");
  const work = workOf();
  feed.waiting.push(work);
  connection.wake();
  for (let i = 0; i < 20; i++) await clock.advance(0);
  t.equal(feed.isClosed, true);
  t.same(feed.closings, []);
  t.equal(clock.pendingTimers, 0, "no timer is left behind");
  return feed.outcomes(work);
}

test("after a long rest the content waits for the envelope's replies, lest it be lost with a connection long gone", async (t) => {
  t.same(await lostAfterRest(t, 6_000), ["returned"]);
});

test("after a short rest the content goes with the envelope", async (t) => {
  t.same(await lostAfterRest(t, 3_000), ["unknown final-dot"]);
});

test("a 354 for nobody is answered with a lone dot, and the session goes on", async (t) => {
  const behaviour: PeerBehaviour = {
    extensions: pipelining,
    answer: (line) => (line.includes("bad@") ? "550 5.1.1 unknown" : line === "DATA" ? "354 go" : undefined),
  };
  const work = [workOf({ to: ["bad@b.example"] }), workOf()];
  const { feed, session } = await deliver(behaviour, work);
  t.same(feed.outcomes(work[0] as Work), ["permanent rcpt 550"]);
  t.same(feed.outcomes(work[1] as Work), ["delivered"]);
  t.equal(session.delivered.length, 1);
});

test("a refused BDAT is followed by RSET, and what was sent behind it is sent again", async (t) => {
  let seen = 0;
  const work = [workOf(), workOf(), workOf()];
  const { feed, session } = await deliver(
    { extensions: chunking, verdict: () => (++seen === 1 ? "554 5.7.1 spam" : undefined) },
    work,
  );
  t.same(
    work.map((each) => feed.outcomes(each)[0]),
    ["permanent final-dot 554", "delivered", "delivered"],
  );
  t.same(session.commands.map((line) => line.split(" ")[0]).slice(1), [
    ...["MAIL", "RCPT", "BDAT", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "BDAT", "MAIL", "RCPT", "BDAT", "QUIT"],
  ]);
});

test("a peer that takes BDAT content for commands bounces nobody, and gets DATA from then on", async (t) => {
  for (const extensions of [chunking, ["CHUNKING", "8BITMIME"]]) {
    const clock = new SimClock();
    const quirks = newQuirks(clock);
    const behaviour: PeerBehaviour = {
      extensions,
      answer: (line) => (line.startsWith("BDAT") ? "500 5.5.1 unknown command" : undefined),
    };
    const work = [workOf(), workOf()];
    const { feed, session } = await deliver(behaviour, work, {}, { clock, quirks });
    t.same(feed.outcomes(work[0] as Work), ["transient data"]);
    t.match(feed.outcomes(work[1] as Work)[0], /^(returned|unsettled)$/, "the next is as if never tried");
    t.equal(session.delivered.length, 0);
    const again = [workOf(), workOf()];
    const second = await deliver(behaviour, again, {}, { clock, quirks });
    t.same(
      again.map((each) => second.feed.outcomes(each)[0]),
      ["delivered", "delivered"],
    );
    t.equal(
      second.session.commands.some((line) => line.startsWith("BDAT")),
      false,
    );
  }
});

test("a peer that loses pipelined commands is spoken to step by step after two failures", async (t) => {
  const clock = new SimClock();
  const quirks = newQuirks(clock);
  const outcomes: (string | undefined)[] = [];
  for (let round = 0; round < 3; round++) {
    const work = [workOf()];
    const { feed } = await deliver({ extensions: pipelining, losesPipelined: true }, work, {}, { clock, quirks });
    outcomes.push(feed.outcomes(work[0] as Work)[0]);
  }
  t.same(outcomes, ["transient rcpt", "transient rcpt", "delivered"]);
});

test("a peer that refuses pipelined commands by 503 is spoken to step by step at once", async (t) => {
  let lastWrite = 0;
  const behaviour: PeerBehaviour = {
    extensions: pipelining,
    answer: (line, session) => {
      const isAlone = session.writes.length !== lastWrite;
      lastWrite = session.writes.length;
      return isAlone || line === "QUIT" ? undefined : "503 5.5.0 improper command pipelining";
    },
  };
  const work = [workOf(), workOf()];
  const { feed } = await deliver(behaviour, work);
  t.same(
    work.map((each) => feed.outcomes(each)[0]),
    ["delivered", "delivered"],
  );
});

test("what a peer can never take is refused without an octet sent", async (t) => {
  const cases: [string, readonly string[], Parameters<typeof workOf>[0]][] = [
    ["8bitmime", ["PIPELINING"], { envelope: { body: "8bitmime" } }],
    ["smtputf8", ["PIPELINING", "8BITMIME"], { envelope: { smtpUtf8: true } }],
    ["message-size", ["SIZE 20"], {}],
    ["require-tls", ["REQUIRETLS"], { envelope: { requireTls: true } }],
  ];
  for (const [rule, extensions, parts] of cases) {
    const work = [workOf({ ...parts, to: ["a@b.example", "c@b.example"] }), workOf({ content: "" })];
    const { feed, session } = await deliver({ extensions }, work);
    t.same(feed.outcomes(work[0] as Work), [`permanent ${rule}`, `permanent ${rule}`]);
    t.same(feed.outcomes(work[1] as Work), ["delivered"]);
    t.equal(session.commands.filter((line) => line.startsWith("MAIL")).length, 1);
  }
});

test("parameters go out when the peer offers them", async (t) => {
  const parts: Parameters<typeof workOf>[0] = {
    envelope: { body: "8bitmime", ret: "hdrs", envid: "QQ+1", requireTls: true },
    recipient: { notify: ["success", "failure"], orcpt: "rfc822;a+b@b.example" },
  };
  const offered = ["STARTTLS", "SIZE", "8BITMIME", "DSN", "REQUIRETLS"];
  const { session } = await deliver({ extensions: offered }, [workOf(parts)]);
  const mail = session.commands.find((line) => line.startsWith("MAIL"));
  t.equal(mail, "MAIL FROM:<s@example.org> SIZE=21 BODY=8BITMIME REQUIRETLS RET=HDRS ENVID=QQ+2B1");
  const rcpt = session.commands.find((line) => line.startsWith("RCPT"));
  t.equal(rcpt, "RCPT TO:<a@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@b.example");
});

test("a session ends after its share of messages, ours or the peer's", async (t) => {
  const many = () => Array.from({ length: 5 }, () => workOf());
  const ours = await deliver({ extensions: pipelining }, many(), { messagesMax: 3 });
  t.equal(ours.session.delivered.length, 3);
  t.equal(ours.session.commands.at(-1), "QUIT");
  const theirs = await deliver({ extensions: [...pipelining, "LIMITS MAILMAX=2 RCPTMAX=1"] }, many());
  t.equal(theirs.session.delivered.length, 2);
  t.equal(theirs.feed.waiting.length, 3);
});

test("content without a last line end gets one in DATA and none in BDAT", async (t) => {
  const byData = await deliver({ extensions: pipelining }, [workOf({ content: "A: 1\r\n\r\nend" })]);
  t.equal(byData.session.delivered[0]?.content, "A: 1\r\n\r\nend\r\n");
  const byChunk = await deliver({ extensions: chunking }, [workOf({ content: "A: 1\r\n\r\nend" })]);
  t.equal(byChunk.session.delivered[0]?.content, "A: 1\r\n\r\nend");
});

test("content that is shorter or longer than it should be counts as damaged", async (t) => {
  for (const contentBytes of [20, 22]) {
    const work = [workOf({ contentBytes })];
    const { feed, session } = await deliver({ extensions: pipelining }, work);
    t.same(feed.outcomes(work[0] as Work), ["transient damaged-content"]);
    t.equal(session.delivered.length, 0);
  }
});

test("an envelope sent ahead is as if never sent when the connection ends at the final dot before it", async (t) => {
  const work = [workOf(), workOf()];
  const { feed } = await deliver(
    { extensions: pipelining, verdict: () => ({ reply: "250 ok", ending: "close" }) },
    work,
  );
  t.same(
    work.map((each) => feed.outcomes(each)[0]),
    ["delivered", "returned"],
  );
});

test("a peer that refuses large content before its end is believed", async (t) => {
  const chunk = `${"x".repeat(70)}\r\n`.repeat(900);
  const work = [workOf({ content: new Array(12).fill(chunk) })];
  const { feed } = await deliver(
    {
      extensions: ["PIPELINING"],
      neverDrains: true,
      answer: (line, session) => {
        if (line !== "DATA") return undefined;
        session.sendRaw("354 go\r\n552 5.3.4 too big\r\n");
        return "";
      },
    },
    work,
  );
  t.match(feed.outcomes(work[0] as Work)[0], /^(permanent final-dot 552|transient data)$/);
});

test("a peer that takes no content any more is given up at the block's deadline", async (t) => {
  const chunk = `${"x".repeat(70)}\r\n`.repeat(900);
  const work = [workOf({ content: new Array(12).fill(chunk) })];
  const { feed, clock } = await deliver({ extensions: pipelining, neverDrains: true }, work);
  t.same(feed.outcomes(work[0] as Work), ["transient data"]);
  t.ok(clock.monotonicMs() >= testTimeouts.blockMs && clock.monotonicMs() < testTimeouts.blockMs + 10_000);
});
