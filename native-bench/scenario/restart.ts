// A deep queue and a kill -9: how soon the next start delivers, with how much memory, and whether in order.

import { baseScenario, type Scenario } from "./scenario.ts";

export const restart: Scenario = {
  ...baseScenario,
  name: "restart",
  about: "200,000 queued recipients over 2,000 domains, killed and started again",
  messages: 20_000,
  recipientsPerMessage: 10,
  bodyBytes: 4 * 1024,
  domains: 2_000,
  hosts: 2_000,
  overrides: [[["sites", "defaults", "connections_max"], 1]],
};
