// The routing room's door: which source of a stream's pool carries the next message.

import type { Config } from "../config/config.ts";
import { assert } from "../core/assert.ts";
import type { PoolName } from "../core/ids.ts";
import { OpenMembers, type Pool } from "./open-members.ts";
import { WeightedPick } from "./weighted-pick.ts";

export { OpenMembers } from "./open-members.ts";
export { WeightedPick } from "./weighted-pick.ts";

/** The turns of all pools, by weight. A new config makes a new router. */
export class PoolRouter {
  readonly #pools = new Map<PoolName, Pool>();

  constructor(config: Config) {
    for (const { name, members } of config.pools.values()) {
      this.#pools.set(name, {
        turns: new WeightedPick(members.map(({ source, weight }) => ({ item: source, weight }))),
        places: new Map(members.map(({ source }, place) => [source, place])),
      });
    }
  }

  /** A view of the pool in which all members are open; its turns are shared with all other views. */
  open(pool: PoolName): OpenMembers {
    const members = this.#pools.get(pool);
    assert(members !== undefined, `pool ${pool} is in the config`);
    return new OpenMembers(members);
  }
}
