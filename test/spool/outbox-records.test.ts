// That events are kept in records of one page: longer ones make LMDB search the whole of its free list for pages in a row.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import { openEnvironmentForReading } from "../../src/spool/environment.ts";
import { acceptOf, finishOf, patternOf } from "../contract/spool-fixture.ts";
import { openTestSpool } from "./lmdb-fixture.ts";

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "0");
}

function lineOf(bytes: number, number: number): string {
  return `${number} `
    .padEnd(bytes - 1, "é")
    .slice(0, bytes - 1)
    .concat("\n");
}

test("events of one transaction fill records of one page each, cut at line ends, and come back whole", async (t) => {
  const path = await folderOf(t);
  const spool = await openTestSpool(path);
  const changes = [
    // Ten lines of one operation, as a message of ten recipients brings them, and thousands of single ones.
    Array.from({ length: 10 }, (_, n) => lineOf(700, n)).join(""),
    ...Array.from({ length: 2_000 }, (_, n) => lineOf(300 + (n % 40) * 10, n)),
  ];
  await Promise.all(changes.map((lines) => spool.commit([{ kind: "events", lines }])));
  const records = spool.readOutbox(0, 10_000);
  t.equal(Buffer.concat(records.map(({ lines }) => lines)).toString(), changes.join(""));
  t.ok(
    records.every(({ lines }) => lines.at(-1) === 10),
    "no line is in two records",
  );
  const { overflowPages } = openEnvironmentForReading(path).outbox.getStats() as { overflowPages: number };
  t.ok(overflowPages > 100 && overflowPages <= records.length, `${overflowPages} pages, ${records.length} records`);
  await spool.close();
});

test("a line longer than a page is kept, alone in its record", async (t) => {
  const spool = await openTestSpool(await folderOf(t));
  const lines = [lineOf(100, 1), lineOf(20_000, 2), lineOf(100, 3)];
  await spool.commit([{ kind: "events", lines: lines.join("") }]);
  t.same(
    spool.readOutbox(0, 10).map(({ lines }) => lines.toString()),
    lines,
  );
  await spool.close();
});

test("events find room between the mail that is left: where a queue drains, the file does not grow", async (t) => {
  const path = await folderOf(t);
  const spool = await openTestSpool(path);
  const accepts = Array.from({ length: 1_200 }, (_, n) => acceptOf(n, { content: patternOf(4_400, n) }));
  await Promise.all(accepts.map((accept) => spool.commit([accept])));
  // Each second message goes, so that no three free pages are neighbours.
  const gone = accepts.filter((_, n) => n % 2 === 0).flatMap(({ entries }) => entries);
  await Promise.all(gone.map((entry) => spool.commit([finishOf(entry)])));
  // What one transaction frees, the one after the next may take.
  for (let i = 0; i < 2; i++) await spool.commit([{ kind: "events", lines: lineOf(100, i) }]);
  const before = spool.usage().fileBytes;
  for (let i = 0; i < 10; i++) {
    const lines = Array.from({ length: 300 }, (_, n) => lineOf(600, n));
    await Promise.all(lines.map((line) => spool.commit([{ kind: "events", lines: line }])));
  }
  t.equal(spool.usage().fileBytes, before);
  await spool.close();
});

test("what the log has is dropped as fast as events come in", async (t) => {
  const path = await folderOf(t);
  const spool = await openTestSpool(path);
  const lines = Array.from({ length: 2_000 }, (_, n) => lineOf(600, n)).join("");
  for (let i = 0; i < 5; i++) {
    await spool.commit([{ kind: "events", lines }]);
    const throughSequence = spool.readOutbox(0, 10_000).at(-1)?.sequence ?? 0;
    await spool.commit([{ kind: "trim-outbox", throughSequence }]);
  }
  await spool.commit([{ kind: "events", lines: "last\n" }]);
  t.equal(spool.readOutbox(0, 10).length, 1);
  const { entryCount } = openEnvironmentForReading(path).outbox.getStats() as { entryCount: number };
  t.ok(entryCount <= 2, `${entryCount} records are on the disk`);
  await spool.close();
});
