// The simulation itself: a seed always draws the same history, and every checker can fail.

import { test } from "tap";
import type { EventSink } from "../../src/core/event.ts";
import type { Outcome } from "../../src/core/outcome.ts";
import type { OpenConnection } from "../../src/queue/lane.ts";
import type { MemorySpool } from "../support/memory-spool.ts";
import { checkers } from "./checkers.ts";
import { classifier } from "./hold-worlds.ts";
import { lostName, runWorld, type Sabotage } from "./run-world.ts";

const seedsMax = 60;

test("a seed draws the same history each time, and another seed another one", async (t) => {
  const rules = classifier();
  const histories = new Set<string>();
  for (const seed of [3, 77, 1_234, 99_999]) {
    const { history } = await runWorld(seed, rules);
    t.equal((await runWorld(seed, rules)).history, history);
    histories.add(history);
  }
  t.equal(histories.size, 4);
});

/** A connection that tells its lane other outcomes than there were. */
function lying(change: (outcome: Outcome) => Outcome): Sabotage {
  const openConnection = (open: OpenConnection): OpenConnection => {
    return (spec, feed) =>
      open(spec, {
        ...feed,
        settled: (work, result) =>
          feed.settled(
            work,
            result.kind === "attempted" ? { ...result, outcomes: result.outcomes.map(change) } : result,
          ),
      });
  };
  return { openConnection };
}

function changedSpool(spool: MemorySpool, changes: Partial<MemorySpool>): MemorySpool {
  return new Proxy(spool, {
    get(target, name) {
      const value: unknown = Reflect.get(changes, name) ?? Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const controls: readonly { readonly broken: string; readonly checker: string; readonly sabotage: Sabotage }[] = [
  {
    broken: "a spool whose commits resolve before they are durable",
    checker: lostName,
    sabotage: {
      spool: (spool) => {
        spool.setCommitMs(15 * 60_000);
        return changedSpool(spool, {
          commit: (change) => {
            spool.commit(change).catch(() => undefined);
            return Promise.resolve();
          },
        });
      },
    },
  },
  {
    broken: "a sink that drops lines",
    checker: "each accepted recipient has exactly one final state",
    sabotage: {
      sink: (sink): EventSink => ({
        append: (lines) => {
          const kept = lines
            .toString()
            .split("\n")
            .filter((line) => !line.includes('"kind":"bounce"'));
          return sink.append(Buffer.from(kept.join("\n")));
        },
      }),
    },
  },
  {
    broken: "a connection that calls refusals deliveries",
    checker: "what the log calls delivered was taken by an exchanger",
    sabotage: lying((outcome) =>
      outcome.kind === "permanent"
        ? { kind: "delivered", at: outcome.at, reply: { code: 250, enhanced: undefined, text: "ok" } }
        : outcome,
    ),
  },
  {
    broken: "a connection that calls an unknown outcome transient",
    checker: "nothing is delivered twice but after an unknown outcome or a crash in between",
    sabotage: lying((outcome) => (outcome.kind === "unknown" ? { ...outcome, kind: "transient" } : outcome)),
  },
  {
    broken: "a spool that hides some of its places",
    checker: "everything drains once the world is healthy",
    sabotage: {
      spool: (spool) =>
        changedSpool(spool, {
          scanQueue: () => [],
        }),
    },
  },
  {
    broken: "exchangers with a lower limit than ours",
    checker: "limits of connections and of messages per connection are kept",
    sabotage: { connectionsMax: 0 },
  },
  {
    broken: "a connection that changes an octet",
    checker: "what arrives is what was accepted, octet for octet, behind the signature",
    sabotage: {
      openConnection: (open) => (spec, feed) =>
        open(spec, {
          ...feed,
          next: () => {
            const work = feed.next();
            if (work === undefined) return undefined;
            // The last octet before the final CRLF.
            const content = work.content.bind(work);
            work.content = function* () {
              for (const chunk of content()) {
                const changed = Buffer.from(chunk);
                if (changed.length > 90) changed[changed.length - 3] = 0x79;
                yield changed;
              }
            };
            return work;
          },
        }),
    },
  },
];

test("every checker reports a world that is broken in its own way", async (t) => {
  const rules = classifier();
  for (const { broken, checker, sabotage } of controls) {
    let seed = 1;
    let found: string | undefined;
    for (; seed <= seedsMax && found === undefined; seed++) {
      const { violations } = await runWorld(seed, rules, sabotage);
      found = violations.find((text) => text.startsWith(`${checker}: `));
    }
    t.ok(found, `${broken}: ${found ?? `not seen in ${seedsMax} worlds`}`);
  }
  t.same(
    controls.map((control) => control.checker).filter((name) => name !== lostName),
    checkers.map(({ name }) => name),
    "each checker has its control",
  );
});
