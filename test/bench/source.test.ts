// The load source against the sink: what it says was acknowledged is what arrived, whatever it is asked to send.

import { test } from "tap";
import { Ledger } from "../../native-bench/sink/ledger.ts";
import { type OperatorProfile, openOperator } from "../../native-bench/sink/operator.ts";
import { SinkServer } from "../../native-bench/sink/sink-server.ts";
import type { LoadPlan } from "../../native-bench/source/load-plan.ts";
import { LoadSource } from "../../native-bench/source/load-source.ts";

const address = "127.0.0.1";

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
  const source = new LoadSource({
    runId: "run",
    target: { host: address, port },
    messages: 60,
    sessions: 4,
    messagesPerSession: 1_000,
    ratePerSecond: undefined,
    bodyBytes: 3_000,
    recipientsPerMessage: 1,
    reversePath: "a@sender.example",
    domains: [{ domain: "x.example", weight: 1 }],
    stream: undefined,
    dotLines: true,
    seed: 3,
    ...changes,
  });
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
  const promised = source.acknowledgements.flatMap(({ benchId, recipients }) =>
    recipients.map((to) => `${benchId} ${to}`),
  );
  const got = ledger.receipts.map(({ benchId, recipient }) => `${benchId} ${recipient}`);
  t.strictSame(got.toSorted(), promised.toSorted());
  t.ok(ledger.receipts.every(({ bodyIntact }) => bodyIntact === true));
  const sizes = new Set(ledger.receipts.map(({ contentBytes }) => Math.round(Math.log10(contentBytes))));
  t.ok(sizes.size >= 3, `sizes ${[...sizes]}`);
});

test("recipients refused at RCPT are not among those acknowledged, with PIPELINING and without", async (t) => {
  for (const extensions of [undefined, ["8BITMIME"]]) {
    const { ledger, source, counts } = await loadAgainst(
      { unknownUserShare: 0.4 },
      { recipientsPerMessage: 4 },
      extensions,
    );
    const promised = source.acknowledgements.flatMap(({ recipients }) => recipients);
    t.ok(promised.length > 60 && promised.length < 240, `${promised.length} of 240`);
    t.strictSame(ledger.receipts.map(({ recipient }) => recipient).toSorted(), promised.toSorted());
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
  t.equal(ledger.receipts.length, 12);
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
  const at = ledger.receipts.map(({ dotAt }) => dotAt).toSorted((one, other) => one - other);
  t.ok((at[100] ?? 0) - (at[0] ?? 0) >= 250, "the second burst waits");
  const of = (domain: string): number => ledger.receipts.filter(({ recipient }) => recipient.endsWith(domain)).length;
  t.ok(of("heavy.example") > 150, `${of("heavy.example")} of 200`);
  t.ok(of("light.example") > 3);
  t.equal(of("never.example"), 0);
});

test("a server that breaks the connection at the reply leaves the message uncertain", async (t) => {
  const { source, counts } = await loadAgainst({ lostReplyShare: 1 }, { messages: 5, sessions: 1 });
  t.equal(counts.acknowledged, 0);
  t.equal(source.uncertain.length, 5);
});
