// The messages of a run, drawn from a seed: every form of content that must pass through Postern unchanged.

import MailComposer from "nodemailer/lib/mail-composer";
import { type Chance, seededChance } from "../../native-bench/sink/chance.ts";
import type { Receiver, Submitter } from "./peer.ts";
import { domainOf, type Sender, senders } from "./world.ts";

export interface Message {
  readonly id: number;
  readonly form: string;
  readonly submitter: string;
  readonly sender: Sender;
  readonly reversePath: string;
  readonly forwardPaths: readonly string[];
  readonly smtpUtf8: boolean;
  /** Submitted by STARTTLS and AUTH. */
  readonly loggedIn: boolean;
  /** As submitted, lines ended by CRLF: the fields, then (from the empty line on) the body. */
  readonly fields: Buffer;
  readonly body: Buffer;
  /** Labels for Postern at the top of the fields, which it must take out. */
  readonly labels: string;
  /** Names of the fields that Postern must add at the end of the header section (RFC 6409 section 8). */
  readonly missing: readonly ("Date" | "Message-ID")[];
}

/** The whole content as it is submitted. */
export function contentOf(message: Message): Buffer {
  return Buffer.concat([Buffer.from(message.labels), message.fields, message.body]);
}

interface Draft {
  readonly extraFields?: string;
  /** From the first line on, lines ended by CRLF. */
  readonly body: Buffer;
  readonly mime?: string;
  readonly smtpUtf8?: boolean;
}

interface Form {
  readonly name: string;
  /** Longest line without CRLF. */
  readonly lineBytes: number;
  readonly smtpUtf8: boolean;
  readonly draft: (chance: Chance) => Draft | Promise<Draft>;
}

const crlf = "\r\n";
/** RFC 5322 section 2.1.1: without CRLF. */
const standardLineBytes = 998;

function below(chance: Chance, limit: number): number {
  return Math.floor(chance() * limit);
}

function pick<Item>(chance: Chance, items: readonly Item[]): Item {
  return items[below(chance, items.length)] as Item;
}

const words = "mail exchanger queue lane source receipt from dot line word 7 42 = == -- > | #".split(" ");

function sentence(chance: Chance, count: number): string {
  return Array.from({ length: count }, () => pick(chance, words)).join(" ");
}

function paragraphs(chance: Chance, lines: number): Buffer {
  const text = Array.from({ length: lines }, () => (chance() < 0.15 ? "" : sentence(chance, 1 + below(chance, 12))));
  return Buffer.from(text.join(crlf) + crlf);
}

/** Octets but NUL, CR, LF, and the backslash, since swaks takes backslash and "n" for a line end. */
function octets(chance: Chance, bytes: number, least: number): Buffer {
  const line = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) {
    let octet = least + below(chance, 256 - least);
    if (octet === 0 || octet === 10 || octet === 13 || octet === 0x5c) octet = 0x2e;
    line[i] = octet;
  }
  return line;
}

const lineEnd = Buffer.from(crlf);

function lines(list: readonly (Buffer | string)[]): Buffer {
  return Buffer.concat(list.flatMap((line) => [Buffer.from(line), lineEnd]));
}

const dotted = [".", "..", "...", ".x", "..x", "x.", " .", ". ", ".\t", "a.b", "", "x", ".".repeat(70)];

/** Lines of exactly `bytes` (some begin with a dot, so that stuffing makes them longer). */
function linesOf(chance: Chance, bytes: number): Buffer {
  const line = (first: string): string => first + "abcdefghij".repeat(Math.ceil(bytes / 10)).slice(0, bytes - 1);
  return lines([line("x"), "short", line("."), line("y"), sentence(chance, 5)]);
}

const utf8Texts = ["Grüße aus Köln", "Δοκιμή", "почта", "郵便です", "naïve café", "🙂 ok", "ṡ̇"];

