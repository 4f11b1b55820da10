// Twenty clients at once that connect anew for each message: the time to the greeting and from the final dot to the 250.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "latency",
  about: "20 parallel sessions, a new connection for each message",
  messages: 5_000,
  sessions: 20,
  messagesPerSession: 1,
};
