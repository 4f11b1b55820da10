// SMTP smuggling end to end (CVE-2023-51764 and its kin): octets go in at Postern's listener over a socket, and
// what comes out at receivers that keep every octet is counted and compared. For each content there is exactly one
// message, the same octets, at every receiver and in every mode of transfer, or a 550 and none.

import { setImmediate as turn, setTimeout as wait } from "node:timers/promises";
import { type Test, test } from "tap";
import { DnsServer } from "../../native-bench/dns/dns-server.ts";
import { zoneOf } from "../../native-bench/dns/zone.ts";
import { modelContent } from "../ingest/content-model.ts";
import { Client } from "../ingest/ingest-fixture.ts";
import { type Copy, RawReceiver } from "./raw-receiver.ts";
import { type RunningPostern, startPostern } from "./running-postern.ts";

const allButModes = ["SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN"];
/** By the first label of the receiver's domain. */
const modes: Readonly<Record<string, readonly string[]>> = {
  data: allButModes,
  pipelined: ["PIPELINING", ...allButModes],
  bdat: ["CHUNKING", ...allButModes],
  both: ["PIPELINING", "CHUNKING", ...allButModes],
};
/** Knows no extension of RFC 6531 and no 8BITMIME: some mail must not get there. */
const plainMode: readonly string[] = ["PIPELINING"];

/** The largest that a config may ask for. */
const lineBytesMax = 1024 * 1024;
const messageBytesMax = 26 * 1024 * 1024;
const headerSectionBytesMax = 64 * 1024;
const deliveryMs = 10_000;
const sessions = 12;

interface World {
  readonly postern: RunningPostern;
  readonly receivers: ReadonlyMap<string, RawReceiver>;
  readonly plain: RawReceiver;
}

async function startWorld(t: Test): Promise<World> {
  const receivers = new Map(Object.entries(modes).map(([name, extensions]) => [name, new RawReceiver(extensions)]));
  const plain = new RawReceiver(plainMode);
  const zone: Record<string, { mx?: { preference: number; exchange: string }[]; a?: string[] }> = {};
  let port = 0;
  let host = 0;
  for (const [name, receiver] of [...receivers, ["plain", plain] as const]) {
    const address = `127.44.0.${++host}`;
    port = await receiver.listen(address, port);
    t.teardown(() => receiver.close());
    zone[`${name}.test`] = { mx: [{ preference: 10, exchange: `mx.${name}.test` }] };
    zone[`mx.${name}.test`] = { a: [address] };
  }
  const dns = new DnsServer(zoneOf(zone));
  const dnsPort = await dns.listen("127.0.0.1", 0);
  t.teardown(() => dns.close());
  const postern = await startPostern(
    (folder) => `hostname: mta.test
shards: 1
spool: { path: ${folder}/spool, free_space_min: 1MiB, map_size: 2GiB }
ingest:
  smtp:
    - listen: 127.0.0.1:0
      line_bytes_max: ${lineBytesMax}B
      message_bytes_max: ${messageBytesMax}B
      header_section_bytes_max: ${headerSectionBytesMax}B
dns: { servers: ["127.0.0.1:${dnsPort}"] }
delivery:
  port: ${port}
  tls: off
  internal_networks_allowed: [127.0.0.0/8]
  ip: [4]
  timeouts: { idle: 1s }
sites: { defaults: { connections_max: 4, connection_rate: unlimited, rate: unlimited, messages_per_connection_max: 1000 } }
events: { path: ${folder}/events }
admin: { listen: 127.0.0.1:0 }
log: { level: info }
`,
  );
  t.teardown(() => postern.stop());
  return { postern, receivers, plain };
}

/** `fields` end with CRLF; nothing is left for Postern to add but Received. */
const fields = "From: a@example.com\r\nDate: d\r\nMessage-ID: <m>\r\n";
const head = `${fields}\r\n`;

const octetByOctet = async (client: Client, octets: string): Promise<void> => {
  for (const octet of octets) {
    client.send(octet);
    await turn();
  }
};
const atOnce = async (client: Client, octets: string): Promise<void> => client.send(octets);

interface Case {
  readonly name: string;
  /** What the client sends after 354, with the true end. */
  readonly raw: string;
  readonly send: typeof atOnce;
}

/** A case that does not end DATA by itself gets the true end; undefined when it ends in its midst. */
function caseOf(text: string, send: typeof atOnce): Case | undefined {
  const raw = modelContent(text)?.rest === "" ? text : `${text}\r\n.\r\n`;
  if (modelContent(raw)?.rest !== "") return undefined;
  return { name: `${JSON.stringify(text.slice(0, 200))} ${send === atOnce ? "at once" : "octet by octet"}`, raw, send };
}