async function composed(chance: Chance): Promise<Draft> {
  const attachments = Array.from({ length: 1 + below(chance, 3) }, (_, i) => ({
    filename: i === 0 ? `données ${i}.bin` : `file${i}.bin`,
    content: octets(chance, 1 + below(chance, 20_000), 0),
  }));
  const composer = new MailComposer({
    text: `${pick(chance, utf8Texts)}\n.\n..\n${sentence(chance, 30)}`,
    ...(chance() < 0.5 ? { html: `<p>${pick(chance, utf8Texts)}</p>\n<p>.</p>` } : {}),
    attachments,
    // Drawn from the seed too, so that a run can be had again.
    baseBoundary: `b${below(chance, 1e9)}`,
  });
  // It leaves the LF of its input alone until it sends.
  const built = withLineEnds(await composer.compile().build());
  const end = built.indexOf("\r\n\r\n") + 2;
  // Its Date, Message-ID and MIME fields; ours come before.
  const mime = built.toString("utf8", 0, end).replace(/^(?:Date|Message-ID): .*\r\n/gim, "");
  return { mime, body: built.subarray(end + 2) };
}

function withLineEnds(text: Buffer): Buffer {
  return Buffer.from(text.toString("latin1").replace(/\r?\n/g, crlf), "latin1");
}

const eightBitMime = `MIME-Version: 1.0${crlf}Content-Type: text/plain; charset=utf-8${crlf}Content-Transfer-Encoding: 8bit${crlf}`;

/** The form without anything special. */
export const plainForm = "plain text";

