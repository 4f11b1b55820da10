// The sample config and the JSON Schema say the same as the schema in the code.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "tap";
import { loadConfig } from "../../src/config/config-file.ts";
import { configJsonSchema } from "../../src/config/config-schema.ts";

const sampleFile = new URL("../../conf/postern.yaml", import.meta.url);
const schemaFile = new URL("../../conf/postern.schema.json", import.meta.url);

test("the sample config loads without a warning", async (t) => {
  const loaded = loadConfig(sampleFile.pathname);
  t.equal(loaded.kind, "ok", JSON.stringify(loaded));
  t.same(loaded.kind === "ok" && loaded.warnings, []);
});

test("every key of the schema stands in the sample, at least as a comment", async (t) => {
  const text = readFileSync(sampleFile, "utf8");
  const keys = allKeys(configJsonSchema());
  t.ok(keys.size > 80, `${keys.size} keys were looked for`);
  const missing = [...keys].filter((key) => key !== "$schema" && !new RegExp(`(^|[ {#])${key}:`, "m").test(text));
  t.same(missing, []);
});

test("a default in the sample is the default in the schema", async (t) => {
  const { config: sample } = loadConfig(sampleFile.pathname) as Extract<ReturnType<typeof loadConfig>, { kind: "ok" }>;
  const folder = mkdtempSync(join(tmpdir(), "postern-config-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "minimal.yaml");
  writeFileSync(
    file,
    `hostname: mta1.example.com
ingest: { smtp: [{ listen: 127.0.0.1:2525 }] }
sites: { include: [conf/sites.yaml] }
bounces: { include: [conf/bounces.yaml] }
`,
  );
  const minimal = loadConfig(file);
  if (minimal.kind !== "ok") throw new Error(JSON.stringify(minimal.errors));
  // The sample shows its own sources, pools and streams; the rest is spelled-out defaults.
  const { sources: _s, pools: _p, streams: _t, defaultStream: _d, ...sampleRest } = sample;
  const { sources: _s2, pools: _p2, streams: _t2, defaultStream: _d2, ...minimalRest } = minimal.config;
  t.same(sampleRest, minimalRest);
});

test("conf/postern.schema.json is the schema (renew it: postern check --schema > conf/postern.schema.json)", async (t) => {
  t.same(JSON.parse(readFileSync(schemaFile, "utf8")), JSON.parse(JSON.stringify(configJsonSchema())));
});

function allKeys(schema: unknown, keys = new Set<string>()): Set<string> {
  if (typeof schema !== "object" || schema === null) return keys;
  for (const [word, value] of Object.entries(schema)) {
    if (word === "properties") for (const key of Object.keys(value)) keys.add(key);
    if (word !== "default") allKeys(value, keys);
  }
  return keys;
}
