// Stories of two shards at one operator that counts: what it allows a source is meant for both together.

import { type Test, test } from "tap";
import { Ledger, type Receipt } from "../../native-bench/sink/ledger.ts";
import { type OperatorProfile, openOperator } from "../../native-bench/sink/operator.ts";
import { SinkServer } from "../../native-bench/sink/sink-server.ts";
import { shardOfQueueId } from "../../src/core/ids.ts";
import { submit, until } from "./life.ts";
import { type RunningPostern, startPostern } from "./running-postern.ts";

/** How long the operator thinks about each message, so that connections are what is short. */
const thinkMs = 25;

interface World {
  readonly postern: RunningPostern;
  /** Of each shard, since they listen at ports of their own here. */
  readonly ports: readonly number[];
  readonly ledger: Ledger;
  readonly sink: SinkServer;
  readonly peak: () => number | undefined;
}

async function openWorld(t: Test, limits: string, profile: Partial<OperatorProfile>): Promise<World> {
  const ledger = new Ledger();
  const operator = { ...openOperator, finalDotDelay: { medianMs: thinkMs, sigma: 0, maxMs: thinkMs }, ...profile };
  const sink = new SinkServer([{ profile: operator, hostName: "mx.test", addresses: ["127.0.0.1"] }], ledger, 1);
  const port = await sink.listen(0);
  t.teardown(() => sink.close());
  const postern = await startPostern(
    (folder) => `hostname: mta.test
shards: 2
spool: { path: ${folder}/spool, free_space_min: 1MiB, map_size: 64MiB }
ingest: { smtp: [{ listen: "127.0.0.1:0" }] }
dns: { servers: ["127.0.0.1:1"], timeout: 100ms }
events: { path: ${folder}/events }
admin: { listen: "127.0.0.1:0" }
delivery: { port: ${port}, internal_networks_allowed: [127.0.0.0/8] }
sites: { defaults: { messages_per_connection_max: 1000, ${limits} } }
`,
  );
  t.teardown(() => postern.stop());
  const ports = postern
    .log()
    .split("\n")
    .filter((line) => line.includes('"shard open"'))
    .map((line) => Number(JSON.parse(line).listening[0].split(":")[1]));
  return { postern, ports, ledger, sink, peak: () => sink.counts()[0]?.connectionsPeakPerAddress };
}

/** So many messages to each shard, both at a time. */
async function submitAll({ ports }: World, count: number): Promise<void> {
  await Promise.all(
    ports.flatMap((port) => Array.from({ length: count }, (_, i) => submit(port, `m${i}`).then(assertTaken))),
  );
}

function assertTaken(reply: string): void {
  if (!reply.startsWith("250")) throw new Error(`not accepted: ${reply}`);
}

const shardsOf = (receipts: readonly Receipt[]) => receipts.map(({ queueId }) => shardOfQueueId(queueId));

test("two shards together have no more connections than the operator allows, and use them all", async (t) => {
  const world = await openWorld(t, "connections_max: 4, rate: unlimited, connection_rate: unlimited", {
    connectionsPerAddressMax: 4,
  });
  t.equal(world.ports.length, 2);
  await submitAll(world, 60);
  t.ok(await until(() => world.ledger.receiptCount === 120), `${world.ledger.receiptCount} of 120 came`);
  t.same(world.ledger.breaches, []);
  t.equal(world.peak(), 4);
  const shards = shardsOf(world.ledger.receipts());
  t.equal(shards.filter((shard) => shard === 1).length, 60, "half of them by each shard");
});

test("two shards take turns with a single connection, and keep it for a while", async (t) => {
  const world = await openWorld(t, "connections_max: 1, rate: unlimited, connection_rate: unlimited", {
    connectionsPerAddressMax: 1,
  });
  await submitAll(world, 80);
  t.ok(await until(() => world.ledger.receiptCount === 160), `${world.ledger.receiptCount} of 160 came`);
  t.same(world.ledger.breaches, []);
  t.equal(world.peak(), 1);
  const turns: number[] = [];
  for (const shard of shardsOf(world.ledger.receipts())) if (shard !== turns.at(-1)) turns.push(shard);
  // 160 messages take four seconds, and a turn is a second.
  t.ok(turns.length >= 3 && turns.length <= 8, `turns: ${turns}`);
});

test("two shards together keep to a rate", async (t) => {
  const world = await openWorld(t, "connections_max: 4, rate: 20/s, connection_rate: unlimited", {
    // Messages may be late on their way, and so come closer together than they left.
    addressRate: { perSecond: 20, burst: 6 },
  });
  await submitAll(world, 30);
  t.ok(await until(() => world.ledger.receiptCount === 60), `${world.ledger.receiptCount} of 60 came`);
  t.same(world.ledger.breaches, []);
  const spanMs = (world.ledger.receipts().at(-1)?.dotAt ?? 0) - (world.ledger.receipts()[0]?.dotAt ?? 0);
  t.ok(spanMs < 4_000, `${spanMs} ms for 60 messages at 20/s`);
  const half = shardsOf(world.ledger.receipts().slice(0, 30)).filter((shard) => shard === 1).length;
  t.ok(half >= 9 && half <= 21, `of the first half ${half} came from shard 1`);
});
