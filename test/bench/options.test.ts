// The command line of the benchmark, its scenarios, and those of the user's own.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "tap";
import { checkReportPlaces, checkTogether, parseBenchOptions, parseSizes } from "../../native-bench/bench-options.ts";
import { domainsOf, operatorsOf, sourcesOf, zoneOf } from "../../native-bench/bench-world.ts";
import { asToolsMayRun } from "../../native-bench/peers/postfix-tools.ts";
import { catalog, findScenario } from "../../native-bench/scenario/catalog.ts";

test("what the command line names replaces what the scenario says, and nothing else", async (t) => {
  const parsed = parseBenchOptions(["burst", "--messages", "5000", "--size", "1MiB", "--signed", "--json", "x.json"]);
  t.match(parsed, { kind: "options", options: { scenario: "burst", json: "x.json", pairs: 2, tools: "own" } });
  t.strictSame(parsed.kind === "options" && parsed.options.changes, {
    messages: 5_000,
    bodyBytes: 1_048_576,
    signed: true,
  });
  t.match(parseBenchOptions(["burst", "--warm-up", "0"]), { options: { changes: { warmUpMessages: 0 } } });
});

test("wrong usage is told in words", async (t) => {
  for (const args of [[], ["a", "b"], ["a", "--messages", "many"], ["a", "--nothing"], ["a", "--size", "big"]]) {
    const parsed = parseBenchOptions(args);
    t.equal(parsed.kind, "wrong", args.join(" "));
  }
  t.match(parseBenchOptions(["a", "--tools", "others"]), { kind: "wrong", message: /own or postfix/ });
  t.equal(parseBenchOptions(["--list"]).kind, "list");
  t.equal(parseBenchOptions(["--help"]).kind, "help");
});

test("sizes have units and weights", async (t) => {
  t.equal(parseSizes("10240"), 10_240);
  t.equal(parseSizes("10KiB"), 10_240);
  t.strictSame(parseSizes("4KiB:5, 1MiB"), [
    { bytes: 4_096, weight: 5 },
    { bytes: 1_048_576, weight: 1 },
  ]);
  for (const wrong of ["-1", "0", "25MiB", "4KiB:0"]) t.throws(() => parseSizes(wrong), wrong);
});

test("each scenario has a name of its own and a world in which every domain has an exchanger", async (t) => {
  t.equal(new Set(catalog.map(({ name }) => name)).size, catalog.length);
  for (const scenario of catalog) {
    const zone = zoneOf(scenario);
    const addresses = new Set(operatorsOf(scenario).flatMap((setup) => setup.addresses));
    const reached = domainsOf(scenario).flatMap(({ domain }) =>
      (zone[domain]?.mx ?? []).flatMap(({ exchange }) => zone[exchange]?.a ?? []),
    );
    t.equal(reached.length, scenario.domains, scenario.name);
    t.ok(reached.every((address) => addresses.has(address)));
    t.equal(new Set(sourcesOf(scenario).map(({ address }) => address)).size, scenario.sources);
  }
});

test("a scenario of one's own is found by its path, over the base", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-bench-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "mine.ts");
  writeFileSync(file, 'export const scenario = { name: "mine", messages: 7 };\n');
  t.match(await findScenario(file), { name: "mine", messages: 7, sessions: 40, kind: "load" });
  t.equal(await findScenario("no-such-scenario"), undefined);
  const wrong = join(folder, "wrong.ts");
  writeFileSync(wrong, "export const other = 1;\n");
  await t.rejects(findScenario(wrong), /exports no scenario/);
  writeFileSync(join(folder, "broken.ts"), "export const scenario = {;\n");
  await t.rejects(findScenario(join(folder, "broken.ts")), /broken\.ts cannot be loaded/);
  for (const [i, [text, message]] of (
    [
      ["message: 7", /a scenario has no message/],
      ['domains: "3"', /domains needs a whole number/],
    ] as const
  ).entries()) {
    const slip = join(folder, `slip${i}.ts`);
    writeFileSync(slip, `export const scenario = { name: "slip", ${text} };\n`);
    await t.rejects(findScenario(slip), message);
  }
});

test("a rate takes the place of bursts", async (t) => {
  const parsed = parseBenchOptions(["burst", "--rate", "100"]);
  t.strictSame(parsed.kind === "options" && parsed.options.changes, { ratePerSecond: 100, bursts: undefined });
});

test("a report that could not be written is refused before the run, not after it", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-bench-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const places = (json: string) => checkReportPlaces({ json, html: undefined });
  t.doesNotThrow(() => places(join(folder, "new.json")));
  t.throws(() => places(join(folder, "none", "new.json")), /--json .*new\.json cannot be written/);
  t.throws(() => places(folder), /--json needs a file/);
  t.throws(() => places(""), /--json needs a file/);
});

test("what a peer or the tools of Postfix cannot do is refused, not left out in silence", async (t) => {
  const base = await findScenario("throughput");
  const restart = await findScenario("restart");
  if (base === undefined || restart === undefined) throw new Error("no scenario");
  const [beside, withTools] = [
    { peer: "postfix", tools: "own" },
    { peer: undefined, tools: "postfix" },
  ] as const;
  for (const options of [beside, withTools]) {
    t.doesNotThrow(() => checkTogether({ ...base, signed: true }, options));
    t.throws(() => checkTogether(restart, options), /restarts/);
    t.throws(() => checkTogether({ ...base, encrypted: true }, options), /encrypted/);
    t.throws(() => checkTogether({ ...base, login: true }, options), /login/);
  }
  t.doesNotThrow(() => checkTogether({ ...base, recipientsPerMessage: 5 }, beside));
  t.throws(() => checkTogether({ ...base, recipientsPerMessage: 5 }, withTools), /recipient/);
  t.throws(() => checkTogether({ ...base, bodyBytes: [{ bytes: 1, weight: 1 }] }, withTools), /size/);
  t.throws(() => checkTogether({ ...base, ratePerSecond: 5 }, withTools), /rate/);
  t.match(asToolsMayRun({ ...base, messages: 2_003 }), {
    messages: 2_000,
    domains: 8,
    warmUpMessages: 0,
    sessions: 104,
  });
});
