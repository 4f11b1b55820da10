// Durations, sizes and rates: what an operator writes, read and written back.

import fc from "fast-check";
import { test } from "tap";
import { formatDuration, formatRate, formatSize, parseDuration, parseRate, parseSize } from "../../src/config/units.ts";

test("durations are read in all their units", async (t) => {
  t.equal(parseDuration("30s"), 30_000);
  t.equal(parseDuration("10m"), 600_000);
  t.equal(parseDuration("4d12h"), 388_800_000);
  t.equal(parseDuration("250ms"), 250);
  t.equal(parseDuration("1m30s"), 90_000);
  t.equal(parseDuration("0s"), 0);
  for (const text of ["", "5", "s", "5 s", "1.5h", "10m1h", "5min", "-5s", "1h1h", "99999d"]) {
    t.equal(parseDuration(text), undefined, `"${text}" is refused`);
  }
});

test("sizes are powers of 1024 and whole octets", async (t) => {
  t.equal(parseSize("64KiB"), 65_536);
  t.equal(parseSize("25MiB"), 26_214_400);
  t.equal(parseSize("1.5GiB"), 1_610_612_736);
  t.equal(parseSize("17B"), 17);
  for (const text of ["", "64", "64KB", "64kib", "1.5B", "-1MiB", "9999999TiB"]) {
    t.equal(parseSize(text), undefined, `"${text}" is refused`);
  }
});

test("rates count per span, and unlimited is no rate", async (t) => {
  t.same(parseRate("100/s"), { kind: "rate", rate: { count: 100, perMs: 1_000 } });
  t.same(parseRate("83/10m"), { kind: "rate", rate: { count: 83, perMs: 600_000 } });
  t.same(parseRate("5000/d"), { kind: "rate", rate: { count: 5000, perMs: 86_400_000 } });
  t.same(parseRate("unlimited"), { kind: "rate", rate: undefined });
  for (const text of ["", "100", "0/s", "100/", "/s", "1.5/s", "100/0s", "100/min", "100/30m1h"]) {
    t.equal(parseRate(text).kind, "invalid", `"${text}" is refused`);
  }
});

test("what is formatted reads back as itself", async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 300_000_000_000 }), (ms) => parseDuration(formatDuration(ms)) === ms),
  );
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => parseSize(formatSize(bytes)) === bytes));
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.integer({ min: 1, max: 100 }),
      fc.constantFrom(1, 1_000, 60_000, 3_600_000, 86_400_000),
      (count, spans, unitMs) => {
        const perMs = spans * unitMs;
        const parsed = parseRate(formatRate({ count, perMs }));
        return parsed.kind === "rate" && parsed.rate?.count === count && parsed.rate.perMs === perMs;
      },
    ),
  );
  t.equal(formatRate({ count: 100, perMs: 60_000 }), "100/m");
  t.equal(formatRate({ count: 83, perMs: 600_000 }), "83/10m");
  t.equal(formatSize(26_214_400), "25MiB");
  t.equal(formatDuration(388_800_000), "4d12h");
});
