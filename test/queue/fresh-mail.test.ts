// What is kept in memory of mail that was accepted a moment ago, and when it is let go.

import { test } from "tap";
import type { Message, QueueEntry } from "../../src/core/message.ts";
import { FreshMail } from "../../src/queue/fresh-mail.ts";

function mail(number: number, contentBytes: number, receivedAt = 0) {
  const queueId = String(number).padStart(16, "0");
  const message = { queueId, contentBytes, receivedAt } as Message;
  const entry = { queueId, entryNo: 0 } as QueueEntry;
  return {
    message,
    entries: [entry],
    content: [Buffer.alloc(contentBytes, number)],
    position: { queueId, entryNo: 0, dueAt: 0 },
  };
}

test("the first attempt gets message, entry and content from memory, and only the first", async (t) => {
  const fresh = new FreshMail();
  const { message, entries, content, position } = mail(1, 1_000);
  fresh.keep(message, entries, content);
  t.equal(fresh.contentBytes, 1_000);
  t.same(fresh.take(position), { message, entry: entries[0], content });
  t.equal(fresh.take(position), undefined);
  t.equal(fresh.contentBytes, 1_000, "an attempt under way holds its content");
  fresh.done(position);
  t.equal(fresh.contentBytes, 0);
});

test("an entry that is moved before it was taken is forgotten", async (t) => {
  const fresh = new FreshMail();
  const { message, entries, content, position } = mail(1, 1_000);
  fresh.keep(message, entries, content);
  fresh.done(position);
  t.equal(fresh.take(position), undefined);
  t.equal(fresh.contentBytes, 0);
});

test("a big content is read from the disk, and contents together stay below 32 MiB", async (t) => {
  const fresh = new FreshMail();
  const big = mail(1, 300_000);
  fresh.keep(big.message, big.entries, big.content);
  t.equal(fresh.take(big.position)?.content, undefined);
  for (let i = 2; i < 400; i++) {
    const { message, entries, content } = mail(i, 200_000);
    fresh.keep(message, entries, content);
  }
  t.ok(fresh.contentBytes > 30 * 1024 * 1024 && fresh.contentBytes <= 32 * 1024 * 1024, `${fresh.contentBytes}`);
  t.not(fresh.take(mail(2, 0).position)?.content, undefined, "the oldest is sent first, and keeps its content");
  const last = fresh.take(mail(399, 0).position);
  t.not(last, undefined, "the entry is small");
  t.equal(last?.content, undefined);
});

test("a message beyond the limit of entries is read from the disk, until others are let go", async (t) => {
  const fresh = new FreshMail();
  for (let i = 1; i <= 6_000; i++) {
    const { message, entries, content } = mail(i, 10);
    fresh.keep(message, entries, content);
  }
  t.equal(fresh.take(mail(6_000, 0).position), undefined, "no room");
  const late = mail(7_000, 10, 10_001);
  fresh.keep(late.message, late.entries, late.content);
  t.not(fresh.take(late.position), undefined);
  t.equal(fresh.take(mail(2, 0).position), undefined, "it is on the disk");
  fresh.done(late.position);
  t.equal(fresh.contentBytes, 0);
});

test("what nobody asks for is let go after ten seconds, room or not", async (t) => {
  const fresh = new FreshMail();
  const early = mail(1, 1_000);
  fresh.keep(early.message, early.entries, early.content);
  const late = mail(2, 10, 10_001);
  fresh.keep(late.message, late.entries, late.content);
  t.equal(fresh.contentBytes, 10);
  t.equal(fresh.take(early.position), undefined);
});
