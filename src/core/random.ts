// Chance as a port, so that a simulated world can be drawn again from its seed.

export interface Random {
  /** A number in [0, 1). */
  next(): number;
  /** An integer in [0, below). */
  integer(below: number): number;
  /** `count` random bytes. In production they come from the system's secure source. */
  bytes(count: number): Buffer;
}

/** Fisher-Yates: a new array with the same items in random order. */
export function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const out = items.slice();
  for (let i = out.length - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    const kept = out[i] as Item;
    out[i] = out[j] as Item;
    out[j] = kept;
  }
  return out;
}
