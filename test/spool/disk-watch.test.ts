// Free space: below the floor no new mail is taken, and it is taken again when space is back.

import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "tap";
import { ballastBytes, DiskWatch } from "../../src/spool/disk-watch.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { acceptOf, finishOf, patternOf } from "../contract/spool-fixture.ts";
import { SimClock } from "../support/sim-clock.ts";
import { openTestSpool } from "./lmdb-fixture.ts";

const gib = 1024 ** 3;

test("a full disk is seen within a second or two and passes by itself; the ballast goes last and comes back", async (t) => {
  const path = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  const clock = new SimClock();
  let free = 10 * gib;
  let checked = () => {};
  const watch = new DiskWatch({
    path,
    freeSpaceMinBytes: gib,
    clock,
    log: silentLog,
    readFreeBytes: async () => free,
    onCheck: () => checked(),
  });
  const ballast = () =>
    stat(join(path, "ballast")).then(
      ({ size }) => size,
      () => 0,
    );
  const nextCheck = async () => {
    const done = new Promise<void>((resolve) => {
      checked = resolve;
    });
    await clock.advance(1_100);
    await done;
    await clock.advance(0);
  };
  await watch.start();
  t.equal(watch.isLow, false);
  t.equal(await ballast(), ballastBytes);
  free = gib - 1;
  await nextCheck();
  t.equal(watch.isLow, true);
  t.equal(await ballast(), ballastBytes, "held back while there is something left");
  free = 1_000_000;
  await nextCheck();
  t.equal(await ballast(), 0, "given up when there is almost nothing");
  free = 2 * gib;
  await nextCheck();
  t.equal(watch.isLow, false);
  t.equal(await ballast(), ballastBytes);
  await watch.close();
  t.equal(clock.pendingTimers, 0);
});

test("the spool says that space is low, and mail that is there can still go", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const spool = await openTestSpool(join(folder, "0"), { freeSpaceMinBytes: 2 ** 60 });
  t.equal(spool.health().kind, "low-space");
  await spool.commit([acceptOf(1)]);
  t.ok(spool.usage().freeBytesOnDisk > 0);
  await spool.close();
});

test("a slow commit makes the spool slow for a while, not for ever", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const clock = new SimClock();
  const spool = await openTestSpool(join(folder, "0"), { clock, commitLatencyMaxMs: 100 });
  const done = spool.commit([acceptOf(1)]);
  await clock.advance(150).then(() => done);
  const kinds = [spool.health().kind];
  await clock.advance(10_000);
  kinds.push(spool.health().kind);
  t.same(kinds, ["slow", "ok"]);
  await spool.close();
});

test("new mail stops before the map is full, and what is there can still be dropped", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const clock = new SimClock();
  const mapSizeBytes = 8 * 1024 * 1024;
  const spool = await openTestSpool(join(folder, "0"), { clock, mapSizeBytes });
  const accepts: ReturnType<typeof acceptOf>[] = [];
  while (spool.health().kind === "ok" && accepts.length < 1_000) {
    const accept = acceptOf(accepts.length, { content: patternOf(50_000, accepts.length) });
    await spool.commit([accept]);
    accepts.push(accept);
  }
  t.equal(spool.health().kind, "low-space");
  t.ok(accepts.length > 100 && accepts.length < 160, `${accepts.length} messages of 50 kB in 8 MiB`);
  for (const { entries } of accepts) for (const entry of entries) await spool.commit([finishOf(entry)]);
  for (let look = 0; look < 100 && spool.health().kind !== "ok"; look++) {
    await clock.advance(1_000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.equal(spool.health().kind, "ok");
  await spool.close();
});
