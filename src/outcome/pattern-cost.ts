// A bound on the work of a regular expression, so that no reply can keep the engine busy (ReDoS).

/** Greatest number of ways that a pattern may try at one place of the text. */
export const patternCostMax = 10_000;

/**
 * The number of ways in which a pattern can try to match at one place, from above. Throws an Error that says what to
 * write instead when there is no bound: `*`, `+` and `{n,}` grow with the text, and a repeated group multiplies.
 */
export function patternCost(pattern: string): number {
  const scanner = { pattern, at: 0 };
  const cost = alternatives(scanner);
  if (scanner.at < pattern.length) throw new Error(`unexpected ")" at position ${scanner.at + 1}`);
  return cost;
}

interface Scanner {
  readonly pattern: string;
  at: number;
}

function alternatives(scanner: Scanner): number {
  let sum = 0;
  for (;;) {
    sum += sequence(scanner);
    if (scanner.pattern[scanner.at] !== "|") return sum;
    scanner.at++;
  }
}

function sequence(scanner: Scanner): number {
  let product = 1;
  for (;;) {
    const next = scanner.pattern[scanner.at];
    if (next === undefined || next === "|" || next === ")") return product;
    const group = next === "(";
    const cost = group ? groupCost(scanner) : skipAtom(scanner);
    product *= repeat(scanner, group, cost);
  }
}

function groupCost(scanner: Scanner): number {
  scanner.at++;
  const opening = /^\?(?:[:=!]|<[=!]|<\w{1,40}>)/.exec(scanner.pattern.slice(scanner.at, scanner.at + 50));
  if (opening !== null) scanner.at += opening[0].length;
  const cost = alternatives(scanner);
  if (scanner.pattern[scanner.at] !== ")") throw new Error('a "(" is not closed');
  scanner.at++;
  return cost;
}

/** Steps over one character, escape or class; each matches in one way. */
function skipAtom(scanner: Scanner): number {
  const rest = scanner.pattern.slice(scanner.at);
  if (/^\\[1-9k]/.test(rest)) throw new Error("back-references are not allowed");
  const atom = /^(?:\\[upP]\{[^}]*\}|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\.|\[(?:\\.|[^\]\\])*\]|.)/isu.exec(rest);
  scanner.at += atom?.[0].length ?? 1;
  return 1;
}

function repeat(scanner: Scanner, group: boolean, cost: number): number {
  const quantifier = /^(?:[*+?]|\{\d+(?:,\d*)?\})\??/.exec(scanner.pattern.slice(scanner.at));
  if (quantifier === null) return cost;
  scanner.at += quantifier[0].length;
  const text = quantifier[0];
  if (text.startsWith("?")) return cost + 1;
  const counts = /^\{(\d+)(,(\d+))?\}/.exec(text);
  if (counts === null) throw new Error(`"${text}" has no upper bound: write {0,40} or the like`);
  if (group) throw new Error(`a group is repeated with "${text}": repeat a single character or class instead`);
  const least = Number(counts[1]);
  const most = counts[2] === undefined ? least : Number(counts[3]);
  return most - least + 1;
}
