// A hundred simulated worlds that must hold; `npm run sim` runs more.

import { test } from "tap";
import { holdWorlds } from "./hold-worlds.ts";

test("the worlds of seeds 1 to 100 hold", { timeout: 110_000 }, async (t) => {
  const { broken, accepted, copies, crashes } = await holdWorlds(1, 100);
  t.same(broken, []);
  t.ok(
    accepted > 2_000 && copies > 2_000 && crashes > 50,
    `${accepted} messages, ${copies} copies, ${crashes} crashes`,
  );
});
