// The lanes of all shards as an operator sees them: a source and a site are one lane, whichever shards use it.

import type { LaneSummary } from "../queue/queue.ts";

const lastRepliesMax = 10;

/** Work and connections are added up. Limits and what is left of the rates are shared, and so told once. */
export function mergeLanes(lanes: readonly LaneSummary[]): LaneSummary[] {
  const merged = new Map<string, LaneSummary>();
  for (const lane of lanes) {
    const key = JSON.stringify([lane.source, lane.site]);
    const known = merged.get(key);
    merged.set(key, known === undefined ? lane : sumOf(known, lane));
  }
  return [...merged.values()];
}

function sumOf(one: LaneSummary, other: LaneSummary): LaneSummary {
  // Each shard learns of a refusal by itself, so one may rest while another goes on.
  const resting = (one.suspendedUntil ?? 0) >= (other.suspendedUntil ?? 0) ? one : other;
  return {
    ...one,
    ready: one.ready + other.ready,
    connections: {
      max: one.connections.max,
      connecting: one.connections.connecting + other.connections.connecting,
      busy: one.connections.busy + other.connections.busy,
      idle: one.connections.idle + other.connections.idle,
    },
    suspendedUntil: resting.suspendedUntil,
    suspendedBecause: resting.suspendedBecause,
    lastReplies: [...one.lastReplies, ...other.lastReplies].sort((a, b) => a.at - b.at).slice(-lastRepliesMax),
  };
}
