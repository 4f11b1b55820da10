// Messages built ahead: one body for all, and a header section that names each.

import { type Chance, seededChance } from "../sink/chance.ts";
import { bodyMark } from "../sink/content-check.ts";
import type { LoadPlan } from "./load-plan.ts";

export interface MadeMessage {
  readonly benchId: string;
  readonly recipients: readonly string[];
  readonly header: Buffer;
  /** Dot-stuffed, with the terminator (RFC 5321 section 4.1.1.4). */
  readonly stuffedBody: Buffer;
}

const words = "the quick brown fox jumps over a lazy dog while eleven wizards box five dozen liquor jugs".split(" ");
const lineCharactersMax = 70;

/** Returns a function that makes the message of a number; the same plan makes the same messages. */
export function messageMaker(plan: LoadPlan, date: string): (no: number) => MadeMessage {
  const chance = seededChance(plan.seed);
  const body = makeBody(plan.bodyBytes, plan.dotLines, chance);
  const stuffedBody = Buffer.from(`${body.replace(/^\./gm, "..")}.\r\n`, "latin1");
  const mark = bodyMark(Buffer.from(body, "latin1"));
  const domainOf = domainPicker(plan.domains, chance);
  const from = plan.reversePath === "" ? "nobody@localhost" : plan.reversePath;
  const senderDomain = from.slice(from.lastIndexOf("@") + 1);
  const stream = plan.stream === undefined ? "" : `X-Postern-Stream: ${plan.stream}\r\n`;

  return (no) => {
    const benchId = `${plan.runId}-${no}`;
    const recipients = Array.from({ length: plan.recipientsPerMessage }, (_, i) => `u${benchId}r${i}@${domainOf()}`);
    const header =
      `Date: ${date}\r\nFrom: Postern load <${from}>\r\nTo: <${recipients[0]}>\r\n` +
      `Subject: Message ${no} of run ${plan.runId}\r\nMessage-ID: <${benchId}@${senderDomain}>\r\n${stream}` +
      `X-Bench-Id: ${benchId}\r\nX-Bench-Body: ${mark}\r\n` +
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n";
    return { benchId, recipients, header: Buffer.from(header, "latin1"), stuffedBody };
  };
}

/** About `bytes` octets of text in lines that end with CRLF. */
function makeBody(bytes: number, dotLines: boolean, chance: Chance): string {
  let body = dotLines ? ".hidden line\r\n.\t\r\n..twice\r\n" : "";
  let line = "";
  while (body.length + line.length + 2 < bytes) {
    const word = words[Math.floor(chance() * words.length)] as string;
    if (line.length + word.length >= lineCharactersMax) {
      body += `${line}\r\n`;
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return `${body}${line}\r\n`;
}

function domainPicker(domains: LoadPlan["domains"], chance: Chance): () => string {
  const total = domains.reduce((sum, { weight }) => sum + weight, 0);
  return () => {
    let left = chance() * total;
    for (const { domain, weight } of domains) {
      left -= weight;
      if (left < 0) return domain;
    }
    return domains.at(-1)?.domain ?? "localhost";
  };
}
