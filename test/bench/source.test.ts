// The load source against the sink: what it says was acknowledged is what arrived, whatever it is asked to send.

import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test } from "tap";
import { Ledger } from "../../native-bench/sink/ledger.ts";
import { type OperatorProfile, openOperator } from "../../native-bench/sink/operator.ts";
import { SinkServer } from "../../native-bench/sink/sink-server.ts";
import type { LoadPlan } from "../../native-bench/source/load-plan.ts";
import { LoadSource } from "../../native-bench/source/load-source.ts";

const address = "127.0.0.1";

const plainPlan: Omit<LoadPlan, "target"> = {
  runId: "run",
  messages: 60,
  sessions: 1,
  messagesPerSession: 1_000,
  ratePerSecond: undefined,
  bodyBytes: 3_000,
  recipientsPerMessage: 1,
  reversePath: "a@sender.example",
  domains: [{ domain: "x.example", weight: 1 }],
  stream: undefined,
  dotLines: true,
  seed: 3,
};

async function loadAgainst(
  profile: Partial<OperatorProfile>,
  changes: Partial<LoadPlan>,
  extensions?: readonly string[],
  startTls = false,
) {
  const ledger = new Ledger();
  const setup = {
    profile: { ...openOperator, name: "test", ...profile },
    hostName: "mx.test.example",
    addresses: [address],
    startTls,
    extensions,
  };
  const sink = new SinkServer([setup], ledger, 1);
  const port = await sink.listen(0);
  const source = new LoadSource({ ...plainPlan, target: { host: address, port }, sessions: 4, ...changes });
  await source.run();
  await sink.close();
  return { ledger, source, counts: source.counts() };
}

test("messages of several sizes arrive unchanged, one copy for each recipient acknowledged", async (t) => {
  const bodyBytes = [
    { bytes: 300, weight: 3 },
    { bytes: 9_000, weight: 2 },
    { bytes: 200_000, weight: 1 },
  ];
  const { ledger, source, counts } = await loadAgainst({}, { bodyBytes, recipientsPerMessage: 3 });
  t.equal(counts.acknowledged, 60);
  const promised = source
    .acknowledgements()
    .flatMap(({ benchId, recipients }) => recipients.map((to) => `${benchId} ${to}`));
  const got = ledger.receipts().map(({ benchId, recipient }) => `${benchId} ${recipient}`);
  t.strictSame(got.toSorted(), promised.toSorted());
  t.ok(ledger.receipts().every(({ bodyIntact }) => bodyIntact === true));
  const sizes = new Set(ledger.receipts().map(({ contentBytes }) => Math.round(Math.log10(contentBytes))));
  t.ok(sizes.size >= 3, `sizes ${[...sizes]}`);
});

test("recipients refused at RCPT are not among those acknowledged, with PIPELINING and without", async (t) => {
  for (const extensions of [undefined, ["8BITMIME"]]) {
    const { ledger, source, counts } = await loadAgainst(
      { unknownUserShare: 0.4 },
      { recipientsPerMessage: 4 },
      extensions,
    );
    const promised = source.acknowledgements().flatMap(({ recipients }) => recipients);
    t.ok(promised.length > 60 && promised.length < 240, `${promised.length} of 240`);
    t.strictSame(
      ledger
        .receipts()
        .map(({ recipient }) => recipient)
        .toSorted(),
      promised.toSorted(),
    );
    t.equal(counts.acknowledged + counts.refused, 60);
  }
});

test("a connection for each message, after STARTTLS, has its time from connect to 250", async (t) => {
  const { ledger, counts } = await loadAgainst(
    {},
    { messagesPerSession: 1, startTls: true, messages: 12 },
    undefined,
    true,
  );
  t.equal(counts.acknowledged, 12);
  t.equal(counts.connectTo250.count, 12);
  t.ok(counts.connectTo250.p50Ms >= counts.greeting.p50Ms);
  t.equal(ledger.receiptCount, 12);
});

