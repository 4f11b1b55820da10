// As `wan`, to an operator without CHUNKING: envelope and content take two flights unless they overlap.

import type { Scenario } from "./scenario.ts";
import { scenario as wan } from "./wan.ts";

export const scenario: Scenario = {
  ...wan,
  name: "wan-pipelining",
  about: "50 ms round trips, 10 connections to one site, PIPELINING alone: envelopes overlap the content before",
  extensions: ["PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES"],
  targets: [{ value: "deliveredPerSecondSteady", atLeast: 160 }],
};
