// Messages of 1 MB, signed: whether memory stays in bounds.

import { scenario as bigMessages } from "./big-messages.ts";
import type { Scenario } from "./scenario.ts";

export const scenario: Scenario = {
  ...bigMessages,
  name: "big-messages-1mb",
  about: "1 MB messages, signed, flat out",
  messages: 1_000,
  warmUpMessages: 50,
  bodyBytes: 1024 * 1024,
  targets: [{ value: "memory.serverPrivateMiBMax", atMost: 512 }],
};
