// What the schema found wrong, in words for an operator.

import { z } from "zod";
import type { Path } from "./located-yaml.ts";
import { didYouMean } from "./suggestion.ts";

/** Something wrong at a path. `on` says whether the key or its value is meant. */
export interface Complaint {
  readonly path: Path;
  readonly on: "key" | "value";
  readonly message: string;
}

type JsonSchema = {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
};

const shownCharactersMax = 60;
const secretKeys = new Set(["password_scrypt"]);

/** Checks `data`; the value when it is right, else everything that is wrong with it. */
export function checkSchema<Schema extends z.ZodType>(
  schema: Schema,
  data: unknown,
): { readonly value: z.output<Schema> | undefined; readonly complaints: readonly Complaint[] } {
  const result = schema.safeParse(data);
  if (result.success) return { value: result.data, complaints: [] };
  const json = z.toJSONSchema(schema, { io: "input" }) as JsonSchema;
  return { value: undefined, complaints: result.error.issues.flatMap((issue) => describe(issue, data, json)) };
}

function describe(issue: z.core.$ZodIssue, data: unknown, json: JsonSchema): Complaint[] {
  const path: Path = issue.path;
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(json, path);
    return issue.keys.map((key) => ({
      path: [...path, key],
      on: "key",
      message: `unknown key "${key}"${didYouMean(key, known)}`,
    }));
  }
  const key = String(path.at(-1) ?? "");
  if (issue.code === "invalid_key") {
    return [{ path, on: "key", message: `"${key}" cannot stand here: ${issue.issues[0]?.message ?? "not a name"}` }];
  }
  const found = valueAt(data, path);
  if (path.length === 0 && (found === undefined || found === null)) {
    return [{ path, on: "value", message: "the file is empty" }];
  }
  if (found === undefined) {
    return [{ path, on: "value", message: `missing key "${key}"` }];
  }
  return [{ path, on: "value", message: expectation(issue) + (secretKeys.has(key) ? "" : `, found ${show(found)}`) }];
}

function expectation(issue: z.core.$ZodIssue): string {
  if (issue.message.startsWith("expected ")) return issue.message;
  if (issue.code === "invalid_type") {
    const kinds: Readonly<Record<string, string>> = {
      object: "a map of keys",
      record: "a map of keys",
      array: "a list",
      string: "a text",
      number: "a number",
      int: "a whole number",
      boolean: "true or false",
    };
    return `expected ${kinds[issue.expected] ?? issue.expected}`;
  }
  if (issue.code === "invalid_value")
    return `expected ${issue.values.length > 1 ? "one of " : ""}${issue.values.join(", ")}`;
  return issue.message;
}

function show(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  // JSON has no infinities.
  const text = typeof value === "number" ? String(value) : JSON.stringify(value);
  return text.length > shownCharactersMax ? `${text.slice(0, shownCharactersMax)}...` : text;
}

export function valueAt(data: unknown, path: Path): unknown {
  let value = data;
  for (const segment of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[segment];
  }
  return value;
}

function keysAt(json: JsonSchema, path: Path): string[] {
  let here: JsonSchema | undefined = json;
  for (const segment of path) {
    if (typeof segment === "number") here = here?.items;
    else here = here?.properties?.[String(segment)] ?? schemaOf(here?.additionalProperties);
  }
  return Object.keys(here?.properties ?? {});
}

function schemaOf(additional: boolean | JsonSchema | undefined): JsonSchema | undefined {
  return typeof additional === "object" ? additional : undefined;
}
