// A lane as the queue tells it to people, for tests of those who show it.

import type { LaneSummary } from "../../src/queue/queue.ts";

export const laneSummary: LaneSummary = {
  source: "a1",
  site: "google",
  ready: 4,
  connections: { max: 20, connecting: 1, busy: 2, idle: 3 },
  rate: "30/s",
  connectionRate: "100/m",
  messagesPerConnectionMax: 50,
  suspendedUntil: undefined,
  suspendedBecause: undefined,
  lastReplies: [],
  where: "conf/sites.yaml:19",
};
