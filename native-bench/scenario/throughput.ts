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
  // V8 goes on to compile for long: after 20,000 messages that took a tenth of all CPU time, after 60,000 a twenty-fifth.
  warmUpMessages: 60_000,
  targets: [
    { value: "cpu.serverUsBesideSignature", atMost: 250 },
    { value: "eventLoopLagMs.p99", atMost: 20 },
    { value: "postfix.unsigned.delivered", atLeast: 8 },
    { value: "postfix.signed.delivered", atLeast: 5 },
  ],
};
