// Far away: 50 ms round trips to one operator that allows ten connections. A whole message fits in one flight.

import { baseScenario, type Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...baseScenario,
  name: "wan",
  about: "50 ms round trips, 10 connections to one site, CHUNKING: at best one message a round trip, 200 a second",
  messages: 2_000,
  warmUpMessages: 200,
  domains: 1,
  hosts: 1,
  receiver: { roundTripMs: 50 },
  connectionsMax: 10,
  targets: [{ value: "deliveredPerSecondSteady", atLeast: 180 }],
};
