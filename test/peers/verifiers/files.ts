// How verifiers that are programs get contents and give verdicts: numbered files, and lines "NUMBER VERDICT".

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** As 0.eml, 1.eml and so on. */
export function writeContents(contents: readonly Buffer[], folder: string): void {
  for (const [i, content] of contents.entries()) writeFileSync(join(folder, `${i}.eml`), content);
}

export function readVerdicts(text: string): ReadonlyMap<number, string> {
  const lines = [...text.matchAll(/^(\d+) (.*)$/gm)];
  return new Map(lines.map(([, number, verdict]) => [Number(number), (verdict ?? "").trim()]));
}
