// What breaks the machine ends the server: a disk that fails to sync, a thread that throws. It ends promptly, with exit
// status 1 and the reason in its log, and the next start goes on with all that was promised.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Test, test } from "tap";
import { Life, Receiver, type Run, submit, until } from "./life.ts";

const endMs = 3_000;

function faultLibrary(folder: string): string | undefined {
  const library = join(folder, "fault.so");
  try {
    const source = join(import.meta.dirname, "../spool/fdatasync-fault.c");
    execFileSync("gcc", ["-shared", "-fPIC", "-o", library, source, "-ldl"], { stdio: "ignore" });
    return library;
  } catch {
    return undefined;
  }
}

/** Submits until the server is gone. Returns the names that were answered with 250. */
async function submitUntilTheEnd(run: Run): Promise<string[]> {
  const promised: string[] = [];
  for (let i = 0; run.process.exitCode === null && i < 1_000; i++) {
    const reply = await submit(run.smtpPort, `m${i}`);
    if (reply.startsWith("250")) promised.push(`m${i}`);
  }
  return promised;
}

/** Every name came; twice only what was on its way at the end, which is at most `inFlightMax`. */
function checkCopies(t: Test, receiver: Receiver, promised: readonly string[], inFlightMax: number): void {
  t.same(
    promised.filter((name) => !receiver.copies.includes(name)),
    [],
    "nothing is lost",
  );
  const twice = receiver.copies.length - new Set(receiver.copies).size;
  t.ok(twice <= inFlightMax, `${twice} came twice`);
}

test("a disk that fails to sync ends the server with status 1; the next start reads the spool and goes on", async (t) => {
  const receiver = await Receiver.listen(t);
  const life = new Life(t, receiver.port);
  const library = faultLibrary(life.folder);
  if (library === undefined) {
    t.plan(0, "no gcc to build the library that makes fdatasync fail");
    return;
  }
  const first = await life.start({ LD_PRELOAD: library, FAULT_AFTER: "60" });
  const promised = await submitUntilTheEnd(first);
  t.equal(await first.ended, 1);
  t.ok(promised.length > 0, `${promised.length} promised`);
  t.match(first.log(), "the spool could not commit");
  t.match(first.log(), "stopping with an error");

  const second = await life.start();
  t.match(second.log(), "reading the whole spool");
  t.ok(await until(() => promised.every((name) => receiver.copies.includes(name))));
  t.equal((await second.end("SIGTERM")).status, 0);
  checkCopies(t, receiver, promised, 10);
});

test("a shard that throws ends the server with status 1, though other shards are well", async (t) => {
  const receiver = await Receiver.listen(t);
  const life = new Life(t, receiver.port);
  writeFileSync(life.config, life.text(receiver.port, "").replace("shards: 1", "shards: 2"));
  const hook = join(life.folder, "throw.mjs");
  writeFileSync(
    hook,
    `import { workerData, isMainThread } from "node:worker_threads";
if (!isMainThread && workerData?.shard === 1) setTimeout(() => { throw new Error("a bug in shard 1"); }, 1500);`,
  );
  const first = await life.start({ NODE_OPTIONS: `--import=${hook}` });
  const promised = await submitUntilTheEnd(first);
  const thrownAt = performance.now();
  t.equal(await first.ended, 1);
  t.ok(performance.now() - thrownAt < endMs);
  t.match(first.log(), "a bug in shard 1");

  const second = await life.start();
  t.ok(await until(() => promised.every((name) => receiver.copies.includes(name))));
  t.equal((await second.end("SIGTERM")).status, 0);
  checkCopies(t, receiver, promised, 10);
});
