// The log for operators (pino). Rooms take a `Log`; only main.ts and the shard's thread make one.

import { type DestinationStream, type Logger, pino } from "pino";

export type Log = Pick<Logger, "trace" | "debug" | "info" | "warn" | "error" | "fatal">;

export function makeLog(level: string, base: Record<string, unknown>, destination?: DestinationStream): Logger {
  return pino(
    { level, base, timestamp: pino.stdTimeFunctions.isoTime },
    destination ?? pino.destination({ fd: 2, sync: false }),
  );
}

/** A log that keeps nothing, for tests. */
export const silentLog: Log = pino({ level: "silent" });
