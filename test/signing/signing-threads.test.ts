// Signing in threads: same octets as without, and nothing lost when a thread dies, keys change or the pool closes.

import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import { QueueIds } from "../../src/core/ids.ts";
import { SigningThreads } from "../../src/platform/signing-threads.ts";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { domainKeys, type KeySet, type SignRequest } from "../../src/signing/signing.ts";
import { openEnvironmentForReading } from "../../src/spool/environment.ts";
import { openLmdbSpool } from "../../src/spool/lmdb-spool.ts";
import { DamagedRecordError, type SpoolOperation } from "../../src/spool/spool.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { inlineSigner } from "../support/inline-signer.ts";
import { SeededRandom } from "../support/seeded-random.ts";

const privateKey = generateKeyPairSync("ed25519").privateKey;
const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;

function keySetOf(selector: string, domain = "example.com"): KeySet {
  const keys = [
    { domain, selector, algorithm: "ed25519-sha256" as const, privateKey },
    { domain, selector: `${selector}r`, algorithm: "rsa-sha256" as const, privateKey: rsa },
  ];
  return { domains: new Map([[domain, domainKeys(domain, keys)]]) };
}

const content = (queueId: string): Buffer =>
  Buffer.from(`From: a@example.com\r\nSubject: ${queueId}\r\n\r\n${queueId}\r\n`);
const request = (queueId: string): SignRequest => ({ queueId, fromDomain: "example.com", signedAt: 1_790_000_000_000 });

/** A folder as spool with the contents of these queue ids, and threads over it. */
function start(t: Test, threads: number, queueIds: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), "postern-signing-"));
  for (const queueId of queueIds) writeFileSync(join(folder, queueId), content(queueId));
  const worker = new URL("./fake-spool-worker.ts", import.meta.url);
  const signer = new SigningThreads({ keySet: keySetOf("s1"), spoolPath: folder, threads, log: silentLog, worker });
  t.teardown(async () => {
    await signer.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { signer, folder };
}

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `q${i}`);

test("a hundred messages at once get the octets that signing inline gives, each its own", async (t) => {
  const queueIds = names(100);
  const { signer } = start(t, 2, queueIds);
  const inline = inlineSigner(keySetOf("s1"), (queueId) => [content(queueId)]);
  const signed = await Promise.all(queueIds.map((queueId) => signer.sign(request(queueId))));
  for (const [i, queueId] of queueIds.entries()) t.same(signed[i], await inline.sign(request(queueId)));
  t.equal(signer.waiting, 0);
});

test("a domain without keys is unsigned at once; subdomains are signed", async (t) => {
  const { signer } = start(t, 1, ["q0"]);
  t.notOk(signer.signs("example.net"));
  t.notOk(signer.signs(undefined));
  t.ok(signer.signs("mail.example.com"));
  t.same(await signer.sign({ ...request("q0"), fromDomain: undefined }), { headers: Buffer.alloc(0), signedBy: [] });
  const { headers } = await signer.sign({ ...request("q0"), fromDomain: "mail.example.com" });
  t.match(headers.toString(), /d=example.com; s=s1;/);
});

test("a message that is not there or is damaged fails alone, and says how", async (t) => {
  const { signer, folder } = start(t, 1, ["q0", "q1", "q2"]);
  writeFileSync(join(folder, "damaged-q1"), "");
  const [q0, q1, none, q2] = await Promise.allSettled(["q0", "q1", "none", "q2"].map((id) => signer.sign(request(id))));
  t.equal(q0?.status, "fulfilled");
  t.equal(q2?.status, "fulfilled");
  t.ok(q1?.status === "rejected" && q1.reason instanceof DamagedRecordError && q1.reason.queueId === "q1");
  t.match(none, { status: "rejected", reason: /none cannot be signed: no content/ });
});

test("a spool that cannot be opened is an answer, and works again when it can", async (t) => {
  const { signer, folder } = start(t, 1, ["q0"]);
  writeFileSync(join(folder, "unreadable"), "");
  await t.rejects(signer.sign(request("q0")), /cannot be opened/);
  rmSync(join(folder, "unreadable"));
  t.equal((await signer.sign(request("q0"))).signedBy.length, 2);
});

test("a thread that dies takes no message with it", async (t) => {
  const queueIds = names(50);
  const { signer, folder } = start(t, 2, queueIds);
  writeFileSync(join(folder, "die-q7"), "1");
  writeFileSync(join(folder, "die-q40"), "2");
  const signed = await Promise.all(queueIds.map((queueId) => signer.sign(request(queueId))));
  for (const { signedBy } of signed) t.equal(signedBy.length, 2);
});

test("a message that ends its thread again and again is given up, the others are signed", async (t) => {
  const queueIds = names(10);
  const { signer, folder } = start(t, 1, queueIds);
  writeFileSync(join(folder, "die-q3"), "1000");
  const results = await Promise.allSettled(queueIds.map((queueId) => signer.sign(request(queueId))));
  t.same(
    results.map((result) => result.status),
    queueIds.map((queueId) => (queueId === "q3" ? "rejected" : "fulfilled")),
  );
  t.match(results[3], { reason: /signing q3 ended its thread/ });
});

