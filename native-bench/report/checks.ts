// What was asked of the runs, and whether they kept to it.

import { peerNames } from "../peers/peers.ts";
import type { Scenario, Target } from "../scenario/scenario.ts";
import type { BenchReport, Check, Pair, RestartReport, RunReport } from "./report.ts";

/** Each run of Postern, each pair with a peer, and what is told of all runs together, against the scenario's targets. */
export function loadChecks(
  { targets, signed }: Pick<Scenario, "targets" | "signed">,
  runs: readonly RunReport[],
  pairs: readonly Pair[],
  peer: string | undefined,
  together: Pick<BenchReport, "baseline" | "idleQueues">,
): Check[] {
  const { ofAll = [], ofPairs = [], ofRuns = [] } = Object.groupBy(targets, ({ value }) => scopeOf(value));
  const against = `${peer}.${signed ? "signed" : "unsigned"}.`;
  const ofThesePairs = ofPairs.filter(({ value }) => value.startsWith(against));
  return [
    ...runs.filter(({ server }) => server === "postern").flatMap((run) => checksOf(ofRuns, run)),
    ...checksOf(ofAll, together),
    ...pairs.flatMap((pair) => checksOf(ofThesePairs, { [String(peer)]: { signed: pair, unsigned: pair } })),
  ];
}

export function restartChecks({ targets }: Pick<Scenario, "targets">, restart: RestartReport): Check[] {
  return checksOf(targets, restart);
}

/** What a target is about: a run, all runs together, or a pair of Postern and a peer. */
function scopeOf(value: string): "ofAll" | "ofPairs" | "ofRuns" {
  const first = value.slice(0, value.indexOf("."));
  if (first === "baseline" || first === "idleQueues") return "ofAll";
  return peerNames.includes(first) ? "ofPairs" : "ofRuns";
}

/** Holds the targets against a report, or a part of it. */
function checksOf(targets: readonly Target[], report: object): Check[] {
  return targets.map(({ value, atLeast, atMost }) => {
    const found = numberAt(report, value);
    const met =
      found !== undefined && (atLeast === undefined || found >= atLeast) && (atMost === undefined || found <= atMost);
    const bound = [atLeast === undefined ? "" : `at least ${atLeast}`, atMost === undefined ? "" : `at most ${atMost}`];
    return { server: "postern", value, bound: bound.filter(Boolean).join(", "), found, met };
  });
}

/** All accepted, and all that was accepted came once and whole, within the receivers' limits where Postern sent it. */
export function isClean({ runs, restart }: Pick<BenchReport, "runs" | "restart">): boolean {
  return [...runs, ...(restart === undefined ? [] : [restart])].every(
    (run) =>
      run.lost + run.duplicates + run.damaged === 0 &&
      (run.server !== "postern" || run.breaches === 0) &&
      (!("accepted" in run) || run.accepted === run.messages),
  );
}

function numberAt(report: object, path: string): number | undefined {
  let current: unknown = report;
  for (const name of path.split(".")) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Readonly<Record<string, unknown>>)[name];
  }
  return typeof current === "number" ? current : undefined;
}
