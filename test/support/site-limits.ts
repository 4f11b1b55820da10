// Limits of a site for tests that are not about them.

import type { SiteLimits } from "../../src/config/config.ts";

export const siteLimits: SiteLimits = {
  connectionsMax: 10,
  connectionRate: undefined,
  messagesPerConnectionMax: 100,
  rate: undefined,
  recipientsPerMessageMax: 100,
  tls: undefined,
};
