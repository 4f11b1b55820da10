// For tests: a range of seeds whose worlds must all hold.

import { loadClassifier } from "../../src/outcome/outcome.ts";
import { runWorld } from "./run-world.ts";

export const classifier = () => loadClassifier(["conf/bounces.yaml"]);

/** Runs the worlds one after the other; what broke, with its seed, and how much happened. */
export async function holdWorlds(first: number, count: number) {
  const rules = classifier();
  const broken: string[] = [];
  let accepted = 0;
  let copies = 0;
  let crashes = 0;
  for (let seed = first; seed < first + count; seed++) {
    const result = await runWorld(seed, rules);
    broken.push(...result.violations.map((text) => `seed ${seed}: ${text}`));
    accepted += result.accepted;
    copies += result.copies;
    crashes += result.crashes;
  }
  return { broken, accepted, copies, crashes };
}
