// Smooth weighted round robin: over time each member gets its share, and a heavy member's turns are spread out.

interface Turn<Item> {
  readonly item: Item;
  readonly weight: number;
  current: number;
}

export class WeightedPick<Item> {
  readonly #turns: Turn<Item>[];

  constructor(members: readonly { readonly item: Item; readonly weight: number }[]) {
    this.#turns = members.map(({ item, weight }) => ({ item, weight, current: 0 }));
  }

  /** The next member in turn among the eligible ones, or undefined when none is. */
  next(eligible: (item: Item) => boolean): Item | undefined {
    let best: Turn<Item> | undefined;
    let total = 0;
    for (const turn of this.#turns) {
      if (!eligible(turn.item)) continue;
      total += turn.weight;
      turn.current += turn.weight;
      if (best === undefined || turn.current > best.current) best = turn;
    }
    if (best === undefined) return undefined;
    best.current -= total;
    return best.item;
  }
}
