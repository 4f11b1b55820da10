// The routing room's door: which source of a stream's pool carries the next message.

import type { Config } from "../config/config.ts";
import { assert } from "../core/assert.ts";
import type { PoolName, SourceName } from "../core/ids.ts";
import { WeightedPick } from "./weighted-pick.ts";

export { WeightedPick } from "./weighted-pick.ts";

/** Chooses sources by the weights of a pool, among those that may be used at the moment. */
export class PoolRouter {
  readonly #pools = new Map<PoolName, WeightedPick<SourceName>>();

  constructor(config: Config) {
    for (const pool of config.pools.values()) {
      this.#pools.set(
        pool.name,
        new WeightedPick(pool.members.map(({ source, weight }) => ({ item: source, weight }))),
      );
    }
  }

  /** undefined when no member is eligible now. */
  pick(pool: PoolName, eligible: (source: SourceName) => boolean): SourceName | undefined {
    const members = this.#pools.get(pool);
    assert(members !== undefined, `pool ${pool} is in the config`);
    return members.next(eligible);
  }
}
