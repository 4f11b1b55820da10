// Delivery status notifications: what is in them, who gets one, and that nobody else can write into them.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { test } from "tap";
import type { Envelope } from "../../src/core/envelope.ts";
import type { Message, QueuedRecipient } from "../../src/core/message.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import { dayMs, hourMs } from "../../src/core/time.ts";
import { createDsnWriter, type Dsn, type DsnRecipient, type DsnRequest } from "../../src/outcome/outcome.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const at = Date.UTC(2026, 10, 21, 17, 24, 0);
const original =
  "Received: from app\r\nMessage-ID: <orig@example.com>\r\nFrom: Ann <ann@example.com>\r\nTo: bob@example.org\r\nSubject: Hello\r\n\r\nFirst line\r\n.dot\r\n";

interface Wish {
  readonly envelope?: Partial<Envelope>;
  readonly message?: Partial<Message>;
  readonly recipients?: readonly DsnRecipient[];
  readonly content?: Buffer;
  readonly contentFails?: boolean;
}

function request(wish: Wish = {}): DsnRequest {
  const content = wish.content ?? Buffer.from(original);
  const message: Message = {
    queueId: "0123456789abcdef",
    stream: "news",
    tenant: undefined,
    job: undefined,
    envelope: {
      reversePath: "ann@example.com",
      envid: undefined,
      ret: undefined,
      body: "7bit",
      smtpUtf8: false,
      requireTls: false,
      ...wish.envelope,
    },
    contentBytes: content.length,
    headerBytes: content.indexOf("\r\n\r\n") + 4,
    hasDotLines: true,
    receivedAt: at - hourMs,
    expiresAt: at + 4 * dayMs,
    fromDomain: "example.com",
    messageIdHeader: "<orig@example.com>",
    loggedHeaders: {},
    origin: "submission",
    user: undefined,
    recipientCount: 1,
    entryCount: 1,
    ...wish.message,
  };
  return {
    message,
    recipients: wish.recipients ?? [failed()],
    content: function* () {
      for (let i = 0; i < content.length; i += 50) {
        if (wish.contentFails && i > 50) throw new Error("damaged");
        yield content.subarray(i, i + 50);
      }
    },
    at,
  };
}

function permanent(code: number, enhanced: string | undefined, text: string): Outcome {
  return { kind: "permanent", at, fault: { kind: "reply", stage: "rcpt", reply: { code, enhanced, text } } };
}

function failed(
  forwardPath = "bob@example.org",
  outcome: Outcome = permanent(550, "5.1.1", "No such user"),
  more: Partial<QueuedRecipient> = {},
): DsnRecipient {
  return {
    recipient: { forwardPath, orcpt: undefined, notify: undefined, state: { kind: "failed", outcome }, ...more },
    action: "failed",
    outcome,
    remoteName: "mx1.example.org",
    willRetryUntil: undefined,
  };
}

function write(wish: Wish = {}, seed = 1, returnPath: string | undefined = undefined): Dsn | undefined {
  return createDsnWriter({ hostname: "mta1.example.com", returnPath, random: new SeededRandom(seed) }).write(
    request(wish),
  );
}

interface Part {
  readonly type: string;
  readonly encoding: string | null;
  readonly defects: readonly string[];
  readonly headers?: readonly (readonly [string, string])[];
  readonly params?: Readonly<Record<string, string>>;
  readonly parts?: readonly Part[];
  readonly groups?: readonly (readonly (readonly [string, string])[])[];
  readonly inner?: string;
  readonly text?: string;
}

