// A scenario of the benchmark: data that says what is sent where, and what Postern may do.

import type { Override } from "../run-config.ts";
import type { OperatorProfile } from "../sink/operator.ts";
import type { Bursts, SizeShare } from "../source/load-plan.ts";

export interface Scenario {
  readonly name: string;
  /** What it is there to show, in one line. */
  readonly about: string;
  /** `restart` fills a queue, kills Postern and starts it again; `load` sends and waits until all is delivered. */
  readonly kind: "load" | "restart";
  readonly messages: number;
  /** Sent and delivered before the measurement: code is compiled, processes are started, connections are known. */
  readonly warmUpMessages: number;
  readonly sessions: number;
  /** 1: a new connection for each message. */
  readonly messagesPerSession: number;
  /** undefined: as fast as the server takes them. */
  readonly ratePerSecond: number | undefined;
  readonly bursts: Bursts | undefined;
  /** Octets of each body, or sizes drawn by weight. */
  readonly bodyBytes: number | readonly SizeShare[];
  readonly recipientsPerMessage: number;
  /** Recipient domains, dealt out over the hosts. */
  readonly domains: number;
  /** `falling`: the domain of rank n gets a share in proportion to 1/n, as mail has it. */
  readonly domainWeights: "equal" | "falling";
  /** Receiving operators, each with one exchanger of an address of its own. */
  readonly hosts: number;
  /** What the receivers are like, over `openOperator`. */
  readonly receiver: Partial<OperatorProfile>;
  /** EHLO keywords of the receivers; undefined: all that they know. */
  readonly extensions: readonly string[] | undefined;
  /** RSA-2048 signatures by Postern. */
  readonly signed: boolean;
  /** STARTTLS at both doors: from the source to the server, and from the server to the receivers. */
  readonly encrypted: boolean;
  /** The source logs in at each connection. */
  readonly login: boolean;
  /** Source addresses of Postern, with weights 1 to 4 in turn. */
  readonly sources: number;
  /** Shards of Postern. `auto` takes one of two processors; two are faster where nothing is signed, and take more memory. */
  readonly shards: number;
  /** Connections of one source address to one operator, for Postern and for its peers. */
  readonly connectionsMax: number;
  /** Other changes of `conf/bench.yaml`. */
  readonly overrides: readonly Override[];
  /** After the run, in a server of its own: so many messages are put off, each in a queue of its own; 0: not measured. */
  readonly idleQueues: number;
  /** Runs before and after this one, to say what share of its rate this one reaches. */
  readonly baseline: Scenario | undefined;
  readonly targets: readonly Target[];
}

/**
 * What the run must show: a value of the report by its path, such as `finalDot.p99Ms`, and its bound. `postfix.unsigned.delivered`
 * is the ratio of each pair with that peer, where Postern does not sign.
 */
export interface Target {
  readonly value: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export const baseScenario: Omit<Scenario, "name" | "about"> = {
  kind: "load",
  messages: 20_000,
  warmUpMessages: 2_000,
  sessions: 40,
  messagesPerSession: 1_000_000,
  ratePerSecond: undefined,
  bursts: undefined,
  bodyBytes: 10 * 1024,
  recipientsPerMessage: 1,
  domains: 50,
  domainWeights: "equal",
  hosts: 50,
  receiver: {},
  extensions: undefined,
  signed: false,
  encrypted: false,
  login: false,
  sources: 1,
  shards: 1,
  connectionsMax: 4,
  overrides: [],
  idleQueues: 0,
  baseline: undefined,
  targets: [],
};
