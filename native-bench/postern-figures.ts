// What Postern says of itself at /metrics, as far as the benchmark looks at it.

export interface PosternFigures {
  /** Recipients in the queue. */
  readonly queued: number;
  readonly spoolFileBytes: number;
  readonly spoolLiveBytes: number;
  /** Durations of commits, and delays of the shards' event loops, since the start of the server. */
  readonly commits: Buckets;
  readonly loopDelays: Buckets;
}

/** How many were at most so long, by rising bound. The last bound is infinite. */
export type Buckets = readonly { readonly boundMs: number; readonly count: number }[];

const requestTimeoutMs = 2_000;
/** Only these are asked for: the metrics of all lanes would weigh on the server more than its mail does. */
const wanted = [
  "postern_event_loop_delay_seconds",
  "postern_queue_recipients",
  "postern_spool_bytes",
  "postern_spool_live_bytes",
  "postern_spool_commit_seconds",
];
const query = wanted.map((name) => `name[]=${name}`).join("&");

/** undefined when the server does not answer in time. */
export async function readFigures(admin: string): Promise<PosternFigures | undefined> {
  try {
    const response = await fetch(`http://${admin}/metrics?${query}`, { signal: AbortSignal.timeout(requestTimeoutMs) });
    return parseFigures(await response.text());
  } catch {
    return undefined;
  }
}

export function parseFigures(text: string): PosternFigures {
  let queued = 0;
  const buckets = new Map<string, { boundMs: number; count: number }[]>();
  const plain = new Map<string, number>();
  for (const [, name = "", labels = "", value = ""] of text.matchAll(/^(postern_\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    if (name === "postern_queue_recipients") queued += Number(value);
    else if (name.endsWith("_bucket")) {
      const bound = /le="([^"]+)"/.exec(labels)?.[1];
      const boundMs = bound === "+Inf" ? Number.POSITIVE_INFINITY : Number(bound) * 1_000;
      const histogram = name.slice(0, -"_bucket".length);
      buckets.set(histogram, [...(buckets.get(histogram) ?? []), { boundMs, count: Number(value) }]);
    } else if (labels === "") plain.set(name, Number(value));
  }
  const inOrder = (histogram: string): Buckets =>
    (buckets.get(histogram) ?? []).sort((one, other) => one.boundMs - other.boundMs);
  return {
    queued,
    spoolFileBytes: plain.get("postern_spool_bytes") ?? 0,
    spoolLiveBytes: plain.get("postern_spool_live_bytes") ?? 0,
    commits: inOrder("postern_spool_commit_seconds"),
    loopDelays: inOrder("postern_event_loop_delay_seconds"),
  };
}

/** What came after `before`, which is undefined for the start of the server. */
export function bucketsSince(before: Buckets | undefined, now: Buckets): Buckets {
  const counts = new Map(before?.map(({ boundMs, count }) => [boundMs, count]));
  return now.map(({ boundMs, count }) => ({ boundMs, count: count - (counts.get(boundMs) ?? 0) }));
}

/**
 * The time that a share of them stayed below, in straight lines between the bounds, so that 1 gives the bound above the
 * longest. undefined where there are none.
 */
export function percentileMs(buckets: Buckets, share: number): number | undefined {
  const total = buckets.at(-1)?.count ?? 0;
  if (total === 0) return undefined;
  let [belowMs, belowCount] = [0, 0];
  for (const { boundMs, count } of buckets) {
    if (count >= share * total) {
      if (!Number.isFinite(boundMs)) return belowMs;
      return belowMs + ((share * total - belowCount) / Math.max(1, count - belowCount)) * (boundMs - belowMs);
    }
    [belowMs, belowCount] = [boundMs, count];
  }
  return belowMs;
}