/** What Python's email package makes of the messages; undefined on a machine without Python. */
function pythonParse(contents: readonly Buffer[]): readonly Part[] | undefined {
  const script = fileURLToPath(new URL("./parse-report.py", import.meta.url));
  const input = contents.map((content) => content.toString("base64")).join("\n");
  const run = spawnSync("python3", [script], { input, encoding: "utf8", maxBuffer: 64 * 1024 * 1024, timeout: 60_000 });
  if (run.error !== undefined && (run.error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
  if (run.status !== 0) throw new Error(run.stderr);
  return run.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Part);
}

function fieldsOf(part: Part | undefined, group: number): Record<string, string> {
  return Object.fromEntries(part?.groups?.[group] ?? []);
}

/** Faults of form that no report may have. */
function formFaults(dsn: Dsn): string[] {
  const faults: string[] = [];
  const text = dsn.content.toString("latin1");
  for (const line of text.split("\r\n")) {
    if (line.length > 998) faults.push(`a line of ${line.length} octets`);
    if (/[\r\n]/.test(line)) faults.push("a bare CR or LF");
  }
  if (!text.endsWith("\r\n")) faults.push("no CRLF at the end");
  if (dsn.body === "7bit" && /[^\x00-\x7f]/.test(text)) faults.push("octets above 127 in a 7-bit report");
  const header = text.slice(0, text.indexOf("\r\n\r\n"));
  if (!dsn.smtpUtf8 && /[^\x00-\x7f]/.test(header)) faults.push("octets above 127 in the header");
  return faults;
}

test("a refused recipient is reported with everything a program needs", (t) => {
  const dsn = write({
    envelope: { envid: "QQ314159" },
    recipients: [failed("bob@example.org", undefined, { orcpt: "rfc822;Bob@example.org" })],
  });
  if (dsn === undefined) throw new Error("no DSN");
  t.same(formFaults(dsn), []);
  t.equal(dsn.to, "ann@example.com");
  t.equal(dsn.body, "7bit");
  t.equal(dsn.smtpUtf8, false);
  const [parsed] = pythonParse([dsn.content]) ?? [];
  if (parsed === undefined) {
    t.end();
    return;
  }
  const headers = Object.fromEntries(parsed.headers ?? []);
  t.equal(headers.From, "Mail Delivery System <MAILER-DAEMON@mta1.example.com>");
  t.equal(headers.To, "<ann@example.com>");
  t.equal(headers.Date, "Sat, 21 Nov 2026 17:24:00 +0000");
  t.equal(headers["Auto-Submitted"], "auto-replied");
  t.equal(headers["In-Reply-To"], "<orig@example.com>");
  t.match(headers["Message-ID"], /^<[0-9a-f]{30}@mta1\.example\.com>$/);
  t.match(headers.Subject, /^Undeliverable/);
  t.equal(parsed.type, "multipart/report");
  t.equal(parsed.params?.["report-type"], "delivery-status");
  t.same(
    parsed.parts?.map((part) => [part.type, part.encoding, part.defects]),
    [
      ["text/plain", "7bit", []],
      ["message/delivery-status", "7bit", []],
      ["text/rfc822-headers", "7bit", []],
    ],
  );
  const status = parsed.parts?.[1];
  t.equal(status?.groups?.length, 2);
  t.same(fieldsOf(status, 0), {
    "Original-Envelope-Id": "QQ314159",
    "Reporting-MTA": "dns; mta1.example.com",
    "Arrival-Date": "Sat, 21 Nov 2026 16:24:00 +0000",
    "X-Postern-Queue-Id": "0123456789abcdef",
  });
  t.same(fieldsOf(status, 1), {
    "Original-Recipient": "rfc822;Bob@example.org",
    "Final-Recipient": "rfc822; bob@example.org",
    Action: "failed",
    Status: "5.1.1",
    "Remote-MTA": "dns; mx1.example.org",
    "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
    "Last-Attempt-Date": "Sat, 21 Nov 2026 17:24:00 +0000",
  });
  const human = parsed.parts?.[0]?.text ?? "";
  t.match(human, /could not be delivered to:/);
  t.match(human, /<bob@example\.org>/);
  t.match(human, /mx1\.example\.org refused the message when it was told this address/);
  t.match(human, /\| 550 5\.1\.1 No such user/);
  t.match(human, /No further attempt will be made/);
  t.equal(parsed.parts?.[2]?.text, original.slice(0, original.indexOf("\r\n\r\n") + 2));
  t.end();
});

test("nobody is told when nobody may be: null reverse-path, a report, an address that cannot stand in a header", (t) => {
  t.equal(write({ envelope: { reversePath: "" } }), undefined);
  t.equal(write({ message: { origin: "dsn" } }), undefined);
  t.equal(write({ recipients: [] }), undefined);
  for (const reversePath of [
    "a@example.com\r\nBcc: x@example.net",
    "a@b>, <c@d",
    "no-domain",
    "a b@example.com",
    "a@b c",
    '"open@b',
    "a\u2028@b",
  ])
    t.equal(write({ envelope: { reversePath } }), undefined, encodeURIComponent(reversePath));
  t.ok(write({ envelope: { reversePath: '"a b>"@example.com' } }));
  t.ok(write({ envelope: { reversePath: "a+b=c@[192.0.2.1]" } }));
  t.end();
});

test("RET decides what comes back, only failures bring back everything, and large messages never do", (t) => {
  const type = (wish: Wish) => {
    const text = write(wish)?.content.toString("latin1") ?? "";
    return [...text.matchAll(/^Content-Type: ([a-z0-9/-]+)/gm)].at(-1)?.[1];
  };
  const full = { envelope: { ret: "full" as const } };
  t.equal(type(full), "message/rfc822");
  t.equal(type({ envelope: { ret: "hdrs" } }), "text/rfc822-headers");
  t.equal(type({}), "text/rfc822-headers");
  const late: DsnRecipient = { ...failed(), action: "delayed" };
  t.equal(type({ ...full, recipients: [late] }), "text/rfc822-headers", "a delay");
  t.equal(
    type({ ...full, content: Buffer.from(`${original}${"x".repeat(70)}\r\n`.repeat(15_000)) }),
    "text/rfc822-headers",
    "large",
  );
  t.equal(
    type({ ...full, content: Buffer.from(`${original}${"x".repeat(999)}\r\n`) }),
    "text/rfc822-headers",
    "long lines",
  );
  t.equal(type({ envelope: { ret: "full", requireTls: true } }), "text/rfc822-headers", "REQUIRETLS");
  t.equal(type({ ...full, contentFails: true }), "text/rfc822-headers", "damaged content");
  t.end();
});

test("a message of 8-bit octets comes back as it was, and the report says that it is 8-bit", (t) => {
  const content = Buffer.from(`${original}Grüße\r\n`);
  const dsn = write({ envelope: { ret: "full", body: "8bitmime" }, content });
  if (dsn === undefined) throw new Error("no DSN");
  t.same(formFaults(dsn), []);
  t.equal(dsn.body, "8bitmime");
  t.ok(dsn.content.includes(content));
  t.equal(write({ envelope: { ret: "hdrs" }, content })?.body, "7bit");
  t.end();
});

test("a broken header section is encoded rather than sent on as it is", (t) => {
  const content = Buffer.from(`From: a@example.com\r\nSubject: Grüße\r\nX-Long: ${"y".repeat(2_000)}\r\n\r\nbody\r\n`);
  const dsn = write({ content });
  if (dsn === undefined) throw new Error("no DSN");
  t.same(formFaults(dsn), []);
  const [parsed] = pythonParse([dsn.content]) ?? [];
  if (parsed !== undefined) {
    t.equal(parsed.parts?.[2]?.encoding, "quoted-printable");
    t.match(parsed.parts?.[2]?.text, /Subject: Grüße\r\nX-Long: y{2000}\r\n/);
  }
  t.end();
});

test("a delay tells until when we try, an expiry that time was over, an unknown outcome that it may have arrived", (t) => {
  const transient: Outcome = {
    kind: "transient",
    at,
    fault: { kind: "reply", stage: "mail", reply: { code: 451, enhanced: "4.3.0", text: "Later" } },
  };
  const unknown: Outcome = { kind: "unknown", at, fault: { kind: "network", stage: "final-dot", message: "ECLOSED" } };
  const delayed: DsnRecipient = {
    ...failed("late@example.org", transient),
    recipient: {
      forwardPath: "late@example.org",
      orcpt: undefined,
      notify: undefined,
      state: { kind: "pending", last: transient },
    },
    action: "delayed",
    willRetryUntil: at + dayMs,
  };
  const expired = failed("old@example.org", transient, { state: { kind: "expired", last: transient } });
  const never: DsnRecipient = {
    ...failed("never@example.org", transient, { state: { kind: "expired", last: undefined } }),
    outcome: undefined,
  };
  const perhaps = failed("perhaps@example.org", unknown);
  const refused = failed("net@example.org", {
    kind: "permanent",
    at,
    fault: { kind: "policy", rule: "null-mx", message: "5.1.10 example.org takes no mail" },
  });
  const dsn = write({ recipients: [delayed, expired, never, perhaps, refused] });
  if (dsn === undefined) throw new Error("no DSN");
  t.same(formFaults(dsn), []);
  const [parsed] = pythonParse([dsn.content]) ?? [];
  if (parsed === undefined) {
    t.end();
    return;
  }
  const status = parsed.parts?.[1];
  const pick = (group: number) => {
    const fields = fieldsOf(status, group);
    return [
      fields["Final-Recipient"],
      fields.Action,
      fields.Status,
      fields["Will-Retry-Until"],
      fields["Diagnostic-Code"],
      fields["Remote-MTA"],
    ];
  };
  t.same(pick(1), [
    "rfc822; old@example.org",
    "failed",
    "4.4.7",
    undefined,
    "smtp; 451 4.3.0 Later",
    "dns; mx1.example.org",
  ]);
  t.same(pick(2), ["rfc822; never@example.org", "failed", "4.4.7", undefined, undefined, undefined]);
  t.same(pick(3), [
    "rfc822; perhaps@example.org",
    "failed",
    "4.4.2",
    undefined,
    "X-Postern; final-dot: ECLOSED",
    "dns; mx1.example.org",
  ]);
  t.same(pick(4), [
    "rfc822; net@example.org",
    "failed",
    "5.1.10",
    undefined,
    "X-Postern; null-mx: 5.1.10 example.org takes no mail",
    undefined,
  ]);
  t.same(pick(5), [
    "rfc822; late@example.org",
    "delayed",
    "4.3.0",
    "Sun, 22 Nov 2026 17:24:00 +0000",
    "smtp; 451 4.3.0 Later",
    "dns; mx1.example.org",
  ]);
  const human = parsed.parts?.[0]?.text?.replaceAll(/\s+/g, " ") ?? "";
  t.match(human, /may have arrived all the same/);
  t.match(human, /The time for delivery is over/);
  t.match(human, /will be tried again until Sun, 22 Nov 2026/);
  t.match(human, /declares that it takes no mail: \| example\.org takes no mail/);
  t.end();
});

test("success is reported as relayed, with the peer's own status", (t) => {
  const outcome: Outcome = { kind: "delivered", at, reply: { code: 250, enhanced: "2.6.0", text: "queued as 77" } };
  const dsn = write({
    envelope: { ret: "full" },
    recipients: [
      { ...failed("bob@example.org", outcome, { state: { kind: "delivered", outcome } }), action: "relayed" },
    ],
  });
  const text = dsn?.content.toString("latin1") ?? "";
  t.match(
    text,
    /\r\nAction: relayed\r\nStatus: 2\.6\.0\r\nRemote-MTA: dns; mx1\.example\.org\r\nDiagnostic-Code: smtp; 250 2\.6\.0 queued as 77\r\n/,
  );
  t.match(text, /text\/rfc822-headers/);
  t.match(text, /\r\nSubject: Relayed/);
  t.end();
});

test("a sender who used SMTPUTF8 gets a report in UTF-8", (t) => {
  const content = Buffer.from("From: Jürgen <jürgen@example.com>\r\nSubject: Grüße\r\n\r\nHallo\r\n");
  const wish: Wish = {
    envelope: { reversePath: "jürgen@example.com", smtpUtf8: true, body: "8bitmime" },
    recipients: [failed("用户@example.org", permanent(550, "5.1.1", "用户不存在"))],
    content,
  };
  const dsn = write(wish);
  if (dsn === undefined) throw new Error("no DSN");
  t.same(formFaults(dsn), []);
  t.equal(dsn.smtpUtf8, true);
  t.equal(dsn.body, "8bitmime");
  const text = dsn.content.toString("utf8");
  t.match(text, /\r\nTo: <jürgen@example\.com>\r\n/);
  t.match(text, /Content-Type: message\/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n/);
  t.match(text, /\r\nFinal-Recipient: utf-8; 用户@example\.org\r\n/);
  t.match(text, /\r\nDiagnostic-Code: smtp; 550 5\.1\.1 用户不存在\r\n/);
  t.match(text, /Content-Type: message\/global-headers\r\n/);
  t.match(
    write({ ...wish, envelope: { ...wish.envelope, ret: "full" } })?.content.toString("utf8"),
    /Content-Type: message\/global\r\n/,
  );
  t.end();
});

test("without SMTPUTF8 other characters are escaped in the report and readable in the text", (t) => {
  const dsn = write({ recipients: [failed("用+户@example.org", permanent(550, undefined, "用户不存在"))] });
  if (dsn === undefined) throw new Error("no DSN");
  t.same(formFaults(dsn), []);
  const text = dsn.content.toString("latin1");
  t.match(text, /\r\nFinal-Recipient: utf-8; \\x\{7528\}\\x\{2B\}\\x\{6237\}@example\.org\r\n/);
  t.match(text, /\r\nStatus: 5\.0\.0\r\n/);
  const [parsed] = pythonParse([dsn.content]) ?? [];
  if (parsed !== undefined) t.match(parsed.parts?.[0]?.text, /\| 550 用户不存在/);
  t.end();
});

test("the boundary is not in the returned message, even when chance offers one that is", (t) => {
  const first = write()?.content.toString("latin1") ?? "";
  const boundary = /boundary="([^"]+)"/.exec(first)?.[1] as string;
  const content = Buffer.from(`${original}--${boundary}\r\nnot the end\r\n--${boundary}--\r\n`);
  const dsn = write({ envelope: { ret: "full" }, content });
  const second = /boundary="([^"]+)"/.exec(dsn?.content.toString("latin1") ?? "")?.[1];
  t.not(second, boundary);
  const [parsed] = pythonParse([dsn?.content as Buffer]) ?? [];
  if (parsed !== undefined) t.equal(parsed.parts?.length, 3);
  t.end();
});

