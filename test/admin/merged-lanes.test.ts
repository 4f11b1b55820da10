// What an operator sees of a lane that several shards use.

import { test } from "tap";
import { mergeLanes } from "../../src/admin/merged-lanes.ts";
import { laneSummary } from "../support/lane-summary.ts";

const lane = laneSummary;
const replies = (...ats: number[]) => ats.map((at) => ({ at, text: `421 at ${at}` }));

test("connections and ready work of all shards are added up, and the limits that they share are not", async (t) => {
  const other = { ...lane, source: "a2" };
  const busy = { ...lane, ready: 1, connections: { max: 20, connecting: 0, busy: 5, idle: 0 } };
  t.same(mergeLanes([lane, other, busy]), [
    { ...lane, ready: 5, connections: { max: 20, connecting: 1, busy: 7, idle: 3 } },
    other,
  ]);
});

test("the longest rest of a shard is shown, and the last replies of all", async (t) => {
  const short = {
    ...lane,
    suspendedUntil: 5_000,
    suspendedBecause: "421 short",
    lastReplies: replies(1, 3, 5, 7, 9, 11),
  };
  const long = {
    ...lane,
    suspendedUntil: 9_000,
    suspendedBecause: "421 long",
    lastReplies: replies(2, 4, 6, 8, 10, 12),
  };
  const [merged] = mergeLanes([lane, long, short]);
  t.match(merged, { suspendedUntil: 9_000, suspendedBecause: "421 long" });
  t.same(
    merged?.lastReplies.map(({ at }) => at),
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
  );
});
