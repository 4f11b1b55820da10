// `spool check` finds each kind of damage; export and import carry a spool over whole.

import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import { Arena } from "../../src/spool/arena.ts";
import { openEnvironment } from "../../src/spool/environment.ts";
import { mailKey, mailKind, placeKey } from "../../src/spool/keys.ts";
import { encodeNumber, recordKind } from "../../src/spool/record-codec.ts";
import { checkSpool, DamagedRecordError, exportSpool, importSpool, type Spool } from "../../src/spool/spool.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { acceptOf, finishOf, idOf, patternOf, rescheduleOf, start } from "../contract/spool-fixture.ts";
import { SimClock } from "../support/sim-clock.ts";
import { changeRecord, damageRecord, openTestSpool, testMapBytes } from "./lmdb-fixture.ts";

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Message 1 with two entries and three chunks, message 2 with one of each. */
async function filledSpool(t: Test): Promise<string> {
  const path = join(await folderOf(t), "0");
  const spool = await openTestSpool(path);
  await spool.commit([acceptOf(1, { domains: ["a.example", "b.example"], content: patternOf(140_000, 1) })]);
  await spool.commit([acceptOf(2, { idempotency: { key: "shop k2", expiresAt: start + 1_000_000 } })]);
  await spool.commit([{ kind: "events", lines: "one\ntwo\n" }]);
  await spool.commit([
    { kind: "put-hold", hold: { id: "h1", selection: { stream: "news" }, reason: "r", by: "ann", at: start } },
  ]);
  await spool.close();
  return path;
}

test("a sound spool checks clean, with its counts", async (t) => {
  const path = await filledSpool(t);
  let progress = 0;
  const result = await checkSpool(path, {
    onProgress: ({ records }) => {
      progress = records;
    },
  });
  t.match(result, { problemCount: 0, messages: 2, entries: 3, chunks: 4, places: 3, holds: 1, outboxRecords: 1 });
  t.match(result, { idempotencyRecords: 1, schema: 1, quarantined: 0 });
  t.ok(progress > 10);
});

const place1 = placeKey({ stream: "news", domain: "a.example" }, { dueAt: start, queueId: idOf(1), entryNo: 0 });

const damages: readonly [string, string, (path: string) => Promise<void>][] = [
  ["damaged-record", "a flipped bit in a message", (path) => damageRecord(path, idOf(1), mailKind.message, 0)],
  ["damaged-record", "a flipped bit in an entry", (path) => damageRecord(path, idOf(1), mailKind.entry, 1)],
  ["damaged-record", "a flipped bit in a chunk", (path) => damageRecord(path, idOf(1), mailKind.chunk, 2)],
  ["damaged-record", "a chunk cut short", (path) => change(path, mailKind.chunk, 0, (old) => old.subarray(0, 500))],
  ["missing-chunk", "a chunk that is gone", (path) => change(path, mailKind.chunk, 1, () => undefined)],
  ["missing-entry", "an entry that is gone", (path) => change(path, mailKind.entry, 1, () => undefined)],
  ["missing-message", "a message that is gone", (path) => change(path, mailKind.message, 0, () => undefined)],
  ["wrong-pending-count", "a wrong count", (path) => change(path, mailKind.pending, 0, () => countOf(7))],
  ["wrong-pending-count", "a count that is gone", (path) => change(path, mailKind.pending, 0, () => undefined)],
  ["entry-without-place", "a place that is gone", (path) => tamper(path, (queue) => queue.remove(place1))],
];

for (const [kind, story, damage] of damages) {
  test(`the check finds ${story}`, async (t) => {
    const path = await filledSpool(t);
    await damage(path);
    const { problems, problemCount } = await checkSpool(path);
    t.ok(problemCount > 0);
    const found = problems.filter((problem) => problem.kind === kind);
    t.equal(found[0]?.queueId, idOf(1), JSON.stringify(problems));
  });
}

test("the check finds a place without its entry", async (t) => {
  const path = await filledSpool(t);
  const strange = placeKey({ stream: "news", domain: "a.example" }, { dueAt: start, queueId: idOf(5), entryNo: 0 });
  await tamper(path, (queue) => {
    const record = queue.get(place1) as Buffer;
    return queue.put(strange, Buffer.from(record));
  });
  const { problems } = await checkSpool(path);
  t.equal(problems[0]?.kind, "damaged-record", "a record under another key does not fit it");
});

test("a bit that flips in the file itself is never sent and is found", async (t) => {
  const path = await filledSpool(t);
  const file = join(path, "data.mdb");
  const octets = await readFile(file);
  const at = octets.indexOf(patternOf(140_000, 1).subarray(70_000, 70_050));
  t.ok(at > 0);
  octets[at + 3] = (octets[at + 3] as number) ^ 1;
  await writeFile(file, octets);
  const { problems } = await checkSpool(path);
  t.match(problems, [{ kind: "damaged-record", queueId: idOf(1), detail: "chunk 1: CRC-32 does not match" }]);
  const spool = await openTestSpool(path);
  t.throws(() => [...spool.readContent(idOf(1))], DamagedRecordError);
  t.ok(spool.readMessage(idOf(1)), "its other records can be read");
  t.ok([...spool.readContent(idOf(2))].length, "other messages go on");
  await spool.close();
});

test("a file that is cut off is refused in words, not with a bus error", async (t) => {
  const path = await filledSpool(t);
  const wide = await openTestSpool(path);
  await wide.commit([acceptOf(9, { content: patternOf(2_000_000, 1) })]);
  await wide.close();
  await truncate(join(path, "data.mdb"), 300_000);
  await t.rejects(checkSpool(path), /cut off/);
  await t.rejects(openTestSpool(path), /cut off/);
});

