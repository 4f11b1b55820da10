// The audit: what counts as lost, as delivered twice, and what explains it.

import { test } from "tap";
import { Audit, answeredBeforeKillMs, causeOf } from "../../native-bench/audit.ts";
import type { Receipt } from "../../native-bench/sink/ledger.ts";
import type { Acknowledgement } from "../../native-bench/source/load-plan.ts";

function acknowledged(no: number, at = 1_000): Acknowledgement {
  return { benchId: `b-${no}`, queueId: `q${no}`, stream: "news", recipients: [`r${no}@x.example`], at };
}

function received(no: number, dotAt: number, repliedAt: number | undefined): Receipt {
  return {
    operator: "x",
    benchId: `b-${no}`,
    queueId: `q${no}`,
    reversePath: "a@shop.example",
    recipient: `r${no}@x.example`,
    sourceAddress: "127.20.0.1",
    dotAt,
    repliedAt,
    contentBytes: 10,
    bodyIntact: true,
  };
}

test("a promise is kept by an answered copy or a bounce, whichever is heard of first", async (t) => {
  const audit = new Audit();
  audit.addReceipts([received(1, 1_050, 1_060)]);
  audit.addAcknowledgements([acknowledged(1), acknowledged(2), acknowledged(3), acknowledged(4)]);
  audit.addReceipts([received(2, 1_100, 1_200), received(3, 1_100, undefined)]);
  t.ok(audit.addBounce("q4", "R4@x.example"));
  t.notOk(audit.addBounce("q9", "r9@x.example"), "a bounce ahead of its 250");
  t.strictSame(audit.tally(), { accepted: 4, delivered: 2, bounced: 1, open: 1 });
  t.match(audit.open(), [{ queueId: "q3" }], "a copy without a 250 does not count as delivered");
  t.strictSame(
    audit.latency(() => true),
    { count: 2, p50Ms: 200, p90Ms: 200, p99Ms: 200, p999Ms: 200, maxMs: 200 },
  );
  t.equal(audit.contradictions(), 0);
  t.strictSame(audit.duplicates(), []);
});

test("mail that nobody promised is counted, and twice is twice all the same", async (t) => {
  const audit = new Audit();
  audit.addReceipts([received(1, 1_000, 1_001), received(1, 2_000, 2_001)]);
  t.equal(audit.deliveredUnpromised, 1);
  t.equal(audit.duplicates().length, 1);
  t.equal(audit.tally().accepted, 0);
});

test("a kill explains the copy whose 250 it cut off, and no other", async (t) => {
  const duplicate = (firstReply: number | undefined, second = 5_000) => ({
    benchId: "b-1",
    recipient: "r1@x.example",
    copies: [received(1, 1_000, firstReply), received(1, second, second + 1)],
  });
  t.equal(causeOf(duplicate(undefined), [1_500], 100), "in-flight-at-kill", "no 250 before the kill");
  t.equal(causeOf(duplicate(1_450), [1_500], 100), "in-flight-at-kill", "250 just before the kill");
  t.equal(causeOf(duplicate(1_510), [1_500], 100), "in-flight-at-kill", "250 written to a dead peer");
  t.equal(causeOf(duplicate(1_200), [1_500], 100), "unexplained", "250 long before the kill");
  t.equal(causeOf(duplicate(1_200), [], 100), "unexplained");
  t.equal(causeOf(duplicate(undefined), [], 100), "reply-lost");
  t.equal(causeOf(duplicate(1_450, 1_460), [1_500], 100), "unexplained", "the second copy came before the kill");
});

test("the time from a 250 to the kill that explains the next copy is measured", async (t) => {
  const spanOf = (firstReply: number | undefined): number =>
    answeredBeforeKillMs(
      { benchId: "b", recipient: "r", copies: [received(1, 1_000, firstReply), received(1, 5_000, 5_001)] },
      [1_500, 9_000],
    );
  t.equal(spanOf(1_450), 50);
  t.equal(spanOf(1_600), 0, "written to a dead peer");
  t.equal(spanOf(undefined), 0);
});

test("each copy after the first needs its own explanation", async (t) => {
  const copies = [received(1, 1_000, undefined), received(1, 2_000, 2_001), received(1, 3_000, 3_001)];
  t.equal(causeOf({ benchId: "b-1", recipient: "r", copies }, [1_500], 100), "unexplained");
  t.equal(causeOf({ benchId: "b-1", recipient: "r", copies }, [1_500, 2_050], 100), "in-flight-at-kill");
});
