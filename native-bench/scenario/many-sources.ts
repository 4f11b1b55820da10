// 256 source addresses with weights: each connection from the address chosen, and each address its share.

import { baseScenario, type Scenario } from "./scenario.ts";
import { scenario as throughput } from "./throughput.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "many-sources",
  about: "256 source addresses with weights 1 to 4, 10 operators, flat out",
  messages: throughput.messages,
  warmUpMessages: throughput.warmUpMessages,
  sessions: throughput.sessions,
  shards: throughput.shards,
  domains: 50,
  hosts: 10,
  sources: 256,
  baseline: throughput,
  targets: [
    { value: "baseline.deliveredShare", atLeast: 0.8 },
    { value: "sources.addresses", atLeast: 256 },
    { value: "sources.wrongAddress", atMost: 0 },
    { value: "sources.shareErrorMax", atMost: 0.05 },
  ],
};
