// A deep queue and a kill -9: how soon the next start delivers, with how much memory, and whether in order.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  kind: "restart",
  name: "restart",
  about: "200,000 queued recipients (10 a message) over 2,000 domains, killed and started again",
  messages: 20_000,
  recipientsPerMessage: 10,
  bodyBytes: 4 * 1024,
  domains: 2_000,
  hosts: 2_000,
  connectionsMax: 1,
  targets: [
    { value: "firstDeliverySeconds", atMost: 5 },
    { value: "memory.serverPrivateMiBMax", atMost: 512 },
    { value: "lost", atMost: 0 },
    { value: "duplicates", atMost: 0 },
  ],
};
