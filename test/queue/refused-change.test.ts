// A spool that is well but cannot apply one change: only the message it is about is taken out, and the rest goes on.

import { test } from "tap";
import { minuteMs } from "../../src/core/time.ts";
import type { SpoolChange } from "../../src/spool/spool.ts";
import { QueueWorld } from "../support/queue-world.ts";

test("an outcome that the spool refuses alone quarantines its message, which is not sent again, and the rest goes on", async (t) => {
  const world = new QueueWorld();
  const { spool } = world;
  const commit = spool.commit.bind(spool);
  let refused: string | undefined;
  spool.commit = (change: SpoolChange) => {
    const finish = change.find((operation) => operation.kind === "finish");
    if (refused !== undefined || finish === undefined) return commit(change);
    refused = finish.entry.queueId;
    return Promise.reject(new Error("assertion failed: it does not stand where it is said to"));
  };
  const ids = await world.acceptAll([{ to: "one@b.example" }, { to: "two@b.example" }, { to: "three@b.example" }]);
  t.ok(await world.until(() => world.sent.length === 3));
  await world.advance(minuteMs);
  t.same(world.fatal, [], "the process goes on");
  t.ok(refused !== undefined && ids.includes(refused));
  const deliveries = world.lines
    .join("")
    .split("\n")
    .filter((line) => line.includes('"delivery"'));
  t.equal(deliveries.length, 3, "the log tells of each delivery all the same");
  await world.restart("stop");
  await world.advance(60 * minuteMs);
  t.equal(world.sent.length, 3, "nothing is sent again");
  t.ok(spool.readMessage(refused ?? ""), "it is kept for a person to look at");
});
