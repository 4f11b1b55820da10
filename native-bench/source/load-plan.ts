// What a load source shall send, and what it found.

/** Bodies of so many octets, in proportion to `weight`. */
export interface SizeShare {
  readonly bytes: number;
  readonly weight: number;
}

/** Messages fall due in groups. */
export interface Bursts {
  readonly messages: number;
  readonly everyMs: number;
}

export interface LoadPlan {
  /** Begins each X-Bench-Id, so that the runs of one ledger can be told apart. */
  readonly runId: string;
  readonly target: { readonly host: string; readonly port: number };
  readonly messages: number;
  readonly sessions: number;
  /** 1: a new connection for each message. */
  readonly messagesPerSession: number;
  /** undefined: as fast as the server takes them. */
  readonly ratePerSecond: number | undefined;
  /** Instead of a rate. */
  readonly bursts?: Bursts | undefined;
  readonly bodyBytes: number | readonly SizeShare[];
  readonly recipientsPerMessage: number;
  readonly reversePath: string;
  /** Recipient domains; each recipient's domain is drawn by weight. */
  readonly domains: readonly { readonly domain: string; readonly weight: number }[];
  /** X-Postern-Stream. */
  readonly stream: string | undefined;
  /** Puts lines that begin with a dot into the body. */
  readonly dotLines: boolean;
  /** STARTTLS, and a certificate that is not looked at. */
  readonly startTls?: boolean | undefined;
  /** AUTH PLAIN (RFC 4616) at each connection. */
  readonly login?: { readonly user: string; readonly password: string } | undefined;
  readonly seed: number;
}

/** A message that the server took responsibility for. */
export interface Acknowledgement {
  readonly benchId: string;
  readonly queueId: string;
  readonly stream: string | undefined;
  readonly recipients: readonly string[];
  /** When its 250 was read. */
  readonly at: number;
}

export interface Percentiles {
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

export interface SourceCounts {
  readonly acknowledged: number;
  /** Messages refused for good (5yz, or 4yz again and again). */
  readonly refused: number;
  /** 4yz replies after which the message was offered again. */
  readonly refusedForNow: number;
  /** Messages whose final dot was sent and whose reply never came. */
  readonly uncertain: number;
  readonly connectFailures: number;
  readonly firstAt: number | undefined;
  readonly lastAt: number | undefined;
  /** From connect to the greeting. */
  readonly greeting: Percentiles;
  /** From the final dot to its 250. */
  readonly finalDot: Percentiles;
  /** From connect to the 250 of the connection's first message. */
  readonly connectTo250: Percentiles;
  readonly lastProblem: string | undefined;
  /** Octets of the bodies acknowledged. */
  readonly bodyBytes: number;
  readonly cpuMs: number;
}
