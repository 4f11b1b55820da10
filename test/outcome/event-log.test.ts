// The delivery log on a real disk: order, durability, rotation, age, and what happens when the disk refuses.

import { promises as fs, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "tap";
import { dayMs, hourMs } from "../../src/core/time.ts";
import { EventLog, pendingBytesMax } from "../../src/outcome/event-log.ts";
import { SimClock } from "../support/sim-clock.ts";

interface Scope {
  teardown(work: () => unknown): void;
}

function setUp(t: Scope, options: { rotateBytes?: number; stem?: string; path?: string } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "postern-events-"));
  const clock = new SimClock();
  const path = options.path === undefined ? folder : join(folder, options.path);
  const log = new EventLog({
    path,
    rotateBytes: options.rotateBytes ?? 1_000_000,
    keepMs: dayMs,
    clock,
    stem: options.stem,
  });
  t.teardown(async () => {
    await log.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const active = join(path, `${options.stem ?? "events"}.jsonl`);
  return { folder, path, clock, log, active, text: () => fs.readFile(active, "utf8") };
}

const line = (text: string) => Buffer.from(`${text}\n`);

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await condition()) return;
    await sleep(4);
  }
  throw new Error("it did not come about");
}

test("lines are on the disk, in order, when append resolves", async (t) => {
  const { log, text } = setUp(t, { path: "not/there/yet" });
  await log.append(line("one"));
  t.equal(await text(), "one\n");
  const order: number[] = [];
  const all = Array.from({ length: 200 }, (_, i) => log.append(line(`n${i}`)).then(() => order.push(i)));
  await Promise.all(all);
  t.same(
    order,
    Array.from({ length: 200 }, (_, i) => i),
  );
  t.equal(await text(), `one\n${Array.from({ length: 200 }, (_, i) => `n${i}\n`).join("")}`);
});

test("calls that come during a write share the next one", async (t) => {
  const { log, active } = setUp(t);
  await log.open();
  const probe = await fs.open(active, "r");
  const prototype = Object.getPrototypeOf(probe);
  await probe.close();
  const real = prototype.datasync;
  let syncs = 0;
  prototype.datasync = function () {
    syncs++;
    return real.call(this);
  };
  t.teardown(() => {
    prototype.datasync = real;
  });
  await Promise.all(Array.from({ length: 500 }, (_, i) => log.append(line(`${i}`))));
  t.ok(syncs <= 3, `${syncs} syncs for 500 batches`);
});

test("a torn last line is ended at start", async (t) => {
  const { log, active, text } = setUp(t);
  await fs.writeFile(active, '{"id":"a"}\n{"id":"torn');
  await log.open();
  await log.append(line("next"));
  t.equal(await text(), '{"id":"a"}\n{"id":"torn\nnext\n');
});

test("a full file is put aside under its time, without overwriting another, and old ones go", async (t) => {
  const { log, path, clock, text } = setUp(t, { rotateBytes: 20 });
  await fs.writeFile(join(path, "events-20260101T000000Z-1.jsonl"), "somebody else's\n");
  await fs.writeFile(join(path, "events-20251230T000000Z-1.jsonl"), "old\n");
  await fs.writeFile(join(path, "events-of-mine.jsonl"), "no rotated file\n");
  await log.append(line("0123456789"));
  await log.append(line("0123456789"));
  await log.append(line("a line longer than the file may be"));
  t.equal(await text(), "a line longer than the file may be\n");
  t.same((await fs.readdir(path)).sort(), [
    "events-20251230T000000Z-1.jsonl",
    "events-20260101T000000Z-1.jsonl",
    "events-20260101T000000Z-2.jsonl",
    "events-20260101T000000Z-3.jsonl",
    "events-of-mine.jsonl",
    "events.jsonl",
  ]);
  await clock.advance(hourMs);
  await until(async () => !(await fs.readdir(path)).includes("events-20251230T000000Z-1.jsonl"));
  t.equal((await fs.readdir(path)).length, 5, "young and foreign files stay");
  await until(async () => {
    await clock.advance(hourMs);
    return (await fs.readdir(path)).length === 2;
  });
  t.same((await fs.readdir(path)).sort(), ["events-of-mine.jsonl", "events.jsonl"]);
});

test("a file that was moved from outside is made anew", async (t) => {
  const { log, active, clock, path, text } = setUp(t);
  await log.append(line("one"));
  await fs.rename(active, join(path, "moved"));
  log.reopen();
  await log.append(line("two"));
  t.equal(await text(), "two\n");
  await fs.unlink(active);
  await clock.advance(2_000);
  await log.append(line("three"));
  t.equal(await text(), "three\n", "a removal is noticed without being told");
  t.equal(await fs.readFile(join(path, "moved"), "utf8"), "one\n");
});

test("a disk that refuses rejects everything that waits, keeps no half line, and is tried again", async (t) => {
  const { log, active, text } = setUp(t);
  await log.append(line("before"));
  const probe = await fs.open(active, "r");
  const prototype = Object.getPrototypeOf(probe);
  await probe.close();
  const real = prototype.write;
  let failures = 2;
  prototype.write = async function (...args: unknown[]) {
    if (failures === 0) return real.apply(this, args);
    failures--;
    // Half of it gets to the disk, then the disk is full.
    if (failures === 1) return real.call(this, args[0], args[1], 3);
    throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  };
  t.teardown(() => {
    prototype.write = real;
  });
  const results = await Promise.allSettled([log.append(line("first")), log.append(line("second"))]);
  t.same(
    results.map((result) => result.status),
    ["rejected", "rejected"],
  );
  t.match((results[0] as PromiseRejectedResult).reason, { message: /ENOSPC/, cause: { code: "ENOSPC" } });
  t.equal(await text(), "before\n");
  await Promise.all([log.append(line("first")), log.append(line("second"))]);
  t.equal(await text(), "before\nfirst\nsecond\n");
});

test("a folder that cannot be had is an error at open and at append, until it can", async (t) => {
  const { log, path, folder, text } = setUp(t, { path: "blocked" });
  await fs.writeFile(join(folder, "blocked"), "a file where the folder should be");
  await t.rejects(log.open());
  await t.rejects(log.append(line("x")), { message: /events cannot be written to/ });
  await fs.unlink(path);
  await log.append(line("x"));
  t.equal(await text(), "x\n");
});

test("too much that waits is refused, and so is everything after close", async (t) => {
  const { log, text } = setUp(t);
  const small = log.append(line("small"));
  await t.rejects(log.append(Buffer.alloc(pendingBytesMax)), { message: /wait for the disk/ });
  await small;
  const last = log.append(line("last"));
  await log.close();
  await last;
  t.equal(await text(), "small\nlast\n");
  await t.rejects(log.append(line("late")), { message: /closed/ });
});
