// A YAML file with the place of everything in it, so that an error can name file, line and column.

import {
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from "yaml";

export type Path = readonly PropertyKey[];

/** One thing wrong in a config file; line and column count from 1. */
export interface ConfigError {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export interface LocatedYaml {
  readonly file: string;
  /** Plain maps, lists, texts, numbers, booleans and null. */
  readonly data: unknown;
  /** What is wrong with the text as YAML. */
  readonly errors: readonly ConfigError[];
  /** The place of the value at `path` (or of its key); of the nearest thing above where it is missing. */
  locate(path: Path, what?: "key" | "value"): { readonly line: number; readonly column: number };
}

export function parseLocatedYaml(file: string, text: string): LocatedYaml {
  const lines = new LineCounter();
  // What the library would warn about on standard error is an error of the schema anyway.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: "error" });
  const position = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const errors: ConfigError[] = document.errors.map((error) => ({
    file,
    ...position(error.pos[0]),
    message: error.code === "DUPLICATE_KEY" ? "this key stands here twice" : `not YAML: ${error.message}`,
  }));
  // In a plain object this key is not like others: what stands under it would be lost without a word.
  if (errors.length === 0 && text.includes("__proto__")) {
    visit(document, {
      Pair: (_, { key }) => {
        if (!isScalar(key) || key.value !== "__proto__") return;
        errors.push({ file, ...position(offsetOf(key) ?? 0), message: 'the key "__proto__" cannot be used' });
      },
    });
  }
  let data: unknown;
  try {
    if (errors.length === 0) data = document.toJS();
  } catch (cause) {
    errors.push({ file, line: 1, column: 1, message: `not YAML: ${(cause as Error).message}` });
  }

  const indexes = new WeakMap<YAMLMap, Map<string, Pair>>();

  function locate(path: Path, what: "key" | "value" = "value") {
    let node: unknown = document.contents;
    let offset = offsetOf(node) ?? 0;
    for (const [depth, segment] of path.entries()) {
      const found = step(resolved(node), segment, indexes);
      if (found === undefined) break;
      const keyOffset = offsetOf(found.key);
      const valueOffset = offsetOf(found.value);
      const wantKey = what === "key" && depth === path.length - 1;
      offset = (wantKey ? (keyOffset ?? valueOffset) : (valueOffset ?? keyOffset)) ?? offset;
      node = found.value;
    }
    return position(offset);
  }

  function resolved(node: unknown): unknown {
    return isAlias(node) ? node.resolve(document) : node;
  }

  return { file, data, errors, locate };
}

type Indexes = WeakMap<YAMLMap, Map<string, Pair>>;

function step(
  node: unknown,
  segment: PropertyKey,
  indexes: Indexes,
): { readonly key: unknown; readonly value: unknown } | undefined {
  if (isSeq(node) && typeof segment === "number") {
    const value = node.items[segment];
    return value === undefined ? undefined : { key: undefined, value };
  }
  if (!isMap(node)) return undefined;
  const pair = indexOf(node, indexes).get(String(segment));
  return pair === undefined ? undefined : { key: pair.key, value: pair.value };
}

/** The pairs of a map by key, kept: a search for each of ten thousand sources would take half a minute. */
function indexOf(map: YAMLMap, indexes: Indexes): Map<string, Pair> {
  const known = indexes.get(map);
  if (known !== undefined) return known;
  const index = new Map<string, Pair>();
  for (const item of map.items) {
    if (isPair(item) && isScalar(item.key)) index.set(String(item.key.value), item);
  }
  indexes.set(map, index);
  return index;
}

function offsetOf(node: unknown): number | undefined {
  const range = (node as Node | null | undefined)?.range;
  return range === null || range === undefined ? undefined : range[0];
}
