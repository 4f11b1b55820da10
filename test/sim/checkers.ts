// What must hold in every simulated world. Each checker has a name, and says what broke in words.

import type { Taken } from "./sim-exchanger.ts";

/** A copy of a message for one recipient, as an exchanger took it. */
export interface Copy {
  readonly queueId: string;
  readonly forwardPath: string;
  readonly taken: Taken;
}

export interface LoggedEvent {
  readonly id: string;
  readonly kind: string;
  readonly queueId?: string;
  readonly forwardPath?: string;
}

export interface Accepted {
  readonly queueId: string;
  readonly forwardPaths: readonly string[];
  /** The octets that must arrive behind the signature. */
  readonly content: Buffer;
}

/** Everything that happened in a world, as seen from outside. */
export interface History {
  readonly accepted: readonly Accepted[];
  readonly copies: readonly Copy[];
  /** Repeats by id already dropped. */
  readonly events: readonly LoggedEvent[];
  /** `queueId forwardPath` of copies that were taken before a crash and whose outcome was not yet on the disk. */
  readonly interrupted: readonly string[];
  readonly breaches: readonly string[];
  readonly left: readonly string[];
  readonly addedHeader: string;
}

export interface Checker {
  readonly name: string;
  check(history: History): string[];
}

const finalKinds = new Set(["delivery", "bounce", "expiration", "cancellation"]);

function keyOf({ queueId, forwardPath }: { readonly queueId?: string; readonly forwardPath?: string }): string {
  return `${queueId} ${forwardPath}`;
}

function countBy<Item>(items: readonly Item[], key: (item: Item) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}

const oneFinalState: Checker = {
  name: "each accepted recipient has exactly one final state",
  check({ accepted, events }) {
    const finals = countBy(
      events.filter(({ kind }) => finalKinds.has(kind)),
      keyOf,
    );
    return accepted.flatMap(({ queueId, forwardPaths }) =>
      forwardPaths
        .map((forwardPath) => ({ forwardPath, count: finals.get(keyOf({ queueId, forwardPath })) ?? 0 }))
        .filter(({ count }) => count !== 1)
        .map(({ forwardPath, count }) => `${queueId} ${forwardPath} has ${count} final states`),
    );
  },
};

const nothingLost: Checker = {
  name: "what the log calls delivered was taken by an exchanger",
  check({ events, copies }) {
    const taken = new Set(copies.map(keyOf));
    return events
      .filter((event) => event.kind === "delivery" && !taken.has(keyOf(event)))
      .map((event) => `${keyOf(event)} was never taken`);
  },
};

const noSecondDelivery: Checker = {
  name: "nothing is delivered twice but after an unknown outcome or a crash in between",
  check({ copies, events, interrupted }) {
    const unknown = countBy(
      events.filter(({ kind }) => kind === "unknown-outcome"),
      keyOf,
    );
    const cut = countBy(interrupted, (key) => key);
    return [...countBy(copies, keyOf)]
      .filter(([key, count]) => count > 1 + (unknown.get(key) ?? 0) + (cut.get(key) ?? 0))
      .map(([key, count]) => `${key} was taken ${count} times`);
  },
};

const everythingDrains: Checker = {
  name: "everything drains once the world is healthy",
  check: ({ left }) => left.map((name) => `queue ${name} still holds mail`),
};

const limitsKept: Checker = {
  name: "limits of connections and of messages per connection are kept",
  check: ({ breaches }) => [...breaches],
};

const contentKept: Checker = {
  name: "what arrives is what was accepted, octet for octet, behind the signature",
  check({ accepted, copies, addedHeader }) {
    const contents = new Map(
      accepted.map(({ queueId, content }) => [queueId, Buffer.concat([Buffer.from(addedHeader), content])]),
    );
    return copies
      .filter(({ queueId, taken }) => contents.get(queueId)?.equals(taken.content) === false)
      .map((copy) => `${keyOf(copy)} arrived changed`);
  },
};

export const checkers: readonly Checker[] = [
  oneFinalState,
  nothingLost,
  noSecondDelivery,
  everythingDrains,
  limitsKept,
  contentKept,
];
