// What each message counts, in plain numbers: a counter hears the sum when the metrics are read.

/** A counter of prom-client, or its child of one set of labels. */
interface Summing {
  inc(value: number): void;
}

/** `instrumentOf` is asked at each reading for the child of each set of labels that has something to tell. */
export class Tallies {
  readonly #root = new Tally();
  readonly #instrumentOf: (labels: readonly string[]) => Summing;

  constructor(instrumentOf: (labels: readonly string[]) => Summing) {
    this.#instrumentOf = instrumentOf;
  }

  /** The tally of this set of labels. Their values must be bounded: it stays for ever. */
  of(first?: string, second?: string, third?: string): Tally {
    let tally = this.#root;
    if (first !== undefined) tally = tally.below(first);
    if (second !== undefined) tally = tally.below(second);
    return third === undefined ? tally : tally.below(third);
  }

  tell(): void {
    this.#root.tell([], this.#instrumentOf);
  }
}

class Tally {
  readonly #below = new Map<string, Tally>();
  #sum = 0;

  add(value: number): void {
    this.#sum += value;
  }

  below(label: string): Tally {
    let tally = this.#below.get(label);
    if (tally === undefined) {
      tally = new Tally();
      this.#below.set(label, tally);
    }
    return tally;
  }

  tell(labels: readonly string[], instrumentOf: (labels: readonly string[]) => Summing): void {
    if (this.#sum > 0) instrumentOf(labels).inc(this.#sum);
    this.#sum = 0;
    for (const [label, tally] of this.#below) tally.tell([...labels, label], instrumentOf);
  }
}
