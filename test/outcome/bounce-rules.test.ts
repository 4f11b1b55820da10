// Rule files: what they may say, where mistakes are shown, and that no pattern can be slow.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "tap";
import { parse } from "yaml";
import { parseRate } from "../../src/config/units.ts";
import type { Fault, Stage } from "../../src/core/outcome.ts";
import { BounceRulesError, parseRules } from "../../src/outcome/bounce-rules.ts";
import { textFamilies } from "../../src/outcome/bounce-text.ts";
import { loadClassifier, ReplyClassifier } from "../../src/outcome/outcome.ts";
import { patternCost, patternCostMax } from "../../src/outcome/pattern-cost.ts";

const conf = (name: string) => fileURLToPath(new URL(`../../conf/${name}`, import.meta.url));

function fault(code: number, enhanced: string | undefined, text: string, stage: Stage = "rcpt"): Fault {
  return { kind: "reply", stage, reply: { code, enhanced, text } };
}

function problemsOf(text: string): readonly string[] {
  try {
    parseRules(text, "rules.yaml");
  } catch (error) {
    if (error instanceof BounceRulesError) return error.problems;
    throw error;
  }
  return [];
}

test("mistakes are shown with file, line and column", (t) => {
  const one = (rule: string) => problemsOf(`groups:\n  - rules:\n      - ${rule}\n`);
  t.match(one("{ class: no_such_class, text: x }"), [/^rules\.yaml:3:18: not a bounce class/]);
  t.match(one("{ class: virus, text: x, colour: red }"), [/^rules\.yaml:3:34: unknown key colour/]);
  t.match(one("{ class: virus, codes: [250], text: x }"), [/^rules\.yaml:3:33: not a reply code/]);
  t.match(one("{ class: virus, enhanced: [9.9.9] }"), [/^rules\.yaml:3:36: not an enhanced status code/]);
  t.match(one("{ class: virus, text: '(' }"), [/^rules\.yaml:3:31: .*not closed/]);
  t.match(one("{ class: virus, text: 'a.*b' }"), [/^rules\.yaml:3:31: "\*" has no upper bound/]);
  t.match(one("{ class: virus }"), [/^rules\.yaml:3:9: a rule needs at least one/]);
  t.match(problemsOf("groups: [}"), [/^rules\.yaml:1:10: /]);
  t.match(problemsOf("rules: []\n"), [/^rules\.yaml:/, /^rules\.yaml:/]);
  t.same(one("{ class: virus, text: eicar }"), []);
  t.end();
});

test("all files are read before anything is said, and a missing one is named", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "postern-rules-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const bad = join(folder, "bad.yaml");
  writeFileSync(bad, "groups:\n  - rules: [{ class: nonsense, text: x }]\n");
  t.throws(() => loadClassifier([bad, join(folder, "missing.yaml")]), {
    message: /bad\.yaml:2:22: .*\n.*missing\.yaml:1:1: cannot be read/,
  });
  t.end();
});

test("the first matching rule wins, and all that it gives must hold", (t) => {
  const classifier = new ReplyClassifier(
    parseRules(
      `groups:
  - sites: [blue]
    rules:
      - { class: virus, codes: [550], enhanced: [5.7.10-19, x.6.*], stages: [final-dot], text: [alpha, beta] }
  - rules:
      - { class: attachment, codes: [5xx], text: alpha }
      - { class: greylisted, text: alpha }
`,
      "r",
    ),
  );
  const text = "beta and Alpha";
  t.equal(classifier.classify(fault(550, "5.7.15", text, "final-dot"), "blue"), "virus");
  t.equal(classifier.classify(fault(550, "5.6.0", text, "final-dot"), "blue"), "virus");
  t.equal(classifier.classify(fault(550, "5.7.15", text, "final-dot"), "green"), "attachment", "another site");
  t.equal(classifier.classify(fault(550, "5.7.15", text, "rcpt"), "blue"), "attachment", "another stage");
  t.equal(classifier.classify(fault(550, "5.7.20", text, "final-dot"), "blue"), "attachment", "out of the range");
  t.equal(classifier.classify(fault(554, "5.7.15", text, "final-dot"), "blue"), "attachment", "another code");
  t.equal(classifier.classify(fault(550, "5.7.15", "alpha", "final-dot"), "blue"), "attachment", "one text is missing");
  t.equal(classifier.classify(fault(450, undefined, "alpha")), "greylisted");
  t.same(classifier.explain(fault(450, undefined, "alpha")), { bounceClass: "greylisted", by: "r:7" });
  t.end();
});

test("patterns without a bound are refused, those with one are counted", (t) => {
  for (const bad of ["a*", "a+", "a{2,}", "(?:ab){1,3}", "(a|b){2}", "(a)\\1", "a)", "(a"]) {
    t.throws(() => patternCost(bad), bad);
  }
  t.equal(patternCost("abc"), 1);
  t.equal(patternCost("a?b"), 2);
  t.equal(patternCost("a.{0,9}b"), 10);
  t.equal(patternCost("(?:a|b).{0,9}(?:c|d|e)"), 60);
  t.equal(patternCost("[*+?]\\*\\d{3}"), 1);
  for (const family of textFamilies()) t.ok(patternCost(family.pattern.source) <= patternCostMax);
  t.throws(() => parseRules("groups:\n  - rules: [{ class: virus, text: 'a.{0,200}b.{0,200}' }]\n", "r"), /can try/);
  t.end();
});

test("each pattern of the shipped rules is quick on a text made of its own words", (t) => {
  const groups = parseRules(readFileSync(conf("bounces.yaml"), "utf8"), "bounces.yaml");
  let slowest = { ms: 0, where: "" };
  for (const rule of groups.flatMap((group) => group.rules)) {
    for (const pattern of rule.texts) {
      const words = pattern.source.replace(/\(\?[:!=<]+|\\[bwdWS]|\{[^}]*\}|[()[\]^$?.|\\]/g, " ");
      const text = `${words} `.repeat(2_048).slice(0, 2_048);
      const start = performance.now();
      pattern.test(text);
      let ms = performance.now() - start;
      if (ms > 1) {
        const again = performance.now();
        pattern.test(text);
        ms = performance.now() - again;
      }
      if (ms > slowest.ms) slowest = { ms, where: rule.where };
    }
  }
  t.ok(slowest.ms < 2, `slowest: ${slowest.ms.toFixed(3)} ms, ${slowest.where}`);
  t.end();
});

test("the sites of the rules are the known operators, whose limits the config can read", (t) => {
  const sites = parse(readFileSync(conf("sites.yaml"), "utf8")).sites as Record<string, Record<string, unknown>>;
  for (const group of parseRules(readFileSync(conf("bounces.yaml"), "utf8"), "b"))
    for (const site of group.sites ?? []) t.ok(site in sites, site);
  const allowed = [
    "exchangers",
    "connections_max",
    "connection_rate",
    "messages_per_connection_max",
    "rate",
    "recipients_per_message_max",
    "tls",
  ];
  for (const [name, limits] of Object.entries(sites)) {
    for (const key of Object.keys(limits)) t.ok(allowed.includes(key), `${name}.${key}`);
    t.ok(
      (limits.exchangers as string[]).every((pattern) => /^\*\.[a-z0-9.-]+$/.test(pattern)),
      `${name} exchangers`,
    );
    if (limits.rate !== undefined) t.equal(parseRate(limits.rate as string).kind, "rate", `${name} rate`);
  }
  t.end();
});