test("bursts leave at their time, and weights draw the domains", async (t) => {
  const domains = [
    { domain: "heavy.example", weight: 9 },
    { domain: "light.example", weight: 1 },
    { domain: "never.example", weight: 0 },
  ];
  const { ledger } = await loadAgainst(
    {},
    { messages: 200, sessions: 100, bursts: { messages: 100, everyMs: 300 }, domains },
  );
  const at = ledger
    .receipts()
    .map(({ dotAt }) => dotAt)
    .toSorted((one, other) => one - other);
  t.ok((at[100] ?? 0) - (at[0] ?? 0) >= 250, "the second burst waits");
  const of = (domain: string): number => ledger.receipts().filter(({ recipient }) => recipient.endsWith(domain)).length;
  t.ok(of("heavy.example") > 150, `${of("heavy.example")} of 200`);
  t.ok(of("light.example") > 3);
  t.equal(of("never.example"), 0);
});

test("a server that breaks the connection at the reply leaves the message uncertain", async (t) => {
  const { source, counts } = await loadAgainst({ lostReplyShare: 1 }, { messages: 5, sessions: 1 });
  t.equal(counts.acknowledged, 0);
  t.equal(source.uncertain.length, 5);
});

test("a server that ends the session after some messages gets the one behind the final dot again over another", async (t) => {
  for (const messagesEnd of ["refuse", "silent"] as const) {
    const { ledger, source, counts } = await loadAgainst({ messagesPerConnectionMax: 3, messagesEnd }, {});
    t.equal(counts.acknowledged, 60, messagesEnd);
    t.equal(source.uncertain.length, 0);
    t.equal(new Set(ledger.receipts().map(({ benchId }) => benchId)).size, 60);
    t.equal(ledger.receiptCount, 60, "none came twice");
  }
});

test("messages put off are offered again, and behind a final dot nothing is forgotten", async (t) => {
  for (const deferAt of ["rcpt", "final-dot"] as const) {
    const { ledger, counts } = await loadAgainst({ deferShare: 0.2, deferAt }, { messages: 40 });
    t.equal(counts.acknowledged, 40, deferAt);
    t.ok(counts.refusedForNow > 0);
    t.equal(new Set(ledger.receipts().map(({ benchId }) => benchId)).size, 40);
  }
});

test("the next envelope leaves with the final dot where PIPELINING is offered, and at a rate it does not", async (t) => {
  for (const [ratePerSecond, extensions, together] of [
    [undefined, ["PIPELINING"], true],
    [undefined, ["SIZE 1000000"], false],
    [500, ["PIPELINING"], false],
  ] as const) {
    const heard: string[] = [];
    const server = createServer((socket) => answerAll(socket, extensions, heard)).listen(0, address);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const source = new LoadSource({ ...plainPlan, target: { host: address, port }, ratePerSecond, messages: 6 });
    await source.run();
    server.close();
    t.equal(source.counts().acknowledged, 6);
    t.equal(heard.filter((text) => text.includes("\r\n.\r\nMAIL FROM")).length, together ? 5 : 0);
    t.equal(heard.join("").split("\r\n.\r\n").length, 7);
  }
});

/** A server that takes all. What came in one read is one text. */
function answerAll(socket: Socket, extensions: readonly string[], heard: string[]): void {
  let inContent = false;
  socket.on("error", () => undefined);
  socket.write("220 x\r\n");
  socket.on("data", (chunk) => {
    const text = String(chunk);
    heard.push(text);
    let replies = "";
    for (const line of text.split("\r\n").slice(0, -1)) {
      if (inContent && line !== ".") continue;
      inContent = line === "DATA";
      if (line.startsWith("EHLO")) replies += `250-x\r\n250 ${extensions.join("\r\n250 ")}\r\n`;
      else if (inContent) replies += "354 go on\r\n";
      else replies += `250 2.0.0 queued as ${heard.length}\r\n`;
    }
    socket.write(replies);
  });
}
