// A site: one receiving operator. Queues with something due take turns here, and its lanes carry them.

import type { SiteName, SourceName, StreamName } from "../core/ids.ts";
import type { OpenMembers } from "../routing/routing.ts";
import type { EffectiveLimits } from "../shaping/shaping.ts";
import type { Lane } from "./lane.ts";
import type { StreamClass } from "./lane-room.ts";
import type { Waiting } from "./waiting.ts";

export class Site {
  readonly name: SiteName;
  limits: EffectiveLimits;
  readonly lanes = new Map<SourceName, Lane>();
  /** Per stream the queues that take turns, first the one whose turn it is. */
  readonly rings = new Map<StreamName, Waiting[]>();
  /** Per stream the sources of its pool that have room here: those whose lane has, or that have no lane yet. */
  readonly open = new Map<StreamName, { readonly streamClass: StreamClass; readonly members: OpenMembers }>();
  /** Guards against filling from within filling. */
  filling = false;

  constructor(name: SiteName, limits: EffectiveLimits) {
    this.name = name;
    this.limits = limits;
  }

  /** `stream`: the one whose turns it takes, which is another than its own when the config no longer has that. */
  enlist(queue: Waiting, stream: StreamName): void {
    const ring = this.rings.get(stream);
    if (ring === undefined) this.rings.set(stream, [queue]);
    else ring.push(queue);
  }

  remove(queue: Waiting): void {
    for (const [stream, ring] of this.rings) {
      const at = ring.indexOf(queue);
      if (at === -1) continue;
      ring.splice(at, 1);
      if (ring.length === 0) this.rings.delete(stream);
      return;
    }
  }

  /** All queues that take turns here, as they are now. */
  queues(): Waiting[] {
    return [...this.rings.values()].flat();
  }

  /** Takes all queues out, to be enlisted anew. */
  clear(): Waiting[] {
    const queues = this.queues();
    this.rings.clear();
    return queues;
  }

  /** The queue whose turn it is, moved behind the others of its stream. */
  turn(stream: StreamName): Waiting | undefined {
    const ring = this.rings.get(stream);
    const queue = ring?.[0];
    if (ring !== undefined && queue !== undefined && ring.length > 1) {
      ring.shift();
      ring.push(queue);
    }
    return queue;
  }
}
