// The process that holds load sources, so that their work does not disturb what they measure.

import { answerCalls } from "../control.ts";
import type { Acknowledgement, LoadPlan, SourceCounts } from "./load-plan.ts";
import { LoadSource } from "./load-source.ts";

/** What `Remote` may call. Runs are named by the plan's `runId`. */
export interface SourceApi {
  readonly [method: string]: (argument: never) => unknown;
  /** Resolves at the end of the run. */
  readonly run: (plan: LoadPlan) => Promise<SourceCounts>;
  readonly stop: (runId: string) => void;
  /** New acknowledgements from an index on, at most `acknowledgementsPerCallMax`. */
  readonly acknowledgements: (query: { readonly runId: string; readonly from: number }) => readonly Acknowledgement[];
  readonly uncertain: (runId: string) => readonly string[];
  readonly counts: (runId: string) => SourceCounts;
}

export const acknowledgementsPerCallMax = 20_000;

function sourceApi(): SourceApi {
  const sources = new Map<string, LoadSource>();
  const use = (runId: string): LoadSource => {
    const source = sources.get(runId);
    if (source === undefined) throw new Error(`no run ${runId}`);
    return source;
  };
  return {
    async run(plan) {
      const source = new LoadSource(plan);
      sources.set(plan.runId, source);
      await source.run();
      return source.counts();
    },
    stop: (runId) => use(runId).stop(),
    acknowledgements: ({ runId, from }) => use(runId).acknowledgements(from, acknowledgementsPerCallMax),
    uncertain: (runId) => use(runId).uncertain,
    counts: (runId) => use(runId).counts(),
  };
}

if (import.meta.main) answerCalls(sourceApi());
