// Whatever peers and the network do: the outcomes tell the truth about what the peer took responsibility for.

import { test } from "tap";
import { newQuirks, openConnection, type Work } from "../../src/delivery/delivery.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { RecordingFeed, specOf, testTimeouts, workOf } from "../support/lane-work.ts";
import { type Answer, type PeerBehaviour, SimNetwork } from "../support/scripted-peer.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock } from "../support/sim-clock.ts";

const keywords = ["PIPELINING", "CHUNKING", "8BITMIME", "SIZE", "ENHANCEDSTATUSCODES", "LIMITS RCPTMAX=2"];
const bodies = [
  "A: 1\r\n\r\nshort\r\n",
  ".\r\n..\r\n.",
  "",
  `${"y".repeat(500)}\r\n`.repeat(40),
  `${"z".repeat(900)}\r\n`.repeat(700),
];

function pick<Item>(items: readonly Item[], random: SeededRandom): Item {
  return items[random.integer(items.length)] as Item;
}

/** A peer with a random temper. It stays honest: what it answers is what it does. */
function temper(random: SeededRandom): PeerBehaviour {
  const trouble = random.next() < 0.5 ? 0 : 0.15;
  const answers: readonly Answer[] = [
    "450 4.2.0 later",
    "550 5.1.1 no",
    "452 4.5.3 too many recipients",
    "421 4.3.2 closing",
    { reply: "421 4.3.2 closing", ending: "close" },
    { reply: "", ending: "close" },
    { reply: "", ending: "reset" },
    { reply: "554 5.7.1 go away", ending: "close" },
    { reply: "", ending: "hang" },
    "354 odd",
    "250 2.0.0 fine",
    "550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three",
  ];
  const cuts = random.next();
  return {
    extensions: keywords.filter(() => random.next() < 0.6),
    answer: (line) => {
      if (!/^(MAIL|RCPT|DATA|RSET)/.test(line) || random.next() >= trouble) return undefined;
      return pick(answers, random);
    },
    verdict: () => {
      if (random.next() >= trouble * 2) return undefined;
      return pick([...answers, { reply: "250 2.0.0 ok", ending: "close" } as const], random);
    },
    cutBy: random.next() < 0.5 ? "close" : "reset",
    ...(cuts < 0.15 ? { cutAfterClientBytes: random.integer(3_000) } : {}),
    ...(cuts > 0.85 ? { cutAfterPeerBytes: 120 + random.integer(500) } : {}),
    losesPipelined: random.next() < 0.05,
  };
}

async function scenario(seed: number): Promise<string | undefined> {
  const random = new SeededRandom(seed);
  const clock = new SimClock();
  const network = new SimNetwork(random.next() < 0.5 ? random : undefined);
  network.receivers.set("192.0.2.1", temper(random));
  const work: Work[] = [];
  for (let i = 0; i < 6; i++) {
    const to = Array.from({ length: 1 + random.integer(5) }, (_, n) => `w${i}r${n}@b.example`);
    work.push(workOf({ to, content: pick(bodies, random), isDamaged: random.next() < 0.03 }));
  }
  const feed = new RecordingFeed(work);
  const options = { timeouts: testTimeouts, isAllowedAddress: () => true, quirks: newQuirks(clock) };
  const spec = specOf({ messagesMax: 1 + random.integer(8), recipientsPerMessageMax: 1 + random.integer(5) });
  openConnection({ clock, random, network, log: silentLog }, options, spec, feed);
  for (let turns = 0; !feed.isClosed; turns++) {
    if (turns > 3_000) return "the connection does not end";
    await clock.advance(turns < 300 ? 0 : 5_000);
  }
  await clock.advance(60 * 60_000);
  if (clock.pendingTimers !== 0) return "a timer is left behind";
  return judge(feed, network);
}

/** What is wrong, or undefined. */
function judge(feed: RecordingFeed, network: SimNetwork): string | undefined {
  const copies = new Map<string, number>();
  for (const message of network.delivered) {
    for (const rcpt of message.rcpts) {
      const address = /<(.*)>/.exec(rcpt)?.[1] ?? "";
      copies.set(address, (copies.get(address) ?? 0) + 1);
    }
  }
  for (const work of feed.given) {
    const result = feed.results.get(work);
    if (result === undefined) return "work was taken and never settled";
    for (const [position, index] of work.pending.entries()) {
      const address = work.entry.recipients[index]?.forwardPath ?? "";
      const count = copies.get(address) ?? 0;
      const outcome = result.kind === "returned" ? "returned" : result.outcomes[position]?.kind;
      if (count > 1) return `${address} has ${count} copies`;
      if (outcome === "delivered" && count === 0) return `${address} is lost: said to be delivered`;
      if (outcome !== "delivered" && outcome !== "unknown" && count > 0)
        return `${address}: ${outcome}, yet it was taken`;
    }
  }
  for (const message of network.delivered) {
    const sent = [...feed.given].find((work) =>
      message.rcpts[0]?.includes(work.entry.recipients[0]?.forwardPath.split("r")[0] as string),
    );
    const content = sent === undefined ? undefined : Buffer.concat([...wholeContent(sent)]).toString("latin1");
    if (message.content !== content && message.content !== `${content}\r\n`) return "the content was changed";
  }
  return undefined;
}

function wholeContent(work: Work): Buffer[] {
  const chunks: Buffer[] = [];
  try {
    for (const chunk of work.content()) chunks.push(chunk);
  } catch {
    // Damaged: it must not have been delivered at all.
    return [Buffer.from("damaged")];
  }
  return chunks;
}

test("outcomes agree with what the peer took, in many random worlds", async (t) => {
  for (let seed = 1; seed <= 300; seed++) {
    const wrong = await scenario(seed);
    if (wrong !== undefined) t.fail(`seed ${seed}: ${wrong}`);
  }
  t.pass();
});

test("a connection cut at any place from either side never loses or doubles a message", async (t) => {
  for (const extensions of [["8BITMIME"], ["PIPELINING"], ["PIPELINING", "CHUNKING"]]) {
    for (const side of ["cutAfterClientBytes", "cutAfterPeerBytes"] as const) {
      for (let at = 0; at < 600; at += side === "cutAfterPeerBytes" ? 2 : 3) {
        const clock = new SimClock();
        const network = new SimNetwork();
        network.receivers.set("192.0.2.1", { extensions, [side]: at, cutBy: at % 2 === 0 ? "close" : "reset" });
        const work = [0, 1, 2].map((i) => workOf({ to: [`w${i}r0@b.example`, `w${i}r1@b.example`] }));
        const feed = new RecordingFeed(work);
        const options = { timeouts: testTimeouts, isAllowedAddress: () => true, quirks: newQuirks(clock) };
        openConnection({ clock, random: new SeededRandom(1), network, log: silentLog }, options, specOf(), feed);
        for (let turns = 0; !feed.isClosed; turns++) await clock.advance(turns < 100 ? 0 : 5_000);
        const wrong = judge(feed, network);
        if (wrong !== undefined) t.fail(`${extensions.join(" ")}, ${side} ${at}: ${wrong}`);
      }
    }
  }
  t.pass();
});
