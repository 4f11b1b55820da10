// Reading places from the tree `queue`: which queues there are, and what stands in one of them.

import type { QueueName, QueuePosition } from "../core/message.ts";
import { asBuffer, firstKey, keysIn, type Tree } from "./environment.ts";
import { parsePlaceKey, parsePlaceTail, placeKey, queuePrefix, queuePrefixAfter, successor } from "./keys.ts";

/** The queues in order. Jumps from one to the next: the cost is that of the queues, not of their entries. */
export function* queues(tree: Tree): Generator<QueueName> {
  let start = firstKey();
  for (;;) {
    const key = keysIn(tree, start, undefined, 1)[0];
    if (key === undefined) return;
    const place = parsePlaceKey(key);
    if (place === undefined) {
      // A key that cannot be read hides no other: `spool check` reports it.
      start = successor(key);
      continue;
    }
    yield place.queue;
    start = queuePrefixAfter(place.queue);
  }
}

export function scanQueue(
  tree: Tree,
  queue: QueueName,
  after: QueuePosition | undefined,
  limit: number,
): QueuePosition[] {
  const start = after === undefined ? queuePrefix(queue) : successor(placeKey(queue, after));
  const positions: QueuePosition[] = [];
  const range = { start, end: queuePrefixAfter(queue), limit, snapshot: false };
  for (const key of tree.getKeys(range)) positions.push(parsePlaceTail(asBuffer(key)));
  return positions;
}

export function countQueue(tree: Tree, queue: QueueName): number {
  return tree.getKeysCount({ start: queuePrefix(queue), end: queuePrefixAfter(queue), snapshot: false });
}
