// The mail servers that Postern is compared with, by name.

import type { Box } from "../box.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { RunningServer } from "../server.ts";
import { exim } from "./exim.ts";
import { haraka } from "./haraka.ts";
import { postfix } from "./postfix.ts";

export interface Peer {
  readonly name: string;
  /** What its configuration is, in a few lines for the report. */
  readonly notes: readonly string[];
  readonly howToInstall: string;
  isInstalled(): boolean;
  /** Starts it on loopback so that it takes mail for the scenario's domains and hands it to the box's receivers. */
  start(box: Box, scenario: Scenario): Promise<RunningServer>;
}

const all: readonly Peer[] = [postfix, exim, haraka];
export const peerNames: readonly string[] = all.map(({ name }) => name);

export function findPeer(name: string): Peer | undefined {
  return all.find((peer) => peer.name === name);
}
