// The memory of peers that break what they offer.

import { test } from "tap";
import { Quirks, quirkHostsMax, quirkMs } from "../../src/delivery/quirks.ts";
import { SimClock } from "../support/sim-clock.ts";

test("one broken connection is chance, two in a row are a habit, and habits are forgotten", async (t) => {
  const clock = new SimClock();
  const quirks = new Quirks(clock);
  quirks.strike("mx", "pipelining");
  t.equal(quirks.avoids("mx", "pipelining"), false);
  quirks.worked("mx", "pipelining");
  quirks.strike("mx", "pipelining");
  t.equal(quirks.avoids("mx", "pipelining"), false, "a success clears the count");
  quirks.strike("mx", "pipelining");
  t.equal(quirks.avoids("mx", "pipelining"), true);
  t.equal(quirks.avoids("mx", "chunking"), false);
  t.equal(quirks.avoids("my", "pipelining"), false);
  quirks.strike("mx", "pipelining");
  t.equal(quirks.avoids("mx", "pipelining"), true, "a further strike does not shorten it");
  await clock.advance(quirkMs);
  t.equal(quirks.avoids("mx", "pipelining"), false);
});

test("the memory is bounded, and keeps what it learned last", (t) => {
  const quirks = new Quirks(new SimClock());
  for (let i = 0; i <= quirkHostsMax; i++) quirks.proven(`mx${i}`, "chunking");
  t.equal(quirks.avoids("mx0", "chunking"), false);
  t.equal(quirks.avoids("mx1", "chunking"), true);
  t.equal(quirks.avoids(`mx${quirkHostsMax}`, "chunking"), true);
  t.end();
});