test("From is the address the config names", (t) => {
  t.match(
    write({}, 1, "bounces@example.com")?.content.toString(),
    /\r\nFrom: Mail Delivery System <bounces@example\.com>\r\n/,
  );
  t.match(
    write({}, 1, "")?.content.toString(),
    /\r\nFrom: Mail Delivery System <MAILER-DAEMON@mta1\.example\.com>\r\n/,
  );
  t.end();
});

/** Texts that try to get out of the place they are written to. */
const nasty = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.string({ unit: "grapheme", maxLength: 300 }),
  fc
    .array(
      fc.constantFrom(
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "Action: delivered",
        "Bcc: x@example.net",
        "--",
        " ",
        "\t",
        "x".repeat(1_200),
        "\u2028",
        "\u0085",
        "\u202e",
        "\ud800",
        "=?utf-8?q?x?=",
        "é",
      ),
      { maxLength: 12 },
    )
    .map((words) => words.join("")),
);

test("nothing that a peer, a sender or an address says can write into a report", (t) => {
  const kept: { readonly dsn: Dsn; readonly forwardPath: string }[] = [];
  fc.assert(
    fc.property(
      fc.record({
        reply: nasty,
        enhanced: fc.option(nasty, { nil: undefined }),
        forwardPath: nasty,
        orcpt: fc.option(nasty, { nil: undefined }),
        envid: fc.option(nasty, { nil: undefined }),
        remote: nasty,
        messageId: nasty,
        smtpUtf8: fc.boolean(),
      }),
      (texts) => {
        const dsn = write({
          envelope: { envid: texts.envid, smtpUtf8: texts.smtpUtf8 },
          message: { messageIdHeader: texts.messageId },
          recipients: [
            {
              ...failed(texts.forwardPath, permanent(550, texts.enhanced, texts.reply), { orcpt: texts.orcpt }),
              remoteName: texts.remote,
            },
          ],
        });
        if (dsn === undefined) throw new Error("no DSN");
        const faults = formFaults(dsn);
        if (faults.length > 0) throw new Error(faults.join(", "));
        kept.push({ dsn, forwardPath: texts.forwardPath });
      },
    ),
    { numRuns: 300 },
  );
  const parsed = pythonParse(kept.map(({ dsn }) => dsn.content));
  const headerNames = new Set([
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
  ]);
  const statusNames = new Set([
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Remote-MTA",
    "Diagnostic-Code",
    "Last-Attempt-Date",
  ]);
  for (const message of parsed ?? []) {
    const names = message.headers?.map(([name]) => name) ?? [];
    if (names.some((name) => !headerNames.has(name)) || new Set(names).size !== names.length)
      t.fail(`header ${names.join()}`);
    if (message.parts?.length !== 3) t.fail(`${message.parts?.length} parts`);
    const groups = message.parts?.[1]?.groups;
    if (groups === undefined) continue;
    const fields = groups[1]?.map(([name]) => name) ?? [];
    if (groups.length !== 2 || fields.some((name) => !statusNames.has(name)) || new Set(fields).size !== fields.length)
      t.fail(`status ${fields.join()}`);
    if (Object.fromEntries(groups[1] ?? []).Action !== "failed") t.fail("the action was changed");
  }
  t.pass(`${kept.length} reports hold`);
  t.end();
});
