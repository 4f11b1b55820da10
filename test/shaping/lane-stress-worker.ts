// A shard as a thread that does nothing but open and close connections of one lane, as fast as it may.

import { parentPort, workerData } from "node:worker_threads";
import { SystemClock } from "../../src/platform/system-clock.ts";
import { LaneGovernor, LaneTable } from "../../src/shaping/shaping.ts";

export interface StressData {
  readonly memory: SharedArrayBuffer;
  readonly tally: Int32Array;
  readonly shard: number;
  readonly shards: number;
  readonly connectionsMax: number;
  readonly ratePerSecond: number;
  readonly forMs: number;
}

const { memory, tally, shard, shards, connectionsMax, ratePerSecond, forMs } = workerData as StressData;
const clock = new SystemClock();
const limits = { connectionsMax, rate: { count: ratePerSecond, perMs: 1_000 }, connectionRate: undefined };
const governor = new LaneGovernor(
  new LaneTable(memory, shard, shards),
  { source: "a1", site: "b" },
  limits,
  clock.monotonicMs(),
  () => wake(),
);
const endsAtMs = clock.monotonicMs() + forMs;
let wake: () => void = () => {};
let opened = 0;

while (clock.monotonicMs() < endsAtMs) {
  const answer = governor.admitConnection(clock.monotonicMs());
  if (answer.kind === "go") {
    opened++;
    Atomics.add(tally, 2, 1);
    const open = Atomics.add(tally, 0, 1) + 1;
    for (let most = Atomics.load(tally, 1); open > most; most = Atomics.load(tally, 1)) {
      Atomics.compareExchange(tally, 1, most, open);
    }
    for (let i = 0; i < 20; i++) if (governor.admitMessage(clock.monotonicMs()).kind === "go") Atomics.add(tally, 3, 1);
    if (opened % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
    const returned = governor.isWanted && governor.givesBack("busy", clock.monotonicMs());
    Atomics.sub(tally, 0, 1);
    governor.closed(false, returned);
  } else {
    await new Promise<void>((resolve) => {
      wake = resolve;
      // For the end of the test, and for "wait".
      setTimeout(resolve, 20);
    });
  }
}
governor.close();
parentPort?.postMessage(opened);
