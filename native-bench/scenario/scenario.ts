// A scenario of the benchmark: data that says what is sent where, and what Postern may do.

import type { Override } from "../run-config.ts";
import type { OperatorProfile } from "../sink/operator.ts";

export interface Scenario {
  readonly name: string;
  /** What it is there to show, in one line. */
  readonly about: string;
  readonly messages: number;
  readonly sessions: number;
  /** 1: a new connection for each message. */
  readonly messagesPerSession: number;
  /** undefined: as fast as the server takes them. */
  readonly ratePerSecond: number | undefined;
  readonly bodyBytes: number;
  readonly recipientsPerMessage: number;
  /** Recipient domains; each has an exchanger of its own address. */
  readonly domains: number;
  /** Sites that the domains' exchangers belong to: domains are dealt out over them. */
  readonly hosts: number;
  /** What the receivers are like, over `openOperator`. */
  readonly receiver: Partial<OperatorProfile>;
  /** EHLO keywords of the receivers; undefined: all that they know. */
  readonly extensions: readonly string[] | undefined;
  readonly signed: boolean;
  /** Changes of `conf/bench.yaml`. */
  readonly overrides: readonly Override[];
}

export const baseScenario: Omit<Scenario, "name" | "about"> = {
  messages: 20_000,
  sessions: 40,
  messagesPerSession: 1_000_000,
  ratePerSecond: undefined,
  bodyBytes: 10 * 1024,
  recipientsPerMessage: 1,
  domains: 50,
  hosts: 50,
  receiver: {},
  extensions: undefined,
  signed: false,
  overrides: [],
};