test("after a reload new requests are signed with the new keys, and those in a thread still get an answer", async (t) => {
  const queueIds = names(80);
  const { signer } = start(t, 1, queueIds);
  const before = queueIds.slice(0, 40).map((queueId) => signer.sign(request(queueId)));
  await new Promise((resolve) => setImmediate(resolve));
  signer.reload(keySetOf("s2"));
  const after = queueIds.slice(40).map((queueId) => signer.sign(request(queueId)));
  for (const { headers, signedBy } of await Promise.all(before)) {
    const selector = (signedBy[0] as string).split(".")[0];
    t.match(headers.toString(), new RegExp(`s=${selector};`), "the header says what signedBy says");
  }
  for (const { headers, signedBy } of await Promise.all(after)) {
    t.same(signedBy, ["s2._domainkey.example.com", "s2r._domainkey.example.com"]);
    t.match(headers.toString(), /s=s2;/);
  }
});

test("a request that waits while its domain's keys are taken away is rejected, not left unsigned", async (t) => {
  const { signer } = start(t, 1, ["q0"]);
  const waiting = signer.sign(request("q0"));
  signer.reload(keySetOf("s2", "example.net"));
  await t.rejects(waiting, /taken out of the config/);
  t.notOk(signer.signs("example.com"));
});

test("close lets the batches in the threads end and refuses the rest", async (t) => {
  const queueIds = names(100);
  const { signer } = start(t, 1, queueIds);
  const results = Promise.allSettled(queueIds.map((queueId) => signer.sign(request(queueId))));
  await new Promise((resolve) => setImmediate(resolve));
  await signer.close();
  const statuses = (await results).map((result) => result.status);
  t.same(statuses.slice(0, 64), Array(64).fill("fulfilled"));
  t.same(statuses.slice(64), Array(36).fill("rejected"));
  await t.rejects(signer.sign(request("q0")), /closed/);
  await signer.close();
});

test("threads whose module fails reject the requests after some tries, and the process lives on", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-signing-"));
  const worker = new URL(`file://${folder}/none.ts`);
  const signer = new SigningThreads({ keySet: keySetOf("s1"), spoolPath: folder, threads: 1, log: silentLog, worker });
  t.teardown(async () => {
    await signer.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await t.rejects(signer.sign(request("q0")), /ended its thread/);
});

function acceptance(queueId: string, octets: Buffer): SpoolOperation {
  const envelope = {
    reversePath: "a@example.com",
    envid: undefined,
    ret: undefined,
    body: "7bit" as const,
    smtpUtf8: false,
    requireTls: false,
  };
  const message = {
    queueId,
    stream: "news",
    tenant: undefined,
    job: undefined,
    envelope,
    contentBytes: octets.length,
    headerBytes: octets.indexOf("\r\n\r\n") + 4,
    hasDotLines: false,
    receivedAt: 1,
    expiresAt: 2,
    fromDomain: "example.com",
    messageIdHeader: undefined,
    loggedHeaders: {},
    origin: "submission" as const,
    user: undefined,
    recipientCount: 1,
    entryCount: 1,
  };
  const recipient = {
    forwardPath: "b@example.net",
    orcpt: undefined,
    notify: undefined,
    state: { kind: "pending" as const, last: undefined },
  };
  const entry = {
    queueId,
    entryNo: 0,
    stream: "news",
    domain: "example.net",
    attempts: 0,
    dueAt: 1,
    delayNotifiedAt: undefined,
    recipients: [recipient],
  };
  return { kind: "accept", message, entries: [entry], content: [octets], idempotency: undefined };
}

test("the threads read from the spool what it has committed, and hold no snapshot afterwards", async (t) => {
  const path = mkdtempSync(join(tmpdir(), "postern-signing-"));
  const clock = new SystemClock();
  const limits = { mapSizeBytes: 64 * 1024 * 1024, freeSpaceMinBytes: 0, commitLatencyMaxMs: 60_000 };
  const spool = await openLmdbSpool({ path, ...limits, clock, log: silentLog });
  const signer = new SigningThreads({ keySet: keySetOf("s1"), spoolPath: path, threads: 2, log: silentLog });
  t.teardown(async () => {
    await signer.close();
    await spool.close();
    rmSync(path, { recursive: true, force: true });
  });
  const inline = inlineSigner(keySetOf("s1"), (queueId) => spool.readContent(queueId));
  const ids = new QueueIds(clock, new SeededRandom(1), 0);
  for (let round = 0; round < 5; round++) {
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const queueId = ids.next();
        // One of them is larger than two of the spool's chunks.
        const octets = Buffer.concat([
          content(queueId),
          Buffer.from("a line  of text\t\r\n".repeat(i === 0 ? 9_000 : 9)),
        ]);
        await spool.commit([acceptance(queueId, octets)]);
        t.same(await signer.sign(request(queueId)), await inline.sign(request(queueId)));
      }),
    );
  }
  await t.rejects(signer.sign(request(ids.next())), /no content/);
  const { root } = openEnvironmentForReading(path);
  t.teardown(() => root.close());
  // This thread's own snapshot goes by a timer of 0 ms.
  await new Promise((resolve) => setTimeout(resolve, 20));
  // A heading, then a line for each reader: process, thread, and its snapshot's transaction or "-".
  const readers = root.readerList().trim().split("\n").slice(1);
  t.equal(readers.length, 3, "two threads and this one");
  for (const line of readers) t.match(line, /-$/);
});
