// Half a million messages: whether memory stays flat, and whether the spool's file stays near what it holds.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "soak",
  about: "500,000 messages of 10 KB to 50 domains, flat out",
  messages: 500_000,
  targets: [
    { value: "eventLoopLagMs.p99", atMost: 20 },
    { value: "memory.serverPrivateGrowthMiB", atMost: 32 },
    { value: "spool.fileToLiveMax", atMost: 3 },
  ],
};
