// Messages built ahead: one body for all, and a header section that names each.

import { type Chance, seededChance } from "../sink/chance.ts";
import { bodyMark } from "../sink/content-check.ts";
import type { LoadPlan } from "./load-plan.ts";

export interface MadeMessage {
  readonly benchId: string;
  readonly recipients: readonly string[];
  /** US-ASCII, with the empty line. */
  readonly header: string;
  readonly body: MadeBody;
}

/** A body that many messages share. */
export interface MadeBody {
  readonly bytes: number;
  /** Dot-stuffed, with the terminator (RFC 5321 section 4.1.1.4). */
  readonly stuffed: Buffer;
  /** X-Bench-Body. */
  readonly mark: string;
}

const words = "the quick brown fox jumps over a lazy dog while eleven wizards box five dozen liquor jugs".split(" ");
const lineCharactersMax = 70;

/** Returns a function that makes the message of a number; the same plan makes the same messages. */
export function messageMaker(plan: LoadPlan, date: string): (no: number) => MadeMessage {
  const chance = seededChance(plan.seed);
  const sizes = typeof plan.bodyBytes === "number" ? [{ bytes: plan.bodyBytes, weight: 1 }] : plan.bodyBytes;
  const bodies = sizes.map(({ bytes, weight }) => ({ item: makeBody(bytes, plan.dotLines, chance), weight }));
  const bodyOf = picker(bodies, chance);
  const domainOf = picker(
    plan.domains.map(({ domain, weight }) => ({ item: domain, weight })),
    chance,
  );
  const from = plan.reversePath === "" ? "nobody@localhost" : plan.reversePath;
  const senderDomain = from.slice(from.lastIndexOf("@") + 1);
  const stream = plan.stream === undefined ? "" : `X-Postern-Stream: ${plan.stream}\r\n`;

  return (no) => {
    const benchId = `${plan.runId}-${no}`;
    const recipients = Array.from({ length: plan.recipientsPerMessage }, (_, i) => `u${benchId}r${i}@${domainOf()}`);
    const body = bodyOf();
    const header =
      `Date: ${date}\r\nFrom: Postern load <${from}>\r\nTo: <${recipients[0]}>\r\n` +
      `Subject: Message ${no} of run ${plan.runId}\r\nMessage-ID: <${benchId}@${senderDomain}>\r\n${stream}` +
      `X-Bench-Id: ${benchId}\r\nX-Bench-Body: ${body.mark}\r\n` +
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n";
    return { benchId, recipients, header, body };
  };
}

/** About `bytes` octets of text in lines that end with CRLF. */
function makeBody(bytes: number, dotLines: boolean, chance: Chance): MadeBody {
  const lines: string[] = dotLines ? [".hidden line", ".\t", "..twice"] : [];
  let length = lines.reduce((sum, line) => sum + line.length + 2, 0);
  let line = "";
  while (length + line.length + 2 < bytes) {
    const word = words[Math.floor(chance() * words.length)] as string;
    if (line.length + word.length >= lineCharactersMax) {
      lines.push(line);
      length += line.length + 2;
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  const body = `${[...lines, line].join("\r\n")}\r\n`;
  return {
    bytes: body.length,
    stuffed: Buffer.from(`${body.replace(/^\./gm, "..")}.\r\n`, "latin1"),
    mark: bodyMark(Buffer.from(body, "latin1")),
  };
}

/** Draws an item in proportion to its weight. */
function picker<Item>(items: readonly { readonly item: Item; readonly weight: number }[], chance: Chance): () => Item {
  const [only, ...others] = items;
  if (only === undefined) throw new Error("nothing to draw from");
  if (others.length === 0) return () => only.item;
  const ends: number[] = [];
  let total = 0;
  for (const { weight } of items) {
    total += weight;
    ends.push(total);
  }
  return () => {
    const wanted = chance() * total;
    let low = 0;
    for (let high = ends.length - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if ((ends[middle] as number) > wanted) high = middle;
      else low = middle + 1;
    }
    return (items[low] ?? only).item;
  };
}
