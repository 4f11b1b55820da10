// Makes the config of one run out of a config file: free ports, and folders of its own.

import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { parseDocument } from "yaml";

export interface RunPlaces {
  /** `host:port`. */
  readonly submission: string;
  readonly admin: string;
  readonly dns: string;
  readonly deliveryPort: number;
  readonly spool: string;
  readonly events: string;
}

/** A path of keys and indexes in the file, and the value that it takes. */
export type Override = readonly [path: readonly (string | number)[], value: unknown];

/** Writes `template` with these places (and other values) put in to `file`. Comments stay. */
export function writeRunConfig(
  template: string,
  file: string,
  places: RunPlaces,
  others: readonly Override[] = [],
): void {
  const document = parseDocument(readFileSync(template, "utf8"));
  const overrides: readonly Override[] = [
    [["ingest", "smtp", 0, "listen"], places.submission],
    [["admin", "listen"], places.admin],
    [["dns", "servers"], [places.dns]],
    [["delivery", "port"], places.deliveryPort],
    [["spool", "path"], places.spool],
    [["events", "path"], places.events],
    ...others,
  ];
  for (const [path, value] of overrides) document.setIn(path, value);
  writeFileSync(file, document.toString());
}

/** The `host:port` values of a config file. */
export function readPorts(template: string): { submission: number; admin: number; dns: number; delivery: number } {
  const document = parseDocument(readFileSync(template, "utf8"));
  const portOf = (path: readonly (string | number)[]): number => {
    const value = String(document.getIn(path));
    return Number(value.slice(value.lastIndexOf(":") + 1));
  };
  return {
    submission: portOf(["ingest", "smtp", 0, "listen"]),
    admin: portOf(["admin", "listen"]),
    dns: portOf(["dns", "servers", 0]),
    delivery: portOf(["delivery", "port"]),
  };
}

/**
 * Below the range that Linux takes for outgoing connections: a port there could be taken by a connection while Postern is
 * away for a moment, even by one that tries to reach it.
 */
const quietPorts = { from: 18_000, count: 10_000 } as const;
const portTriesMax = 100;

/** `preferred` when it can be bound on 127.0.0.1 now, else another port that can. */
export async function freePort(preferred: number | undefined): Promise<number> {
  if (preferred !== undefined && (await canBind(preferred))) return preferred;
  for (let i = 0; i < portTriesMax; i++) {
    const port = quietPorts.from + Math.floor(Math.random() * quietPorts.count);
    if (await canBind(port)) return port;
  }
  throw new Error(`no port was free after ${portTriesMax} tries`);
}

function canBind(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port }, () => server.close(() => resolve(true)));
  });
}
