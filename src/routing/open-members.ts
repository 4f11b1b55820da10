// The members of a pool that have room, as one site sees them. The turns are those of the whole pool: all sites share
// them, so that the shares hold over all mail.
//
// Who closes and opens a member says so once; a pick then asks nobody, and looks at the open members only.

import type { SourceName } from "../core/ids.ts";
import type { WeightedPick } from "./weighted-pick.ts";

export interface Pool {
  readonly turns: WeightedPick<SourceName>;
  readonly places: ReadonlyMap<SourceName, number>;
}

export class OpenMembers {
  readonly #pool: Pool;
  /** Places of the open members, in no order; undefined while that is all of them, so that most sites need no list. */
  #open: number[] | undefined;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** Says whether a source may be picked. All may at first. Does nothing for one that is no member. */
  set(source: SourceName, isOpen: boolean): void {
    const place = this.#pool.places.get(source);
    if (place === undefined || (isOpen && this.#open === undefined)) return;
    this.#open ??= [...this.#pool.turns.all];
    const at = this.#open.indexOf(place);
    if (isOpen === (at !== -1)) return;
    if (isOpen) {
      this.#open.push(place);
      return;
    }
    const last = this.#open.pop() as number;
    if (last !== place) this.#open[at] = last;
  }

  get count(): number {
    return this.#open?.length ?? this.#pool.places.size;
  }

  /** The open member whose turn it is, or undefined when none is open. */
  next(): SourceName | undefined {
    return this.#pool.turns.nextAt(this.#open ?? this.#pool.turns.all);
  }
}
