// The signing threads' view of the spool: a message can be read in another thread as soon as its commit has resolved,
// and a thread that waits for work does not make the file grow.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { test } from "tap";
import { openContentReader } from "../../src/spool/spool.ts";
import { acceptOf, finishOf, idOf, patternOf } from "../contract/spool-fixture.ts";
import { openTestSpool } from "./lmdb-fixture.ts";

/** Shared words: 0 the request's number, 1 the message it is about (-1: end), 2 the answered request, 3 octets read. */
type Desk = Int32Array<SharedArrayBuffer>;

if (isMainThread) await story();
else thread(workerData as { path: string; desk: Desk });

/** Waits for requests without ever giving its event loop a turn, as a pool of threads may. */
function thread({ path, desk }: { path: string; desk: Desk }): void {
  const reader = openContentReader(path);
  parentPort?.postMessage("ready");
  for (let request = 1; ; request++) {
    Atomics.wait(desk, 0, request - 1);
    const number = Atomics.load(desk, 1);
    if (number < 0) break;
    const content = Buffer.concat(reader.readContent(idOf(number)));
    const isRight = content.equals(patternOf(100_000, number));
    reader.release();
    Atomics.store(desk, 3, isRight ? content.length : -content.length - 1);
    Atomics.store(desk, 2, request);
    Atomics.notify(desk, 2);
  }
  void reader.close();
}

async function story(): Promise<void> {
  test("a thread reads what has just been committed and pins nothing while it waits", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "spool-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const path = join(folder, "0");
    const spool = await openTestSpool(path);
    const desk = new Int32Array(new SharedArrayBuffer(16));
    const worker = new Worker(new URL(import.meta.url), { workerData: { path, desk } });
    await new Promise((resolve) => worker.once("message", resolve));
    let wrong = 0;
    const sizes: number[] = [];
    for (let number = 1; number <= 120; number++) {
      const accept = acceptOf(number, { content: patternOf(100_000, number) });
      await spool.commit([accept]);
      Atomics.store(desk, 1, number);
      Atomics.store(desk, 0, number);
      Atomics.notify(desk, 0);
      const answered = Atomics.waitAsync(desk, 2, number - 1);
      await answered.value;
      if (Atomics.load(desk, 3) !== 100_000) wrong++;
      const [entry] = accept.entries;
      if (entry !== undefined) await spool.commit([finishOf(entry)]);
      sizes.push(spool.usage().fileBytes);
    }
    t.equal(wrong, 0, "every message was seen at once, octet for octet");
    t.ok((sizes[119] as number) <= (sizes[20] as number) * 1.5, `${sizes[20]} to ${sizes[119]} octets of file`);
    const asleepBytes = spool.usage().fileBytes;
    for (let number = 200; number < 280; number++) {
      const accept = acceptOf(number, { content: patternOf(100_000, number) });
      await spool.commit([accept]);
      const [entry] = accept.entries;
      if (entry !== undefined) await spool.commit([finishOf(entry)]);
    }
    t.ok(spool.usage().fileBytes <= asleepBytes * 1.5, `${asleepBytes} to ${spool.usage().fileBytes} while it sleeps`);
    Atomics.store(desk, 1, -1);
    Atomics.store(desk, 0, 121);
    Atomics.notify(desk, 0);
    await new Promise((resolve) => worker.once("exit", resolve));
    await spool.commit([acceptOf(500)]);
    t.ok(spool.readMessage(idOf(500)), "the owner goes on after the thread has closed");
    await spool.close();
  });

  test("a message that is not there has no content", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "spool-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const spool = await openTestSpool(join(folder, "0"));
    const reader = openContentReader(join(folder, "0"));
    t.same(reader.readContent(idOf(1)), []);
    await spool.commit([acceptOf(1)]);
    t.match(Buffer.concat(reader.readContent(idOf(1))).toString(), /number 1/);
    await reader.close();
    t.ok(spool.readMessage(idOf(1)));
    await spool.close();
  });
}