const forms: readonly Form[] = [
  {
    name: plainForm,
    lineBytes: 200,
    smtpUtf8: false,
    draft: (chance) => ({ body: paragraphs(chance, 1 + below(chance, 60)) }),
  },
  {
    name: "dots at every place",
    lineBytes: 200,
    smtpUtf8: false,
    draft: (chance) => ({
      body: lines([
        pick(chance, dotted),
        ...Array.from({ length: 5 + below(chance, 40) }, () => pick(chance, dotted)),
        pick(chance, [".", "..", ".x"]),
      ]),
    }),
  },
  {
    // Dots at every offset of the blocks that content is kept and sent in.
    name: "a large body of dots",
    lineBytes: 200,
    smtpUtf8: false,
    draft: (chance) => {
      const some = ["x".repeat(below(chance, 70))];
      for (let bytes = 0; bytes < 60_000 + below(chance, 250_000); ) {
        const line = chance() < 0.7 ? pick(chance, dotted) : sentence(chance, 8);
        some.push(line);
        bytes += line.length + 2;
      }
      return { body: lines(some) };
    },
  },
  {
    name: "8-bit text",
    lineBytes: 600,
    smtpUtf8: false,
    draft: (chance) => ({
      mime: eightBitMime,
      body: lines(
        Array.from({ length: 1 + below(chance, 30) }, () => `${pick(chance, utf8Texts)} ${sentence(chance, 4)}`),
      ),
    }),
  },
  {
    // Any octets but NUL, CR and LF; the form feed, the vertical tab and 0x80-0x9f tempt programs to split lines.
    name: "8-bit octets of no charset",
    lineBytes: 400,
    smtpUtf8: false,
    draft: (chance) => ({
      mime: eightBitMime.replace("utf-8", "x-unknown"),
      body: lines(Array.from({ length: 1 + below(chance, 30) }, () => octets(chance, below(chance, 300), 1))),
    }),
  },
  {
    name: "lines of 998 octets",
    lineBytes: standardLineBytes,
    smtpUtf8: false,
    draft: (chance) => ({ body: linesOf(chance, standardLineBytes) }),
  },
  {
    name: "lines of 999 to 4,000 octets",
    lineBytes: 4_000,
    smtpUtf8: false,
    draft: (chance) => ({ body: linesOf(chance, 999 + below(chance, 3_001)) }),
  },
  {
    name: "lines of 4,001 to 30,000 octets",
    lineBytes: 30_000,
    smtpUtf8: false,
    draft: (chance) => ({ body: linesOf(chance, 4_001 + below(chance, 25_999)) }),
  },
  { name: "an empty body", lineBytes: 200, smtpUtf8: false, draft: () => ({ body: Buffer.alloc(0) }) },
  {
    // What the "simple" and "relaxed" forms of DKIM treat in different ways (RFC 6376 section 3.4).
    name: "blanks and empty lines at the end",
    lineBytes: 200,
    smtpUtf8: false,
    draft: (chance) => ({
      body: lines([
        pick(chance, ["", " ", "\t", "x"]),
        ...Array.from({ length: below(chance, 12) }, () => pick(chance, ["", " ", "\t ", "a  b\t", "a \t b ", "  a"])),
        ...Array.from({ length: below(chance, 5) }, () => ""),
      ]),
    }),
  },
  {
    name: "folded fields",
    lineBytes: standardLineBytes,
    smtpUtf8: false,
    draft: (chance) => ({
      extraFields: [
        `X-Folded: ${sentence(chance, 3)}`,
        ...Array.from(
          { length: 1 + below(chance, 10) },
          () => `${pick(chance, [" ", "\t", "   "])}${sentence(chance, 6)}`,
        ),
        `References: ${Array.from({ length: 1 + below(chance, 12) }, (_, i) => `<${i}.${below(chance, 1e9)}@rsa.test>`).join(`${crlf} `)}`,
        `X-Long: ${"l".repeat(standardLineBytes - 8)}`,
        "X-Empty:",
        "x-LOWER:no blank after the colon",
        `X-Blanks:   a   b  ${"\t"}`,
        "Comments: the same name",
        "Comments: more than once",
        "",
      ].join(crlf),
      body: paragraphs(chance, 3),
    }),
  },
  {
    name: "a list's mail",
    lineBytes: 300,
    smtpUtf8: false,
    draft: (chance) => ({
      extraFields: [
        "Reply-To: answers@rsa.test",
        "Sender: list@rsa.test",
        "Cc: Some One <one@else.test>,",
        "\tother@else.test",
        "Bcc: hidden@else.test",
        "List-Id: <news.rsa.test>",
        `List-Unsubscribe: <https://rsa.test/u/${below(chance, 1e9)}>,${crlf} <mailto:leave@rsa.test>`,
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "Feedback-ID: 1:2:3:rsa",
        "",
      ].join(crlf),
      body: paragraphs(chance, 10),
    }),
  },
  { name: "attachments", lineBytes: 200, smtpUtf8: false, draft: composed },
  {
    name: "SMTPUTF8",
    lineBytes: 600,
    smtpUtf8: true,
    draft: (chance) => ({
      smtpUtf8: true,
      mime: eightBitMime,
      extraFields: `X-Text: ${pick(chance, utf8Texts)}${crlf} ${pick(chance, utf8Texts)}${crlf}`,
      body: lines([pick(chance, utf8Texts), ".", pick(chance, utf8Texts)]),
    }),
  },
];

/** Local parts of recipients; the second list needs SMTPUTF8. */
const localParts = ["inbox", "a.b", "x+tag", "UPPER", "o'neil", "0", "under_score"];
const utf8LocalParts = ["δοκιμή", "почта", "jürgen", "郵便"];

export interface CorpusOptions {
  readonly seed: number;
  readonly count: number;
  readonly submitters: readonly Submitter[];
  readonly receivers: readonly Receiver[];
}

