// Postern as the server under test.

import type { Box } from "./box.ts";
import { readFigures } from "./postern-figures.ts";
import { cpuOf, residentParts } from "./process-usage.ts";
import type { RunningServer } from "./server.ts";

const readyTimeoutMs = 30_000;
const stopTimeoutMs = 15_000;

export interface PosternOptions {
  /** Where to write CPU profiles of its threads at its end. */
  readonly profileFolder: string | undefined;
}

export async function startPostern(box: Box, { profileFolder }: PosternOptions): Promise<RunningServer> {
  if (profileFolder !== undefined) process.env.NODE_OPTIONS = `--cpu-prof --cpu-prof-dir=${profileFolder}`;
  const postern = await box.startPosternReady(readyTimeoutMs);
  delete process.env.NODE_OPTIONS;
  return {
    target: box.submission,
    cpu: () => cpuOf(postern.pid),
    memory: () => residentParts(postern.pid),
    figures: () => readFigures(box.places.admin),
    ended: postern.ended.then(({ code, signal }) => `Postern ended (${signal ?? code})\n${postern.logTail()}`),
    stop: async () => {
      await postern.stop(stopTimeoutMs);
    },
  };
}
