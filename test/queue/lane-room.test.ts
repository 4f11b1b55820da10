// How much more work a lane can take: it says each begin and each end of room, and nothing else.

import fc from "fast-check";
import { test } from "tap";
import { LaneRoom, type StreamClass } from "../../src/queue/lane-room.ts";
import type { EffectiveLimits } from "../../src/shaping/shaping.ts";

const limitsOf = (connectionsMax: number): EffectiveLimits => ({ connectionsMax }) as EffectiveLimits;

test("batch fills a lane up to its part, and real-time mail still fits", (t) => {
  const told: string[] = [];
  const room = new LaneRoom(limitsOf(4), (streamClass, hasRoom) => told.push(`${streamClass} ${hasRoom}`));
  t.same([room.of("batch"), room.of("realtime")], [8, 12]);
  for (let i = 0; i < 8; i++) room.reserve();
  t.same(told, ["batch false"]);
  for (let i = 0; i < 4; i++) room.reserve();
  t.same(told, ["batch false", "realtime false"]);
  for (let i = 0; i < 12; i++) room.prepared();
  t.same([room.ready, room.preparing, told.length], [12, 0, 2], "what is ready takes the place that it had reserved");
  room.taken(5);
  t.same(told.slice(2), ["realtime true", "batch true"]);
  room.returned();
  t.same(told.slice(4), ["batch false"]);
  t.end();
});

test("whatever happens to a lane, what was told last is so", (t) => {
  const steps = ["reserve", "unreserve", "prepared", "returned", "taken", "shut", "open", "wide", "narrow"] as const;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...steps), { maxLength: 60 }), (drawn) => {
      const told: Record<StreamClass, boolean> = { realtime: true, batch: true };
      const room = new LaneRoom(limitsOf(1), (streamClass, hasRoom) => {
        if (told[streamClass] === hasRoom) throw new Error("told twice");
        told[streamClass] = hasRoom;
      });
      for (const step of drawn) {
        if (step === "reserve" || step === "returned") room[step]();
        else if (step === "unreserve" || step === "prepared") {
          if (room.preparing > 0) room[step]();
        } else if (step === "taken") room.taken(Math.min(1, room.ready));
        else if (step === "shut" || step === "open") room.setShut(step === "shut");
        else room.setLimits(limitsOf(step === "wide" ? 3 : 1));
        for (const streamClass of ["realtime", "batch"] as const) {
          if (told[streamClass] !== room.of(streamClass) > 0) throw new Error(`${streamClass} after ${step}`);
        }
      }
    }),
    { numRuns: 300, seed: 3 },
  );
  t.pass();
  t.end();
});
