// A newsletter at a steady rate to receivers that take their time and now and then say "later".

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "campaign",
  about: "a steady 1,000 messages a second of mixed sizes to 200 domains, 1 % deferred at first",
  messages: 20_000,
  ratePerSecond: 1_000,
  bodyBytes: [
    { bytes: 4 * 1024, weight: 5 },
    { bytes: 20 * 1024, weight: 4 },
    { bytes: 60 * 1024, weight: 1 },
  ],
  domains: 200,
  domainWeights: "falling",
  receiver: { deferShare: 0.01, finalDotDelay: { medianMs: 20, sigma: 0.5, maxMs: 500 }, roundTripMs: 5 },
  connectionsMax: 20,
};
