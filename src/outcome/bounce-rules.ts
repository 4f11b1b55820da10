// Rule files (conf/bounces.yaml): read, checked and compiled. The format is described at the top of that file.

import { readFileSync } from "node:fs";
import { isMap, isNode, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import type { SiteName } from "../core/ids.ts";
import type { Stage } from "../core/outcome.ts";
import { bounceClasses, type KnownBounceClass } from "./bounce-taxonomy.ts";
import { patternCost, patternCostMax } from "./pattern-cost.ts";

const ruleFileBytesMax = 4 * 1024 * 1024;
const rulesMax = 20_000;

/** A range of enhanced status codes (RFC 3463): one subject, details from `from` to `to`. */
export interface EnhancedRange {
  /** The first digit, or undefined for any. */
  readonly class: number | undefined;
  readonly subject: number;
  readonly from: number;
  readonly to: number;
}

/** Everything that is given must hold. */
export interface BounceRule {
  readonly bounceClass: KnownBounceClass;
  /** Reply codes; 4 and 5 stand for all codes that begin with them. */
  readonly codes: readonly number[] | undefined;
  readonly enhanced: readonly EnhancedRange[] | undefined;
  readonly stages: readonly Stage[] | undefined;
  readonly texts: readonly RegExp[];
  /** `file:line` of the rule. */
  readonly where: string;
}

export interface RuleGroup {
  /** undefined: the rules hold for replies of every site. */
  readonly sites: readonly SiteName[] | undefined;
  readonly rules: readonly BounceRule[];
}

const stages = ["banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "final-dot"] as const satisfies Stage[];

const codeSchema = z.custom<number | "4xx" | "5xx">(
  (code) =>
    code === "4xx" || code === "5xx" || (Number.isInteger(code) && (code as number) >= 400 && (code as number) < 600),
  "not a reply code: write one from 400 to 599, or 4xx or 5xx",
);
const enhancedPattern = /^([45x])\.(\d)\.(?:(\d{1,3})(?:-(\d{1,3}))?|\*)$/;
const enhancedSchema = z
  .string()
  .regex(enhancedPattern, "not an enhanced status code: write 4.7.28, x.7.29, 5.7.606-649 or 5.6.*");
const patternSchema = z.string().min(1).max(500);

const ruleSchema = z
  .strictObject({
    class: z.enum(bounceClasses as [KnownBounceClass, ...KnownBounceClass[]], {
      error: "not a bounce class of the taxonomy",
    }),
    codes: z.array(codeSchema).min(1).max(50).optional(),
    enhanced: z.array(enhancedSchema).min(1).max(50).optional(),
    stages: z.array(z.enum(stages)).min(1).optional(),
    text: z.union([patternSchema, z.array(patternSchema).min(1).max(5)]).optional(),
  })
  .refine((rule) => rule.text !== undefined || rule.enhanced !== undefined || rule.codes !== undefined, {
    error: "a rule needs at least one of text, enhanced and codes",
  });

const fileSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      sites: z.array(z.string().min(1).max(255)).min(1).max(1_000).optional(),
      rules: z.array(ruleSchema).max(rulesMax),
    }),
  ),
});

/** What is wrong in rule files, one `FILE:LINE:COLUMN: message` a line. */
export class BounceRulesError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[], options?: { cause?: unknown }) {
    super(problems.join("\n"), options);
    this.name = "BounceRulesError";
    this.problems = problems;
  }
}

/** Reads rule files in order. Throws BounceRulesError with every problem of all of them. */
export function readRuleFiles(files: readonly string[]): RuleGroup[] {
  const groups: RuleGroup[] = [];
  const problems: string[] = [];
  for (const file of files) {
    try {
      const text = readFileSync(file, "utf8");
      groups.push(...parseRules(text, file));
    } catch (error) {
      if (error instanceof BounceRulesError) problems.push(...error.problems);
      else problems.push(`${file}:1:1: cannot be read: ${(error as Error).message}`);
    }
  }
  if (problems.length > 0) throw new BounceRulesError(problems);
  return groups;
}

/** Parses the text of one rule file. Throws BounceRulesError. */
export function parseRules(text: string, file: string): RuleGroup[] {
  if (text.length > ruleFileBytesMax)
    throw new BounceRulesError([`${file}:1:1: larger than ${ruleFileBytesMax} octets`]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  if (document.errors.length > 0)
    throw new BounceRulesError(document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`));

  /** Where the thing stands that `path` leads to, or the innermost thing around it. */
  const offsetOf = (path: readonly PropertyKey[], key?: string): number => {
    for (let length = path.length; length >= 0; length--) {
      const node = length === 0 ? document.contents : document.getIn(path.slice(0, length) as unknown[], true);
      if (key !== undefined && length === path.length && isMap(node)) {
        const pair = node.items.find((item) => isNode(item.key) && item.key.toString() === key);
        if (pair !== undefined && isNode(pair.key) && pair.key.range) return pair.key.range[0];
      }
      if (isNode(node) && node.range) return node.range[0];
    }
    return 0;
  };

  const parsed = fileSchema.safeParse(document.toJS({ maxAliasCount: 1_000 }));
  if (!parsed.success) {
    throw new BounceRulesError(
      parsed.error.issues.map((issue) =>
        issue.code === "unrecognized_keys"
          ? `${at(offsetOf(issue.path, issue.keys[0]))}: unknown key ${issue.keys.join(", ")}`
          : `${at(offsetOf(issue.path))}: ${issue.message}`,
      ),
    );
  }

  const problems: string[] = [];
  const groups = parsed.data.groups.map((group, g): RuleGroup => {
    const rules = group.rules.map((rule, r): BounceRule => {
      const path = ["groups", g, "rules", r];
      const texts = rule.text === undefined ? [] : typeof rule.text === "string" ? [rule.text] : rule.text;
      return {
        bounceClass: rule.class,
        codes: rule.codes?.map((code) => (code === "4xx" ? 4 : code === "5xx" ? 5 : code)),
        enhanced: rule.enhanced?.map(parseEnhancedRange),
        stages: rule.stages,
        texts: texts.flatMap((source) => {
          try {
            return [compilePattern(source)];
          } catch (error) {
            problems.push(`${at(offsetOf([...path, "text"]))}: ${(error as Error).message}`);
            return [];
          }
        }),
        where: `${file}:${lines.linePos(offsetOf(path)).line}`,
      };
    });
    return { sites: group.sites, rules };
  });
  if (problems.length > 0) throw new BounceRulesError(problems);
  return groups;
}

/** Compiles a pattern of a rule: case does not matter, and the work it can make has a bound. Throws. */
export function compilePattern(source: string): RegExp {
  const cost = patternCost(source);
  if (cost > patternCostMax)
    throw new Error(`the pattern can try ${cost} ways at one place; ${patternCostMax} are allowed`);
  return new RegExp(source, "iu");
}

/** `4.7.28`, `x.7.29`, `5.7.606-649`, `5.6.*`. The text has been checked. */
function parseEnhancedRange(text: string): EnhancedRange {
  const [, digit, subject, from, to] = enhancedPattern.exec(text) as RegExpExecArray;
  return {
    class: digit === "x" ? undefined : Number(digit),
    subject: Number(subject),
    from: Number(from ?? 0),
    to: Number(to ?? from ?? 999),
  };
}
