// Opening, and spoiling, spools on LMDB for tests.

import { openEnvironment } from "../../src/spool/environment.ts";
import { type MailKind, mailKey } from "../../src/spool/keys.ts";
import { type LmdbSpool, type LmdbSpoolOptions, openLmdbSpool } from "../../src/spool/lmdb-spool.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { SimClock } from "../support/sim-clock.ts";

export const testMapBytes = 256 * 1024 * 1024;

export function openTestSpool(path: string, options: Partial<LmdbSpoolOptions> = {}): Promise<LmdbSpool> {
  return openLmdbSpool({
    path,
    mapSizeBytes: testMapBytes,
    freeSpaceMinBytes: 1,
    commitLatencyMaxMs: 5_000,
    clock: new SimClock(),
    log: silentLog,
    ...options,
  });
}

/** Flips a bit in the payload of a record of the message. The spool must be closed. */
export async function damageRecord(path: string, queueId: string, kind: MailKind, number: number): Promise<void> {
  await changeRecord(path, queueId, kind, number, (record) => {
    const at = record.length - 1;
    record[at] = (record[at] as number) ^ 4;
    return record;
  });
}

/** Replaces, or with undefined drops, a record behind the spool's back. */
export async function changeRecord(
  path: string,
  queueId: string,
  kind: MailKind,
  number: number,
  change: (record: Buffer) => Buffer | undefined,
): Promise<void> {
  const environment = openEnvironment(path, testMapBytes);
  const key = mailKey(queueId, kind, number);
  const record = environment.mail.get(key);
  if (record === undefined) throw new Error("no such record");
  const next = change(Buffer.from(record));
  if (next === undefined) await environment.mail.remove(key);
  else await environment.mail.put(key, next);
  await environment.root.close();
}
