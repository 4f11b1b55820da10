// Smooth weighted round robin: over time each member gets its share, and a heavy member's turns are spread out.
//
// A pick looks at the members that may be picked and at no others. Weights and credits lie in flat arrays by the members'
// places, so that a look costs about a nanosecond.

export class WeightedPick<Item> {
  readonly #items: readonly Item[];
  readonly #weights: Float64Array;
  readonly #credits: Float64Array;
  /** The places of all members, in order. */
  readonly all: readonly number[];

  constructor(members: readonly { readonly item: Item; readonly weight: number }[]) {
    this.#items = members.map(({ item }) => item);
    this.#weights = Float64Array.from(members, ({ weight }) => weight);
    this.#credits = new Float64Array(members.length);
    this.all = members.map((_, place) => place);
  }

  /** The next member in turn among the eligible ones, or undefined when none is. */
  next(eligible: (item: Item) => boolean): Item | undefined {
    return this.nextAt(this.all.filter((place) => eligible(this.#items[place] as Item)));
  }

  /** The next member in turn among those at `places`, each of which is named once; undefined when there are none. */
  nextAt(places: readonly number[]): Item | undefined {
    const weights = this.#weights;
    const credits = this.#credits;
    let best = -1;
    let most = Number.NEGATIVE_INFINITY;
    let total = 0;
    for (let index = 0; index < places.length; index++) {
      const place = places[index] as number;
      const weight = weights[place] as number;
      const credit = (credits[place] as number) + weight;
      credits[place] = credit;
      total += weight;
      if (credit <= most) continue;
      best = place;
      most = credit;
    }
    if (best === -1) return undefined;
    credits[best] = most - total;
    return this.#items[best];
  }
}