/** Submits all to a recipient at each receiver whose local part is the case's number. Returns what went wrong. */
async function submit(
  { postern, receivers }: World,
  cases: readonly Case[],
  label: string,
): Promise<{ wrong: string[]; taken: Map<string, string> }> {
  const wrong: string[] = [];
  const taken = new Map<string, string>();
  let next = 0;
  const work = async (): Promise<void> => {
    const client = await Client.connect(postern.smtpPort);
    await client.reply();
    await client.ask("EHLO client.test");
    for (let at = next++; at < cases.length; at = next++) {
      const { name, raw, send } = cases[at] as Case;
      const rcpts = [...receivers.keys()].map((receiver) => `RCPT TO:<${label}${at}@${receiver}.test>`);
      const codes = await client.codes(["MAIL FROM:<a@example.com>", ...rcpts, "DATA"]);
      if (!codes.endsWith("354")) wrong.push(`${name}: envelope ${codes}`);
      await send(client, raw);
      const answer = await client.reply();
      const sync = await client.ask("NOOP");
      if (!sync.startsWith("250")) wrong.push(`${name}: out of step: ${answer}, then ${sync}`);
      const model = modelContent(raw);
      if (answer.startsWith("250")) taken.set(`${label}${at}`, model?.content ?? "");
      if (model?.isBad !== answer.startsWith("550 5.6.")) wrong.push(`${name}: ${answer}`);
    }
    client.send("QUIT\r\n");
    await client.closed();
  };
  await Promise.all(Array.from({ length: sessions }, work));
  return { wrong, taken };
}

/** Local part of the only recipient. */
const labelOf = (copy: Copy): string => /^RCPT TO:<([^@]*)@/.exec(copy.rcpts.join())?.[1] ?? "?";

/** Waits for all copies and compares them; returns what is wrong, one line each. */
async function compare(name: string, receiver: RawReceiver, expected: ReadonlyMap<string, string>): Promise<string[]> {
  const wrong: string[] = [];
  for (let ms = 0; receiver.copies.length < expected.size && ms < deliveryMs; ms += 20) await wait(20);
  const seen = new Map<string, number>();
  for (const copy of receiver.copies) {
    const label = labelOf(copy);
    seen.set(label, (seen.get(label) ?? 0) + 1);
    const submitted = expected.get(label);
    const content = copy.content.toString("latin1");
    if (submitted === undefined) wrong.push(`${name}: ${label} was never accepted`);
    else if (!isSameButReceived(content, submitted)) {
      wrong.push(
        `${name}: ${label} differs: ${JSON.stringify(content.slice(-300))} for ${JSON.stringify(submitted.slice(-300))}`,
      );
    }
    // With none of these on the wire, the laxest receiver sees the same boundaries as a strict one.
    if (/\r(?!\n)|(?<!\r)\n|\0/.test(copy.wire.toString("latin1"))) wrong.push(`${name}: ${label} has bare octets`);
  }
  for (const label of expected.keys())
    if (seen.get(label) !== 1) wrong.push(`${name}: ${label} x ${seen.get(label) ?? 0}`);
  for (const stray of receiver.strays) wrong.push(`${name}: stray ${JSON.stringify(stray)}`);
  return wrong;
}

/** Postern puts one Received field on top; where fields or the empty line miss, it adds them. */
function isSameButReceived(content: string, submitted: string): boolean {
  if (!content.startsWith("Received: from ")) return false;
  const own = content.slice(/\r\n(?![ \t])/.exec(content)?.index as number).slice(2);
  if (submitted.startsWith(fields)) return own === submitted || own === `${submitted}\r\n`;
  const added = /^Date: [^\r\n]+\r\nMessage-ID: <[^\r\n]+>\r\n\r\n/.exec(own)?.[0] ?? "";
  return own === added + submitted || own === added + submitted.replace(/^\r\n/, "");
}

async function check(t: Test, world: World, cases: readonly Case[], label: string): Promise<number> {
  for (const receiver of world.receivers.values()) {
    receiver.copies.length = 0;
    receiver.strays.length = 0;
  }
  const { wrong, taken } = await submit(world, cases, label);
  for (const [name, receiver] of world.receivers) wrong.push(...(await compare(name, receiver, taken)));
  t.same(wrong.slice(0, 20), [], `${cases.length} contents, ${taken.size} taken`);
  return taken.size;
}

