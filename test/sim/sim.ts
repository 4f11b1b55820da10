// `npm run sim -- [--seed N] [--seeds COUNT]`: runs simulated worlds and says what broke.

import { parseArgs } from "node:util";
import { loadClassifier } from "../../src/outcome/outcome.ts";
import { runWorld } from "./run-world.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    seeds: { type: "string", default: "1" },
    twice: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(
    "npm run sim -- [--seed FIRST] [--seeds COUNT] [--twice]\n--twice runs each seed two times and compares the histories.",
  );
  process.exit(0);
}
const first = Number(values.seed);
const count = Number(values.seeds);
if (!Number.isInteger(first) || !Number.isInteger(count) || count < 1) {
  console.error("sim: --seed and --seeds take whole numbers");
  process.exit(2);
}
const classifier = loadClassifier(["conf/bounces.yaml"]);
const startedMs = performance.now();
let broken = 0;
let messages = 0;
let simulatedMs = 0;
for (let seed = first; seed < first + count; seed++) {
  const result = await runWorld(seed, classifier);
  const violations = [...result.violations];
  if (values.twice && (await runWorld(seed, classifier)).history !== result.history) violations.push("two runs differ");
  messages += result.accepted;
  simulatedMs += result.simulatedMs;
  if (violations.length > 0) {
    broken++;
    console.log(`seed ${seed} breaks:\n${violations.map((text) => `  ${text}`).join("\n")}`);
  } else if (count === 1) console.log(`seed ${seed} holds: ${result.accepted} messages, ${result.copies} deliveries`);
  if (process.stdout.isTTY && count > 1) process.stdout.write(`\r${seed - first + 1} of ${count} worlds`);
}
const seconds = (performance.now() - startedMs) / 1000;
console.log(
  `${count} worlds, ${messages} messages, ${Math.round(simulatedMs / 86_400_000)} simulated days in ${seconds.toFixed(1)} s: ${broken} broken`,
);
process.exit(broken === 0 ? 0 : 1);
