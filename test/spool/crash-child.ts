// Run by the crash tests: accepts and finishes mail and says on standard output what has been acknowledged.

import { writeSync } from "node:fs";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { openLmdbSpool } from "../../src/spool/spool.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { acceptOf, finishOf, patternOf } from "../contract/spool-fixture.ts";

const [path = "", first = "0", count = "1000000"] = process.argv.slice(2);
const spool = await openLmdbSpool({
  path,
  mapSizeBytes: 256 * 1024 * 1024,
  freeSpaceMinBytes: 1,
  commitLatencyMaxMs: 5_000,
  clock: new SystemClock(),
  log: silentLog,
});
let next = Number(first);
const end = next + Number(count);
const say = (line: string) => writeSync(1, `${line}\n`);

async function client(): Promise<void> {
  while (next < end) {
    const number = next++;
    const accept = acceptOf(number, { content: patternOf(2_000 + (number % 7) * 1_500, number) });
    await spool.commit([accept, { kind: "events", lines: `accept ${number}\n` }]);
    say(`accepted ${number}`);
    const [entry] = accept.entries;
    if (number % 3 === 0 && entry !== undefined) {
      await spool.commit([finishOf(entry)]);
      say(`finished ${number}`);
    }
  }
}

say("open");
await Promise.all(Array.from({ length: 16 }, client)).catch((error: Error) => say(`rejected ${error.message}`));
say(`health ${spool.health().kind}`);
await spool.commit([acceptOf(end)]).catch((error: Error) => say(`refused ${error.message}`));
await spool.close();
say("closed");