test("octets in at the listener, octets out at receivers in every mode of transfer", async (t) => {
  const world = await startWorld(t);

  await t.test("every pair of line ends around a dot or two: one message everywhere, or a 550 and none", async (t) => {
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
    const cases: Case[] = [];
    for (const before of ends)
      for (const dots of [".", ".."])
        for (const after of ends)
          for (const send of [atOnce, octetByOctet]) {
            const one = caseOf(`${head}x${before}${dots}${after}`, send);
            if (one !== undefined) cases.push(one);
          }
    // What an attacker would have behind such an end.
    for (const before of ends)
      for (const after of ends) {
        const one = caseOf(
          `${head}x${before}.${after}MAIL FROM:<evil@example.com>\r\nRCPT TO:<v@data.test>\r\nDATA\r\ny`,
          atOnce,
        );
        if (one !== undefined) cases.push(one);
      }
    const taken = await check(t, world, cases, "p");
    t.ok(cases.length > 800 && taken > 15, `${cases.length} contents, ${taken} taken`);
  });

  await t.test("lines of dots at every place of a chunk: not one is lost, added, or the end", async (t) => {
    const cases: Case[] = [];
    // Each line is so short that, over the shifts, a dot stands at every octet around every chunk's end.
    for (const [line, shifts] of [
      ["..\r\n", 4],
      ["...\r\n", 5],
      ["..x\r\n", 5],
      ["x\r\n", 3],
    ] as const) {
      for (let shift = 0; shift < shifts; shift++) {
        cases.push({
          name: `${JSON.stringify(line)} shifted by ${shift}`,
          raw: `${head}${"y".repeat(shift)}\r\n${line.repeat(Math.ceil(270_000 / line.length))}.\r\n`,
          send: atOnce,
        });
      }
    }
    t.equal(await check(t, world, cases, "c"), cases.length);
  });

  await t.test("contents of odd shapes arrive as they are", async (t) => {
    const shapes = {
      "no octets": "",
      "only an empty line": "\r\n",
      "only empty lines": "\r\n".repeat(500),
      "only fields": fields,
      "only fields and the empty line": head,
      "no fields": "x: y z\r\n".replace(":", ""),
      "a dot first": "..x\r\n",
      "one stuffed dot": "..\r\n",
      "a line of 1 MiB": `${head}${"z".repeat(lineBytesMax - 2)}\r\n`,
      "a line of 1 MiB of dots": `${head}${".".repeat(lineBytesMax - 2)}\r\n`,
      "octets above 127 in a field": `${fields}Subject: gr\u00fc\u00df\r\n\r\nx\r\n`,
    };
    const cases = Object.entries(shapes).map(([name, text]) => ({ name, raw: `${text}.\r\n`, send: atOnce }));
    t.equal(await check(t, world, cases, "s"), cases.length);
  });

  await t.test("25 MiB arrive octet for octet", async (t) => {
    const line = `..${"0123456789".repeat(7)}\r\n`;
    const raw = `${head}${line.repeat(Math.floor((25 * 1024 * 1024) / line.length))}.\r\n`;
    t.equal(await check(t, world, [{ name: "25 MiB", raw, send: atOnce }], "b"), 1);
  });

  await t.test("what is too large or too long is refused, and the session goes on", async (t) => {
    const client = await Client.connect(world.postern.smtpPort);
    await client.reply();
    await client.ask("EHLO client.test");
    for (const [text, answer] of [
      [`${fields}${"X-A: b\r\n".repeat(9_000)}`, /^552 5\.3\.4/],
      [`X-A: ${"b".repeat(70_000)}\r\n`, /^552 5\.3\.4/],
      [`${"X-A: b\r\n".repeat(5_000)}\r\nx\r\n`, /^552 5\.3\.4/],
      [`X-A: b\r\n${" c\r\n".repeat(20_000)}`, /^552 5\.3\.4/],
      [`${head}${"y".repeat(lineBytesMax - 1)}\r\n`, /^554 5\.6\.0/],
      [`${head}${`${"y".repeat(99_998)}\r\n`.repeat(Math.ceil(messageBytesMax / 100_000))}`, /^552 5\.3\.4/],
    ] as const) {
      await client.codes(["MAIL FROM:<a@example.com>", "RCPT TO:<r@data.test>", "DATA"]);
      client.send(text);
      t.match(await client.ask("."), answer);
    }
    t.match(await client.ask("NOOP"), /^250/);
    client.destroy();
  });

  await t.test("a peer without SMTPUTF8, 8BITMIME and DSN is asked for none of them", async (t) => {
    const client = await Client.connect(world.postern.smtpPort);
    await client.reply();
    await client.ask("EHLO client.test");
    const send = async (mail: string, rcpt: string, text: string): Promise<void> => {
      t.equal(await client.codes([mail, rcpt, "DATA"]), "250 250 354");
      client.send(text);
      t.match(await client.ask("."), /^250/);
    };
    const utf8 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");
    await send(utf8("MAIL FROM:<> SMTPUTF8"), utf8("RCPT TO:<gr\u00fc\u00df@plain.test>"), `${head}one\r\n`);
    await send("MAIL FROM:<> BODY=8BITMIME", "RCPT TO:<eight@plain.test>", `${head}\u00fc\r\n`);
    await send(
      "MAIL FROM:<> RET=HDRS ENVID=x+2By SIZE=100",
      "RCPT TO:<dsn@plain.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@example.com",
      `${head}three\r\n`,
    );
    await send("MAIL FROM:<>", "RCPT TO:<last@plain.test>", `${head}four\r\n`);
    client.destroy();
    for (let ms = 0; world.plain.copies.length < 2 && ms < deliveryMs; ms += 20) await wait(20);
    await wait(200);
    t.same(
      world.plain.copies.map(({ mail, rcpts }) => [mail, ...rcpts]).sort(),
      [
        ["MAIL FROM:<>", "RCPT TO:<dsn@plain.test>"],
        ["MAIL FROM:<>", "RCPT TO:<last@plain.test>"],
      ],
      "and the null reverse-path gets no report of the others",
    );
    t.same(world.plain.strays, []);
  });
});
