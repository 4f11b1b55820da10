// Half a million messages: whether memory stays flat, and whether the spool's file stays near what it holds.
//
// A fifth of all attempts is put off, so that some thousands of messages of all ages always lie in the spool: what is
// written and erased around them is what could blow up the file.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "soak",
  about: "500,000 messages of 10 KB to 50 domains, flat out, a fifth of the attempts deferred",
  messages: 500_000,
  receiver: { deferShare: 0.2 },
  overrides: [
    [
      ["streams", "bulk", "retry"],
      ["2s", "10s", "20s", "2s"],
    ],
  ],
  targets: [
    { value: "eventLoopLagMs.p99", atMost: 20 },
    { value: "memory.serverPrivateGrowthMiB", atMost: 32 },
    // Else the next would say nothing.
    { value: "spool.liveMiBMax", atLeast: 20 },
    { value: "spool.fileToLiveMax", atMost: 3 },
  ],
};
