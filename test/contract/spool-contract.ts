// What every spool must do, asked of the one on LMDB and of the one in memory.

import { type Test, test } from "tap";
import { heldInstant } from "../../src/core/message.ts";
import type { Spool, SpoolChange } from "../../src/spool/spool.ts";
import { acceptOf, finishOf, idOf, patternOf, rescheduleOf, start, stored } from "./spool-fixture.ts";

export interface SpoolUnderTest {
  spool: Spool;
  /** Commits, moving simulated time on where there is any. */
  commit(change: SpoolChange): Promise<void>;
  /** Several at once. */
  commitAll(changes: readonly SpoolChange[]): Promise<PromiseSettledResult<void>[]>;
  /** Moves the clock on. */
  advance(ms: number): Promise<void>;
  /** Closes and opens again. */
  reopen(): Promise<void>;
  /** Makes a chunk of the message's content unreadable. */
  damageContent(queueId: string): Promise<void>;
  dispose(): Promise<void>;
}

/** Registers the contract's tests for spools that `open` makes, each new and empty. */
export function spoolContract(name: string, open: () => Promise<SpoolUnderTest>): void {
  const story = (title: string, run: (t: Test, under: SpoolUnderTest) => Promise<void>): void => {
    test(`${name}: ${title}`, async (t) => {
      const under = await open();
      try {
        await run(t, under);
      } finally {
        await under.dispose();
      }
    });
  };

  story("an accepted message can be read back, before and after a restart", async (t, under) => {
    const accept = acceptOf(1, { domains: ["a.example", "b.example"] });
    await under.commit([accept]);
    for (const round of ["at once", "after a restart"]) {
      t.same(under.spool.readMessage(idOf(1)), stored(accept.message), round);
      t.same(under.spool.readEntries(idOf(1)), stored(accept.entries), round);
      t.same(under.spool.readEntry(idOf(1), 1), stored(accept.entries[1]), round);
      t.equal(contentOf(under.spool, 1), Buffer.concat(accept.content).toString("latin1"), round);
      await under.reopen();
    }
  });

  story("what is not there is undefined or empty", async (t, under) => {
    t.equal(under.spool.readMessage(idOf(9)), undefined);
    t.equal(under.spool.readMessage("../../etc/passwd"), undefined);
    t.equal(under.spool.readEntry(idOf(9), 0), undefined);
    t.same(under.spool.readEntries(idOf(9)), []);
    t.same([...under.spool.readContent(idOf(9))], []);
    t.same([...under.spool.queues()], []);
    t.same(under.spool.scanQueue({ stream: "news", domain: "x.example" }, undefined, 5), []);
    t.equal(under.spool.countQueue({ stream: "news", domain: "x.example" }), 0);
    t.equal(under.spool.readIdempotency("nobody"), undefined);
    t.same(under.spool.readOutbox(0, 10), []);
    t.same(under.spool.holds(), []);
    t.equal(under.spool.health().kind, "ok");
    await under.commit([]);
  });

  story("contents of any length come back octet for octet", async (t, under) => {
    const lengths = [0, 1, 65_499, 65_500, 65_501, 131_000, 131_001, 1_000_000];
    for (const [number, bytes] of lengths.entries()) {
      await under.commit([acceptOf(number, { content: patternOf(bytes, number), pieceBytes: 30_011 })]);
    }
    await under.reopen();
    for (const [number, bytes] of lengths.entries()) {
      const content = Buffer.concat([...under.spool.readContent(idOf(number))]);
      t.ok(content.equals(patternOf(bytes, number)), `${bytes} octets`);
    }
  });

  story("the caller may use its buffers again after the commit", async (t, under) => {
    const content = patternOf(200_000, 7);
    await under.commit([acceptOf(1, { content, pieceBytes: 999 })]);
    content.fill(0);
    t.ok(Buffer.concat([...under.spool.readContent(idOf(1))]).equals(patternOf(200_000, 7)));
  });

  story("a queue is ordered by due time, then by queue id, and held entries stand last", async (t, under) => {
    const due = [start + 5, heldInstant, start, start + 5, 0];
    await under.commit(due.map((dueAt, number) => acceptOf(number, { dueAt })));
    const queue = { stream: "news", domain: "example.com" };
    const places = under.spool.scanQueue(queue, undefined, 100);
    t.same(
      places.map((place) => place.queueId),
      [4, 2, 0, 3, 1].map(idOf),
    );
    t.same(under.spool.scanQueue(queue, places[1], 2), places.slice(2, 4));
    t.same(under.spool.scanQueue(queue, { dueAt: start + 1, queueId: idOf(0), entryNo: 0 }, 9), places.slice(2));
    t.equal(under.spool.countQueue(queue), 5);
  });

  story("queues are told apart though one name begins like the other", async (t, under) => {
    const names = [
      ["a", "b.example"],
      ["a", "b.example.net"],
      ["a.b", "example"],
      ["ab", "b.example"],
    ];
    await under.commit(names.map(([stream = "", domain = ""], n) => acceptOf(n, { stream, domains: [domain] })));
    const found = [...under.spool.queues()];
    t.same(
      found.map(({ stream, domain }) => [stream, domain]),
      names,
    );
    for (const queue of found) t.equal(under.spool.countQueue(queue), 1);
  });

  story("a rescheduled entry moves to its new place", async (t, under) => {
    const accept = acceptOf(1);
    const [entry] = accept.entries;
    await under.commit([accept]);
    if (entry === undefined) return;
    await under.commit([rescheduleOf(entry, start + 1_000)]);
    await under.reopen();
    const queue = { stream: "news", domain: "example.com" };
    t.same(under.spool.scanQueue(queue, undefined, 9), [{ dueAt: start + 1_000, queueId: idOf(1), entryNo: 0 }]);
    t.equal(under.spool.readEntry(idOf(1), 0)?.attempts, 1);
    await under.commit([rescheduleOf({ ...entry, dueAt: start + 1_000 }, start + 1_000)]);
    t.equal(under.spool.countQueue(queue), 1, "a reschedule to the same time keeps the place");
  });

  story("the last finish drops the message, those before it do not", async (t, under) => {
    const accept = acceptOf(1, { domains: ["a.example", "b.example", "c.example"], content: patternOf(150_000, 1) });
    await under.commit([accept, acceptOf(2)]);
    for (const [index, entry] of accept.entries.entries()) {
      t.ok(under.spool.readMessage(idOf(1)), `still there before finish ${index}`);
      await under.commit([finishOf(entry)]);
      await under.reopen();
      t.equal(under.spool.countQueue(entry), 0);
    }
    t.equal(under.spool.readMessage(idOf(1)), undefined);
    t.equal(under.spool.readEntry(idOf(1), 0), undefined);
    t.same([...under.spool.readContent(idOf(1))], []);
    t.ok(under.spool.readMessage(idOf(2)), "the neighbour stays");
    t.same([...under.spool.queues()], [{ stream: "news", domain: "example.com" }]);
  });

  story("entries of one message that finish at the same moment drop it once", async (t, under) => {
    const domains = Array.from({ length: 40 }, (_, n) => `d${n}.example`);
    const accept = acceptOf(1, { domains });
    await under.commit([accept]);
    const results = await under.commitAll(accept.entries.map((entry) => [finishOf(entry)]));
    t.ok(results.every((result) => result.status === "fulfilled"));
    t.equal(under.spool.readMessage(idOf(1)), undefined);
    t.same([...under.spool.queues()], []);
  });

  story("an entry that is finished twice is refused, and the message stays", async (t, under) => {
    const accept = acceptOf(1, { domains: ["a.example", "b.example"] });
    const [first] = accept.entries;
    if (first === undefined) return;
    await under.commit([accept]);
    const results = await under.commitAll([[finishOf(first)], [finishOf(first)], [{ kind: "events", lines: "x\n" }]]);
    t.same(
      results.map((result) => result.status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    await t.rejects(under.commit([finishOf(first)]));
    await t.rejects(under.commit([finishOf(first, start + 1)]));
    t.ok(under.spool.readMessage(idOf(1)), "the other entry still waits");
    t.equal(under.spool.health().kind, "ok", "a refused change does not stop the spool");
  });

  story("a change is applied whole or not at all", async (t, under) => {
    await under.commit([acceptOf(1)]);
    await t.rejects(under.commit([acceptOf(2), { kind: "events", lines: "two\n" }, acceptOf(1)]));
    t.equal(under.spool.readMessage(idOf(2)), undefined);
    t.same(under.spool.readOutbox(0, 9), []);
  });

  story("a queue id that is taken is refused", async (t, under) => {
    await under.commit([acceptOf(1)]);
    await t.rejects(under.commit([acceptOf(1, { content: Buffer.from("another") })]));
    t.match(contentOf(under.spool, 1), /number 1/);
  });

  story("an idempotency key is kept with its message and past it, until it expires", async (t, under) => {
    const expiresAt = start + 60_000;
    const accept = acceptOf(1, { idempotency: { key: "shop k1", expiresAt } });
    await under.commit([accept]);
    await under.reopen();
    t.same(under.spool.readIdempotency("shop k1"), { key: "shop k1", digest: "00ff", queueId: idOf(1), expiresAt });
    if (accept.entries[0] !== undefined) await under.commit([finishOf(accept.entries[0])]);
    t.ok(under.spool.readIdempotency("shop k1"), "the message is gone, the key is not");
    await under.advance(61_000);
    t.equal(under.spool.readIdempotency("shop k1"), undefined);
    await under.commit([acceptOf(2, { idempotency: { key: "shop k1", expiresAt: start + 200_000 } })]);
    await under.advance(5_000);
    await under.commit([acceptOf(3)]);
    t.equal(under.spool.readIdempotency("shop k1")?.queueId, idOf(2), "the old record's purge spares the new one");
  });

  story("events come back in order, and their numbers go on after a restart", async (t, under) => {
    await under.commit([
      { kind: "events", lines: "a\n" },
      { kind: "events", lines: "b\n" },
    ]);
    await under.commit([{ kind: "events", lines: "c\n" }]);
    const first = under.spool.readOutbox(0, 10);
    t.same(text(first), "a\nb\nc\n");
    t.equal(under.spool.readOutbox(0, 1).length, 1);
    const through = first[0]?.sequence ?? 0;
    t.equal(text(under.spool.readOutbox(through, 10)), "c\n");
    await under.commit([{ kind: "trim-outbox", throughSequence: through }]);
    t.equal(text(under.spool.readOutbox(0, 10)), "c\n");
    await under.commit([{ kind: "trim-outbox", throughSequence: first.at(-1)?.sequence ?? 0 }]);
    await under.reopen();
    t.same(under.spool.readOutbox(0, 10), []);
    await under.commit([{ kind: "events", lines: "d\n" }]);
    const [later] = under.spool.readOutbox(0, 10);
    t.ok((later?.sequence ?? 0) > (first.at(-1)?.sequence ?? 0), "numbers are not used twice");
  });

  story("holds are kept over a restart", async (t, under) => {
    const hold = { id: "h1", selection: { domain: "a.example" }, reason: "check", by: "ann", at: start };
    await under.commit([
      { kind: "put-hold", hold },
      { kind: "put-hold", hold: { ...hold, id: "h2" } },
    ]);
    await under.reopen();
    t.same(under.spool.holds(), [hold, { ...hold, id: "h2" }]);
    await under.commit([{ kind: "drop-hold", id: "h1" }]);
    t.same(
      under.spool.holds().map(({ id }) => id),
      ["h2"],
    );
  });

  story("a damaged message is told, taken out of its queues, and not sent", async (t, under) => {
    const accept = acceptOf(1, { domains: ["a.example", "b.example"] });
    await under.commit([accept, acceptOf(2)]);
    await under.damageContent(idOf(1));
    t.throws(() => [...under.spool.readContent(idOf(1))], { name: "DamagedRecordError", queueId: idOf(1) });
    t.ok(contentOf(under.spool, 2), "its neighbour is sound");
    await under.commit([{ kind: "quarantine", queueId: idOf(1), reason: "bad CRC", at: start }]);
    t.same([...under.spool.queues()], [{ stream: "news", domain: "example.com" }]);
    if (accept.entries[0] !== undefined) await under.commit([finishOf(accept.entries[0])]);
    await under.reopen();
    t.ok(under.spool.readMessage(idOf(1)), "its records stay, whatever ends afterwards");
    t.same([...under.spool.queues()], [{ stream: "news", domain: "example.com" }]);
  });

  story("waitingBytes counts what is not yet on the disk", async (t, under) => {
    t.equal(under.spool.waitingBytes, 0);
    const done = under.commitAll([[acceptOf(1, { content: patternOf(50_000, 1) })]]);
    t.ok(under.spool.waitingBytes >= 50_000);
    await done;
    t.equal(under.spool.waitingBytes, 0);
  });

  story("changes beyond one transaction's limits are all kept", async (t, under) => {
    const content = patternOf(3_000_000, 3);
    const changes = Array.from({ length: 12 }, (_, n): SpoolChange => [acceptOf(n, { content })]);
    const results = await under.commitAll(changes);
    t.ok(results.every((result) => result.status === "fulfilled"));
    t.equal(under.spool.countQueue({ stream: "news", domain: "example.com" }), 12);
    t.ok(Buffer.concat([...under.spool.readContent(idOf(11))]).equals(content));
  });

  story("close waits for what is under way, and nothing is taken after it", async (t, under) => {
    const done = under.commitAll([[acceptOf(1)], [acceptOf(2)]]);
    const closed = under.spool.close();
    t.ok((await done).every((result) => result.status === "fulfilled"));
    await closed;
    await t.rejects(under.spool.commit([acceptOf(3)]));
    await under.reopen();
    t.ok(under.spool.readMessage(idOf(2)));
  });
}

function contentOf(spool: Spool, number: number): string {
  return Buffer.concat([...spool.readContent(idOf(number))]).toString("latin1");
}

function text(batches: readonly { readonly lines: Buffer }[]): string {
  return batches.map((batch) => batch.lines.toString()).join("");
}