test("no spool, and one of a newer version, are refused in words", async (t) => {
  const folder = await folderOf(t);
  await t.rejects(checkSpool(join(folder, "none")), /no spool/);
  const { writeSchema } = await import("../../src/spool/recovery.ts");
  const path = await filledSpool(t);
  const environment = openEnvironment(path, testMapBytes);
  await writeSchema(environment, 2);
  await environment.root.close();
  await t.rejects(openTestSpool(path), /schema 2/);
  await t.rejects(checkSpool(path), /schema 2/);
});

test("after a failed commit the spool opens only when all of it can be read", async (t) => {
  const path = await filledSpool(t);
  const bad = `${path}-bad`;
  await cp(path, bad, { recursive: true });
  for (const each of [path, bad]) await writeFile(join(each, "commit-failed"), "EIO\n");
  const spool = await openTestSpool(path);
  await spool.close();
  t.notOk((await readdir(path)).includes("commit-failed"), "the mark is gone");
  await damageRecord(bad, idOf(2), mailKind.chunk, 0);
  await t.rejects(openTestSpool(bad), /1 problems after a failed commit/);
  await t.rejects(openTestSpool(bad), /1 problems after a failed commit/, "and again");
});

test("a message whose records are gone bad leaves its queues all the same", async (t) => {
  const path = await filledSpool(t);
  await damageRecord(path, idOf(1), mailKind.entry, 0);
  const spool = await openTestSpool(path);
  t.throws(() => spool.readEntry(idOf(1), 0), DamagedRecordError);
  await spool.commit([{ kind: "quarantine", queueId: idOf(1), reason: "bad entry", at: start }]);
  t.same(
    [...spool.queues()].map(({ domain }) => domain),
    ["example.com"],
  );
  await spool.commit([{ kind: "quarantine", queueId: idOf(77), reason: "place without message", at: start }]);
  await spool.close();
});

test("an export brings everything into a new spool, and what is there already stays", async (t) => {
  const path = await filledSpool(t);
  const folder = await folderOf(t);
  const [out, into] = [join(folder, "out"), join(folder, "into")];
  const before = await openTestSpool(path);
  const [first] = before.readEntries(idOf(1));
  const [second] = before.readEntries(idOf(2));
  if (first === undefined || second === undefined) return;
  await before.commit([finishOf(first)]);
  await before.commit([rescheduleOf(second, start + 5_000)]);
  await before.commit([acceptOf(3), { kind: "quarantine", queueId: idOf(3), reason: "odd", at: start }]);
  const seen = view(before);
  await before.close();

  const exported = await exportSpool(path, out);
  t.match(exported, { messages: 3, quarantined: 1, holds: 1, idempotencyRecords: 1, outboxBatches: 1, damaged: [] });
  await t.rejects(exportSpool(path, out), /not empty/);
  const options = { mapSizeBytes: testMapBytes, clock: new SimClock(), log: silentLog };
  const imported = await importSpool(out, into, options);
  t.same(imported, { imported: 3, skipped: 0, quarantined: 1, holds: 1, idempotencyRecords: 1, outboxLines: 2 });
  const check = await checkSpool(into);
  t.match(check, { problemCount: 0, messages: 3, quarantined: 1 });
  const after = await openTestSpool(into);
  t.strictSame(view(after), seen);
  await after.close();
  t.match(await importSpool(out, into, options), { imported: 0, skipped: 3 });
  t.match(await checkSpool(into), { problemCount: 0, messages: 3 });
});

test("an export leaves out what is damaged and says so; a part of an export is refused", async (t) => {
  const path = await filledSpool(t);
  await damageRecord(path, idOf(1), mailKind.chunk, 1);
  const out = join(await folderOf(t), "out");
  const exported = await exportSpool(path, out);
  t.equal(exported.messages, 1);
  t.match(exported.damaged, [{ queueId: idOf(1), detail: /chunk 1/ }]);
  const options = { mapSizeBytes: testMapBytes, clock: new SimClock(), log: silentLog };
  const names = (await readdir(out, { recursive: true })).filter((name) => name.endsWith(".eml"));
  t.same(names.length, 1);
  await truncate(join(out, names[0] as string), 3);
  await t.rejects(importSpool(out, `${path}-2`, options), /length/);
  await rm(join(out, "manifest.json"));
  await t.rejects(importSpool(out, `${path}-3`, options), /no complete export/);
});

function view(spool: Spool) {
  const queues = [...spool.queues()].map((queue) => ({ queue, places: spool.scanQueue(queue, undefined, 100) }));
  const mail = [1, 2, 3].map((number) => ({
    message: spool.readMessage(idOf(number)),
    entries: spool.readEntries(idOf(number)),
    content: Buffer.concat([...spool.readContent(idOf(number))]).toString("base64"),
  }));
  const lines = spool.readOutbox(0, 100).map((batch) => batch.lines.toString());
  return { queues, mail, lines, holds: spool.holds(), key: spool.readIdempotency("shop k2") };
}

function change(path: string, kind: 0 | 1 | 2 | 3, number: number, to: (old: Buffer) => Buffer | undefined) {
  return changeRecord(path, idOf(1), kind, number, to);
}

function countOf(pending: number): Buffer {
  const key = mailKey(idOf(1), mailKind.pending, 0);
  return Buffer.from(encodeNumber(new Arena(), recordKind.pending, key, pending));
}

async function tamper(
  path: string,
  act: (queue: ReturnType<typeof openEnvironment>["queue"]) => Promise<unknown>,
): Promise<void> {
  const environment = openEnvironment(path, testMapBytes);
  await act(environment.queue);
  await environment.root.close();
}
