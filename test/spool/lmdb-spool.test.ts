// The spool on LMDB keeps the contract.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SpoolUnderTest, spoolContract } from "../contract/spool-contract.ts";
import { SimClock } from "../support/sim-clock.ts";
import { damageRecord, openTestSpool } from "./lmdb-fixture.ts";

spoolContract("lmdb", async (): Promise<SpoolUnderTest> => {
  const folder = await mkdtemp(join(tmpdir(), "spool-"));
  const path = join(folder, "0");
  const clock = new SimClock();
  const under: SpoolUnderTest = {
    spool: await openTestSpool(path, { clock }),
    commit(change) {
      return under.spool.commit(change);
    },
    commitAll(changes) {
      return Promise.allSettled(changes.map((change) => under.spool.commit(change)));
    },
    async advance(ms) {
      await clock.advance(ms);
    },
    async reopen() {
      await under.spool.close();
      under.spool = await openTestSpool(path, { clock });
    },
    async damageContent(queueId) {
      await under.spool.close();
      await damageRecord(path, queueId, 2, 0);
      under.spool = await openTestSpool(path, { clock });
    },
    async dispose() {
      await under.spool.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return under;
});
