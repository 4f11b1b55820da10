import type { BenchReport } from "./report.ts";
export function reportHtml(report: BenchReport): string {
  return JSON.stringify(report);
}
