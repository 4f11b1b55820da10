// Flat out: how many messages of 10 KB to 50 domains are accepted, kept and delivered in a second.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "throughput",
  about: "10 KB messages to 50 domains, flat out",
  // Enough that no server waits for the source: with 40 sessions Postern waits, and Postfix is at its best (see the README).
  sessions: 100,
  shards: 2,
  messages: 40_000,
  warmUpMessages: 20_000,
  targets: [
    { value: "cpu.serverUsPerMessage", atMost: 250 },
    { value: "eventLoopLagMs.p99", atMost: 20 },
  ],
};
