// Smooth weighted round robin: over time each member gets its share, and a heavy member's turns are spread out.
//
// A pick looks at the members that may be picked and at no others. Weights and credits lie in flat arrays by the members'
// places, so that a look costs about a nanosecond.

export class WeightedPick<Item> {
  readonly #items: readonly Item[];
  readonly #weights: readonly number[];
  readonly #credits: number[];
  /** The places of all members, in order. */
  readonly all: readonly number[];

  constructor(members: readonly { readonly item: Item; readonly weight: number }[]) {
    this.#items = members.map(({ item }) => item);
    this.#weights = members.map(({ weight }) => weight);
    this.#credits = members.map(() => 0);
    this.all = members.map((_, place) => place);
  }

  /** The next member in turn among the eligible ones, or undefined when none is. */
  next(eligible: (item: Item) => boolean): Item | undefined {
    return this.nextAt(this.all.filter((place) => eligible(this.#items[place] as Item)));
  }

  /** The next member in turn among those at `places`, each of which is named once; undefined when there are none. */
  nextAt(places: readonly number[]): Item | undefined {
    let best = -1;
    let most = Number.NEGATIVE_INFINITY;
    let total = 0;
    for (const place of places) {
      const weight = this.#weights[place] as number;
      const credit = (this.#credits[place] as number) + weight;
      this.#credits[place] = credit;
      total += weight;
      if (credit <= most) continue;
      best = place;
      most = credit;
    }
    if (best === -1) return undefined;
    this.#credits[best] = most - total;
    return this.#items[best];
  }
}
