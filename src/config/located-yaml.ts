// A YAML file with the place of everything in it, so that an error can name file, line and column.

import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from "yaml";

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
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const position = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const errors: ConfigError[] = document.errors.map((error) => ({
    file,
    ...position(error.pos[0]),
    message: error.code === "DUPLICATE_KEY" ? "this key stands here twice" : `not YAML: ${error.message}`,
  }));
  let data: unknown;
  try {
    if (errors.length === 0) data = document.toJS();
  } catch (cause) {
    errors.push({ file, line: 1, column: 1, message: `not YAML: ${(cause as Error).message}` });
  }

  function locate(path: Path, what: "key" | "value" = "value") {
    let node: unknown = document.contents;
    let offset = offsetOf(node) ?? 0;
    for (const [depth, segment] of path.entries()) {
      const found = step(resolved(node), segment);
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

function step(node: unknown, segment: PropertyKey): { readonly key: unknown; readonly value: unknown } | undefined {
  if (isSeq(node) && typeof segment === "number") {
    const value = node.items[segment];
    return value === undefined ? undefined : { key: undefined, value };
  }
  if (!isMap(node)) return undefined;
  const pair = node.items.find(
    (item: Pair) => isPair(item) && isScalar(item.key) && String(item.key.value) === segment,
  );
  return pair === undefined ? undefined : { key: pair.key, value: pair.value };
}

function offsetOf(node: unknown): number | undefined {
  const range = (node as Node | null | undefined)?.range;
  return range === null || range === undefined ? undefined : range[0];
}
