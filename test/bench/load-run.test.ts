// Runs of the benchmark as a whole: what they find where receivers refuse, and what they leave behind.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import { Box } from "../../native-bench/box.ts";
import { runLoad } from "../../native-bench/load-run.ts";
import { repositoryRoot } from "../../native-bench/postern-process.ts";
import { startPostern } from "../../native-bench/postern-server.ts";
import { baseScenario, type Scenario } from "../../native-bench/scenario/scenario.ts";

const template = join(repositoryRoot, "conf", "bench.yaml");

function emptyFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), "postern-bench-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

test("recipients that a receiver refuses bounce and are not lost, and the warm-up counts for nothing", async (t) => {
  const folder = emptyFolder(t);
  const scenario: Scenario = {
    ...baseScenario,
    name: "refused",
    about: "some mailboxes do not exist, some come later",
    messages: 60,
    warmUpMessages: 60,
    recipientsPerMessage: 2,
    sessions: 4,
    domains: 3,
    hosts: 3,
    receiver: { unknownUserShare: 0.2, deferShare: 0.1 },
    // The chance of a second deferral is small, and the wait after it is short.
    overrides: [[["streams", "bulk", "retry"], ["1s"]]],
  };
  const start = (box: Box) => startPostern(box, { profileFolder: undefined });
  const notes: string[] = [];
  const plan = { scenario, folder, template, keep: false, serverName: "postern", notes, start };
  const run = await runLoad({ ...plan, onSample: () => undefined });
  t.match(run, { accepted: 60, lost: 0, duplicates: 0, damaged: 0, breaches: 0 });
  t.ok(run.bounced > 5, "some were refused");
  t.equal(run.delivered + run.bounced, 120, "each recipient was delivered or given up");
  const deferrals = run.deferralsByOperator.reduce((sum, operator) => sum + operator.deferrals, 0);
  t.equal(deferrals, run.samples.at(-1)?.deferrals);
  t.strictSame(readdirSync(folder), [], "nothing is left");
});

test("a temporary box takes its own files away and leaves those of others, and its processes fail in words", async (t) => {
  const folder = emptyFolder(t);
  writeFileSync(join(folder, "report.json"), "{}");
  {
    await using box = await Box.open({ folder, template, operators: [], zone: {}, seed: 1, isTemporary: true });
    t.strictSame(readdirSync(folder).sort(), ["postern.yaml", "report.json"]);
    await t.rejects(box.stopLoad("nobody"), { message: "the load source: no run nobody" });
  }
  t.strictSame(readdirSync(folder), ["report.json"]);
});
