// `postern top`: looks at a running server again and again, and shows what it does.

import { setTimeout as sleep } from "node:timers/promises";
import { Command, InvalidArgumentError } from "commander";
import { durationHelp, parseDuration } from "../config/units.ts";
import type { LaneSummary, QueueSummary } from "../queue/queue.ts";
import { type AdminPlace, locateAdmin, lookAt, readMetrics } from "./admin-client.ts";
import { type AdminOptions, examples, positiveInteger, withAdminOptions, withJson } from "./options.ts";
import { CommandFailure, note, print } from "./output.ts";
import { type Figures, figuresOf, type Look, parseSamples } from "./top-figures.ts";
import { drawLook, printable, printableJson, rowsPlainMax, Screen } from "./top-screen.ts";

interface TopOptions extends AdminOptions {
  readonly interval: number;
  readonly count?: number;
  readonly json?: boolean;
}

/** How looks are shown. */
interface View {
  look(figures: Figures): void;
  /** A look that failed; others come. */
  trouble(text: string): void;
  close(): void;
}

const intervalDefaultMs = 1_000;
const intervalMsMin = 100;
const intervalMsMax = 86_400_000;
/** One look. A server that does not answer within this time is said to be away. */
const lookLimitMs = 10_000;
/** A look costs a server with many queues some work: at least so many times as long as the look took we leave it alone. */
const restsPerLook = 4;

export function topCommand(): Command {
  const command = new Command("top")
    .description("live: throughput, streams, the busiest lanes, the deepest queues; Ctrl-C ends it")
    .option("--interval <duration>", "from look to look", interval, intervalDefaultMs)
    .option("--count <n>", "end after this many looks", positiveInteger)
    .action(top);
  command.options.find(({ long }) => long === "--interval")?.default(intervalDefaultMs, "1s");
  return examples(withJson(withAdminOptions(command)), [
    "postern top",
    "postern top --interval 2s --count 5 > looks.txt",
    "postern top --json",
  ]);
}

function interval(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined || ms < intervalMsMin || ms > intervalMsMax) {
    throw new InvalidArgumentError(`It must be ${durationHelp}, from 100ms to 1d.`);
  }
  return ms;
}

/** A server that is away at the first look is a failure, as for any verb; later it is waited for. */
async function top(options: TopOptions): Promise<void> {
  const place = await locateAdmin(options);
  const ending = new AbortController();
  const end = () => ending.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, end);
  // Who reads our output went away.
  process.stdout.on("error", end);
  const view = openView(options, place.base.origin);
  try {
    await watch(place, options, view, ending.signal);
  } finally {
    view.close();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, end);
    process.stdout.off("error", end);
  }
}

async function watch(place: AdminPlace, options: TopOptions, view: View, signal: AbortSignal): Promise<void> {
  let before: Look | undefined;
  for (let looks = 1; !signal.aborted; looks++) {
    const startedAt = performance.now();
    try {
      const now = await look(place, signal);
      view.look(figuresOf(now, before));
      before = now;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof CommandFailure)) throw error;
      const text = printable(error.message);
      if (before === undefined) throw new CommandFailure(text, { cause: error });
      view.trouble(text);
    }
    if (looks === options.count) return;
    const tookMs = performance.now() - startedAt;
    const restMs = Math.max(options.interval - tookMs, restsPerLook * tookMs);
    // Rejects when it is ended; the loop looks at that.
    await sleep(restMs, undefined, { signal }).catch(() => undefined);
  }
}

async function look(place: AdminPlace, signal: AbortSignal): Promise<Look> {
  const patience = { signal, limitMs: lookLimitMs };
  const [text, queues, lanes] = await Promise.all([
    readMetrics(place, patience),
    lookAt(place, "/v1/queues", patience),
    lookAt(place, "/v1/lanes", patience),
  ]);
  const queuesBody = queues.body as { queues?: readonly QueueSummary[]; total?: number } | null;
  const lanesBody = lanes.body as { lanes?: readonly LaneSummary[] } | null;
  if (!Array.isArray(queuesBody?.queues) || !Array.isArray(lanesBody?.lanes)) {
    throw new CommandFailure(`what answers at ${place.base.origin} is not Postern's admin API (${queues.status})`);
  }
  return {
    at: Date.now(),
    steadyMs: performance.now(),
    samples: parseSamples(text),
    lanes: lanesBody.lanes,
    queues: queuesBody.queues,
    queuesTotal: queuesBody.total ?? queuesBody.queues.length,
  };
}

function openView(options: TopOptions, where: string): View {
  if (options.json === true) return jsonView();
  return process.stdout.isTTY && process.env.TERM !== "dumb" ? screenView(where) : plainView(where);
}

/** One object a line. */
function jsonView(): View {
  return {
    look: ({ lanes, queues, ...rest }) =>
      print(
        printableJson({
          ...rest,
          lanes: lanes.slice(0, rowsPlainMax),
          lanesTotal: lanes.length,
          queues: queues.slice(0, rowsPlainMax),
        }),
      ),
    trouble: (error) => print(printableJson({ at: Date.now(), error })),
    close: () => undefined,
  };
}

function plainView(where: string): View {
  return {
    look: (figures) => print(`${drawLook(where, figures, undefined, undefined).join("\n")}\n\n`),
    trouble: (text) => note(`postern: ${text}`),
    close: () => undefined,
  };
}

/** While the server is away, its last figures stay and are said to be old. */
function screenView(where: string): View {
  const screen = new Screen(process.stdout);
  let last: Figures | undefined;
  return {
    look(figures) {
      last = figures;
      screen.show((size) => drawLook(where, figures, undefined, size));
    },
    trouble(text) {
      const old = last;
      if (old !== undefined) screen.show((size) => drawLook(where, old, text, size));
    },
    close: () => screen.close(),
  };
}
