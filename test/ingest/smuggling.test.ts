// SMTP smuggling over real sockets: whatever stands around the final dot, there is exactly one message for each
// CRLF.CRLF, or a 550 (CVE-2023-51764 and its kin).

import { setTimeout as wait } from "node:timers/promises";
import fc from "fast-check";
import { test } from "tap";
import { modelContent } from "./content-model.ts";
import { type Client, contentOf, type Fixture, startIngest } from "./ingest-fixture.ts";

const head = "From: a@example.com\r\nDate: d\r\nMessage-ID: <m>\r\n\r\n";

async function greeted(fixture: Fixture): Promise<Client> {
  const client = await fixture.client();
  await client.ask("EHLO client.test");
  return client;
}

/** Sends one content in the way that `send` does, then NOOP; checks the outcome against the model. */
async function deliverAndJudge(fixture: Fixture, client: Client, raw: string, send: (octets: string) => Promise<void>) {
  const model = modelContent(raw);
  if (model === undefined || model.rest !== "") throw new Error("the test's content must end at its end");
  const before = fixture.intake.submissions.length;
  const go = await client.begin();
  if (!go.startsWith("354")) return `DATA was answered ${go}`;
  await send(raw);
  const answer = await client.reply();
  const sync = await client.ask("NOOP");
  if (!sync.startsWith("250")) return `out of step: ${answer}, then ${sync}`;
  const taken = fixture.intake.submissions.slice(before);
  if (model.isBad) return answer.startsWith("550 5.6.") && taken.length === 0 ? "" : `${answer}, ${taken.length} taken`;
  if (!answer.startsWith("250") || taken.length !== 1) return `${answer}, ${taken.length} taken`;
  const content = contentOf(taken[0] as (typeof taken)[0]);
  return content.endsWith(model.content) ? "" : `content differs: ${JSON.stringify(content)}`;
}

const atOnce = (client: Client) => async (octets: string) => client.send(octets);
const octetByOctet = (client: Client) => async (octets: string) => {
  for (const octet of octets) {
    client.send(octet);
    await wait(0);
  }
};

test("every pair of line ends around the dot, at once and octet by octet, gives one message or a 550", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const ends = [
    "\n",
    "\r",
    "\r\n",
    "\n\r",
    "\r\r\n",
    "\r\n\r",
    "\r\0\n",
    "\0",
    "\0\r\n",
    "\r\n\0",
    "\n\n",
    "\r\n\n",
    "",
  ];
  const cases: string[] = [];
  for (const before of ends) for (const after of ends) cases.push(`${head}x${before}.${after}`);
  let client = await greeted(fixture);
  for (const [number, text] of cases.entries()) {
    // A case that ends DATA by itself is whole; to the others the true end is added.
    const raw = modelContent(text)?.rest === "" ? text : `${text}\r\n.\r\n`;
    if (modelContent(raw)?.rest !== "") continue;
    const wrong = await deliverAndJudge(fixture, client, raw, atOnce(client));
    if (wrong !== "") t.fail(`${JSON.stringify(text)}: ${wrong}`);
    if (number % 50 === 0) client = await greeted(fixture);
  }
  const slow = await Promise.all(
    ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n\0.\r\n", "\r\n.\0\r\n", "\r\n.\r\0\n"].map(
      async (around) => {
        const own = await greeted(fixture);
        return deliverAndJudge(fixture, own, `x${around}y\r\n.\r\n`, octetByOctet(own));
      },
    ),
  );
  t.same(slow.join(""), "");
  t.ok(cases.length > 150);
});

test("random contents over {CR, LF, dot, NUL, x}: one message for each CRLF.CRLF, byte for byte, or 550", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  let client = await greeted(fixture);
  const octets = fc.string({ unit: fc.constantFrom("\r", "\n", ".", "\0", "x", "\r\n"), maxLength: 12 });
  let count = 0;
  await fc.assert(
    fc.asyncProperty(octets, fc.integer({ min: 1, max: 6 }), async (text, step) => {
      const whole = `${text}\r\n.\r\n`;
      const model = modelContent(whole);
      const raw = whole.slice(0, whole.length - (model?.rest.length ?? 0));
      if (count++ % 40 === 39) client = await greeted(fixture);
      const own = client;
      const wrong = await deliverAndJudge(fixture, own, raw, async (all) => {
        for (let at = 0; at < all.length; at += step) own.send(all.slice(at, at + step));
      });
      if (wrong !== "") throw new Error(wrong);
    }),
    { numRuns: 400 },
  );
  t.ok(fixture.intake.submissions.length > 10);
});

test("two messages sent in one write are two messages", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  await client.begin();
  client.send("one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n");
  for (const code of ["250", "250", "250", "354"]) t.equal((await client.reply()).slice(0, 3), code);
  t.match(await client.ask("two\r\n."), /^250/);
  t.same(
    fixture.intake.submissions.map((one) => one.recipients[0]?.forwardPath),
    ["b@example.net", "c@example.net"],
  );
});

test("a bare LF or CR never ends a command line", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  client.send("NOOP\nNOOP\r\n");
  t.match(await client.reply(), /^500 5\.5\.2/);
  t.match(await client.ask("NOOP"), /^250/, "the rest of that line was not obeyed");
  client.send("NOOP\rNOOP\r\n");
  t.match(await client.reply(), /^500 5\.5\.2/);
  client.send("NOOP\0\r\n");
  t.match(await client.reply(), /^500 5\.5\.2/);
  t.match(await client.ask("NOOP"), /^250/);
  client.send("NOOP\n");
  t.match(await client.reply(), /^500 5\.5\.2/, "said at once, without waiting for a CRLF");
  client.send("x\r\n");
  t.match(await client.ask("NOOP"), /^250/);
  for (const octet of "MAIL FROM:<a@example.com>\r\n") {
    client.send(octet);
    await wait(0);
  }
  t.match(await client.reply(), /^250/, "a command may come octet by octet");
});

test("content behind a DATA that is refused is not obeyed", async (t) => {
  const fixture = await startIngest();
  t.teardown(() => fixture.close());
  const client = await greeted(fixture);
  client.send("MAIL FROM:<a@example.com>\r\nDATA\r\nRSET\r\nMAIL FROM:<evil@example.com>\r\n.\r\n");
  t.match(await client.reply(), /^250/);
  t.match(await client.reply(), /^554 5\.5\.0/);
  t.equal(await client.reply(), "", "and the session is over");
});
