// Twenty thousand recipient domains: what queues that hold a message or two each cost.

import { baseScenario, type Scenario } from "./scenario.ts";
import { scenario as throughput } from "./throughput.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "many-domains",
  about: "10 KB messages to 20,000 domains behind 200 operators, flat out",
  messages: throughput.messages,
  warmUpMessages: throughput.warmUpMessages,
  sessions: throughput.sessions,
  shards: throughput.shards,
  domains: 20_000,
  hosts: 200,
  idleQueues: 20_000,
  baseline: throughput,
  targets: [
    { value: "baseline.deliveredShare", atLeast: 0.8 },
    { value: "idleQueues.bytesPerQueue", atMost: 2_048 },
  ],
};
