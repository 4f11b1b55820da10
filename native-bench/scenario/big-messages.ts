// Messages of 100 KB, signed: octets instead of messages.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "big-messages",
  about: "100 KB messages, signed, flat out",
  messages: 5_000,
  warmUpMessages: 500,
  bodyBytes: 100 * 1024,
  signed: true,
  targets: [
    { value: "deliveredPerSecond", atLeast: 1_000 },
    { value: "memory.serverPrivateMiBMax", atMost: 512 },
  ],
};
