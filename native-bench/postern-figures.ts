// What Postern says of itself at /metrics, as far as the benchmark looks at it.

export interface PosternFigures {
  /** The worst delay of the event loop since the engine last looked, in milliseconds. */
  readonly loopLagMs: number;
  /** Recipients in the queue. */
  readonly queued: number;
  readonly spoolFileBytes: number;
  readonly spoolLiveBytes: number;
  /** Commits of at most so many milliseconds so far, by bound. The last bound is infinite. */
  readonly commits: readonly { readonly boundMs: number; readonly count: number }[];
}

const requestTimeoutMs = 2_000;
/** Only these are asked for: the metrics of all lanes would weigh on the server more than its mail does. */
const wanted = [
  "postern_event_loop_lag_seconds",
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
  const commits: { boundMs: number; count: number }[] = [];
  const plain = new Map<string, number>();
  for (const [, name = "", labels = "", value = ""] of text.matchAll(/^(postern_\w+)(?:\{(.*)\})? (\S+)$/gm)) {
    if (name === "postern_queue_recipients") queued += Number(value);
    else if (name === "postern_spool_commit_seconds_bucket") {
      const bound = /le="([^"]+)"/.exec(labels)?.[1];
      const boundMs = bound === "+Inf" ? Number.POSITIVE_INFINITY : Number(bound) * 1_000;
      commits.push({ boundMs, count: Number(value) });
    } else if (labels === "") plain.set(name, Number(value));
  }
  return {
    loopLagMs: (plain.get("postern_event_loop_lag_seconds") ?? 0) * 1_000,
    queued,
    spoolFileBytes: plain.get("postern_spool_bytes") ?? 0,
    spoolLiveBytes: plain.get("postern_spool_live_bytes") ?? 0,
    commits: commits.sort((one, other) => one.boundMs - other.boundMs),
  };
}

/** The time that a share of all commits stayed below, straight lines between the bounds. undefined without commits. */
export function commitPercentileMs(commits: PosternFigures["commits"], share: number): number | undefined {
  const total = commits.at(-1)?.count ?? 0;
  if (total === 0) return undefined;
  let [belowMs, belowCount] = [0, 0];
  for (const { boundMs, count } of commits) {
    if (count >= share * total) {
      if (!Number.isFinite(boundMs)) return belowMs;
      return belowMs + ((share * total - belowCount) / Math.max(1, count - belowCount)) * (boundMs - belowMs);
    }
    [belowMs, belowCount] = [boundMs, count];
  }
  return belowMs;
}
