// That waiting changes really share one transaction, what bounds it, and that reading a deep queue's names is quick.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { openEnvironmentForReading } from "../../src/spool/environment.ts";
import { acceptOf, finishOf, idOf, patternOf } from "../contract/spool-fixture.ts";
import { openTestSpool } from "./lmdb-fixture.ts";

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "0");
}

function transactionOf(path: string): number {
  const { root } = openEnvironmentForReading(path);
  const { lastTxnId } = root.getStats() as { lastTxnId: number };
  return lastTxnId;
}

test("changes of one event turn are one LMDB transaction, whatever their number and size", async (t) => {
  const path = await folderOf(t);
  const spool = await openTestSpool(path);
  await spool.commit([acceptOf(0)]);
  const before = transactionOf(path);
  const commits = spool.usage().commits;
  // More octets than lmdb puts into one batch of instructions, so that its writer starts before the turn has ended.
  const content = patternOf(100_000, 1);
  await Promise.all(Array.from({ length: 100 }, (_, n) => spool.commit([acceptOf(n + 1, { content })])));
  t.equal(transactionOf(path) - before, 1);
  t.equal(spool.usage().commits - commits, 1);
  await spool.close();
});

test("changes that come while a transaction is under way wait for the next one and share it", async (t) => {
  const path = await folderOf(t);
  const spool = await openTestSpool(path);
  const first = spool.commit([acceptOf(0)]);
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  const later = Array.from({ length: 50 }, (_, n) => spool.commit([acceptOf(n + 1)]));
  await Promise.all([first, ...later]);
  t.ok(spool.usage().commits <= 3, `${spool.usage().commits} transactions`);
  await spool.close();
});

test("a transaction drops a bounded number of records", async (t) => {
  const path = await folderOf(t);
  const operations: number[] = [];
  const spool = await openTestSpool(path, { onCommit: (_ms, count) => operations.push(count) });
  const accepts = Array.from({ length: 600 }, (_, n) => acceptOf(n));
  await Promise.all(accepts.map((accept) => spool.commit([accept])));
  t.equal(operations.at(-1), 600, "puts share");
  operations.length = 0;
  await Promise.all(accepts.flatMap(({ entries }) => entries.map((entry) => spool.commit([finishOf(entry)]))));
  t.ok(Math.max(...operations) <= 129, `${operations}`);
  t.ok(operations.length >= 4);
  t.equal(spool.usage().commits, 1 + operations.length);
  await spool.close();
});

test("the file stops growing when as much goes as comes", async (t) => {
  const path = await folderOf(t);
  const spool = await openTestSpool(path);
  const sizes: number[] = [];
  for (let round = 0; round < 60; round++) {
    const accepts = Array.from({ length: 20 }, (_, n) => acceptOf(round * 20 + n, { content: patternOf(9_000, n) }));
    await Promise.all(accepts.map((accept) => spool.commit([accept])));
    await Promise.all(accepts.flatMap(({ entries }) => entries.map((entry) => spool.commit([finishOf(entry)]))));
    sizes.push(spool.usage().fileBytes);
  }
  t.ok((sizes[59] as number) <= (sizes[20] as number) * 1.2, `${sizes[20]} to ${sizes[59]}`);
  t.ok(spool.usage().liveBytes < 100_000, "nothing is left behind");
  await spool.close();
});

test("the names of 1,000 queues among 50,000 entries are found without reading the entries", async (t) => {
  const path = await folderOf(t);
  const clock = new SystemClock();
  const spool = await openTestSpool(path, { clock });
  const domains = Array.from({ length: 1_000 }, (_, n) => `domain-${String(n).padStart(5, "0")}.example`);
  for (let message = 0; message < 50; message += 2) {
    await Promise.all([0, 1].map((n) => spool.commit([acceptOf(message + n, { domains })])));
  }
  await spool.close();
  const openedAt = clock.monotonicMs();
  const again = await openTestSpool(path, { clock });
  const openMs = clock.monotonicMs() - openedAt;
  const startedAt = clock.monotonicMs();
  const names = [...again.queues()];
  const ms = clock.monotonicMs() - startedAt;
  t.equal(names.length, 1_000);
  t.ok(ms < 150, `queues took ${ms} ms`);
  t.ok(openMs < 500, `opening took ${openMs} ms`);
  t.equal(again.countQueue(names[0] as (typeof names)[0]), 50);
  t.ok(again.readMessage(idOf(1)));
  await again.close();
});
