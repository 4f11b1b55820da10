// A thousand clients that all connect at the same moment, one message each: what the slowest of them waits.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "burst",
  about: "1,000 clients at once, one message each; with more messages a burst every 3 s",
  messages: 1_000,
  sessions: 1_000,
  messagesPerSession: 1,
  bursts: { messages: 1_000, everyMs: 3_000 },
  targets: [
    { value: "connectTo250.p99Ms", atMost: 1_000 },
    { value: "acceptToDelivery.p99Ms", atMost: 3_000 },
  ],
};