/** Each form, submitter and receiver has its part, as far as they can take each other's mail. */
export async function drawCorpus({ seed, count, submitters, receivers }: CorpusOptions): Promise<Message[]> {
  const chance = seededChance(seed);
  const turns = submitterTurns(submitters, count);
  const messages: Message[] = [];
  for (let id = 0; id < count; id++) {
    const submitter = turns[id] as Submitter;
    const fits = (form: Form): boolean =>
      form.lineBytes <= submitter.lineBytesMax && (!form.smtpUtf8 || submitter.smtpUtf8) && takers(form).length > 0;
    const takers = (form: Form): Receiver[] =>
      receivers.filter((to) => form.lineBytes <= to.lineBytesMax && (!form.smtpUtf8 || to.smtpUtf8));
    const form = pick(chance, forms.filter(fits));
    messages.push(await drawMessage(id, form, submitter, takers(form), chance));
  }
  return messages;
}

/** Each submitter's share, spread over the whole. */
function submitterTurns(submitters: readonly Submitter[], count: number): Submitter[] {
  const shares = submitters.reduce((sum, { share }) => sum + share, 0);
  const credit = submitters.map(() => 0);
  return Array.from({ length: count }, () => {
    submitters.forEach(({ share }, i) => {
      credit[i] = (credit[i] as number) + share / shares;
    });
    const next = credit.indexOf(Math.max(...credit));
    credit[next] = (credit[next] as number) - 1;
    return submitters[next] as Submitter;
  });
}

async function drawMessage(
  id: number,
  form: Form,
  submitter: Submitter,
  takers: readonly Receiver[],
  chance: Chance,
): Promise<Message> {
  const draft = await form.draft(chance);
  const sender = pick(chance, senders);
  const isUtf8 = draft.smtpUtf8 === true;
  const forwardPaths = new Set<string>();
  const recipients = Math.min(submitter.recipientsMax, chance() < 0.7 ? 1 : 2 + below(chance, 4));
  for (let drawn = 0; drawn < recipients; drawn++) {
    const local = pick(chance, isUtf8 ? [...localParts, ...utf8LocalParts] : localParts);
    forwardPaths.add(`${local}@${domainOf(pick(chance, takers))}`);
  }
  const author = isUtf8 ? `jürgen@${sender.domain}` : `author@${sender.domain}`;
  const missing: Message["missing"] =
    chance() < 0.9 ? [] : pick(chance, [["Date"], ["Message-ID"], ["Date", "Message-ID"]]);
  const fields = [
    chance() < 0.5 ? `From: ${author}` : `From: "An, Author" <${author}>`,
    `To: ${[...forwardPaths].join(`,${crlf} `)}`,
    `Subject: ${isUtf8 ? pick(chance, utf8Texts) : sentence(chance, 3)}`,
    ...(missing.includes("Date") ? [] : ["Date: Sat, 21 Nov 2026 10:00:00 +0100"]),
    ...(missing.includes("Message-ID") ? [] : [`Message-ID: <${id}.${below(chance, 1e9)}@${sender.domain}>`]),
    `${idField}: ${id}`,
    "",
  ].join(crlf);
  const body = Buffer.concat([lineEnd, draft.body]);
  return {
    id,
    form: form.name,
    submitter: submitter.name,
    sender,
    reversePath: author,
    forwardPaths: [...forwardPaths],
    smtpUtf8: isUtf8,
    loggedIn: submitter.canLogIn && chance() < 0.5,
    labels: chance() < 0.1 ? `X-Postern-Job: job-${id}${crlf}X-Postern-Tenant: peers${crlf} folded${crlf}` : "",
    fields: Buffer.from(fields + (draft.extraFields ?? "") + (draft.mime ?? "")),
    body: submitter.adapt?.(body) ?? body,
    missing,
  };
}

/** Tells which message a copy is of. */
export const idField = "X-Peers-Id";

/** Its recipients at this receiver. */
export function pathsTo(message: Message, receiver: Pick<Receiver, "name">): string[] {
  return message.forwardPaths.filter((path) => path.endsWith(`@${domainOf(receiver)}`));
}

export function recipientCount(messages: readonly Message[]): number {
  return messages.reduce((sum, { forwardPaths }) => sum + forwardPaths.length, 0);
}
