// What breaks the program: a state that the code holds impossible.

/** Throws when `condition` is false. For bugs only: what mail or a peer does is a value, not an assertion. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

/** The end of every `switch` over a closed union. */
export function assertNever(value: never): never {
  throw new Error(`unexpected value: ${JSON.stringify(value)}`);
}
