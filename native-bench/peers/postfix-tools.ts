import type { LoadRunPlan } from "../load-run.ts";
import type { RunReport } from "../report/report.ts";
export async function runWithPostfixTools(_plan: LoadRunPlan): Promise<RunReport> {
  throw new Error("not yet");
}
