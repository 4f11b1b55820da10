// Folders of a run, and what was started in it.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "../../native-bench/postern-process.ts";
import type { Place } from "./peer.ts";

/** Where .ci/run unpacks the packages that conflict with each other. */
export const packages = process.env.POSTERN_PEER_PACKAGES ?? join(repositoryRoot, "var/peers/packages");

export function placeOf(name: string, host: string, port: number, folder: string): Place {
  return { host, port, folder: makeFolder(folder, name), packages };
}

/** Peers with users of their own write in it. */
export function makeFolder(parent: string, name: string): string {
  const folder = join(parent, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** What was started, to be stopped in the reverse order. */
export class Running {
  readonly #stops: (() => Promise<unknown>)[] = [];

  add(stop: () => Promise<unknown>): void {
    this.#stops.push(stop);
  }

  async stopAll(): Promise<void> {
    for (let stop = this.#stops.pop(); stop !== undefined; stop = this.#stops.pop())
      await stop().catch(() => undefined);
  }
}
