// `spool check`: reads every record, checks its form and CRC, and holds the trees against each other. The result is
// data; the command prints it.

import type { QueueId } from "../core/ids.ts";
import type { Message, QueueEntry } from "../core/message.ts";
import { isFinished } from "./change-plan.ts";
import { DamagedRecordError } from "./damaged-record.ts";
import {
  dataFileBytes,
  type Environment,
  firstKey,
  openEnvironmentForReading,
  readRecord,
  recordsIn,
  requireWholeFile,
  type Tree,
} from "./environment.ts";
import {
  idempotencyRecordsEnd,
  idempotencyRecordsStart,
  type MailKey,
  mailKey,
  mailKind,
  parseMailKey,
  parsePlaceKey,
  placeKeyOf,
  successor,
} from "./keys.ts";
import { readEntry } from "./mail-reader.ts";
import {
  chunkBytes,
  chunkCount,
  decodeJson,
  decodeMessageHead,
  decodeMessageJson,
  decodeNumber,
  faultOf,
  type MessageHead,
  type RecordKind,
  recordHeadBytes,
  recordKind,
} from "./record-codec.ts";
import { readSchema, requireKnownSchema } from "./recovery.ts";
import { lockSpool } from "./spool-lock.ts";

export type ProblemKind =
  /** CRC, length, version or kind of a record is wrong, or its JSON does not fit its key. */
  | "damaged-record"
  | "unknown-key"
  | "missing-message"
  | "missing-entry"
  | "missing-chunk"
  | "wrong-chunk-length"
  /** A record that no message, entry or count calls for. */
  | "stray-record"
  | "entry-without-place"
  | "place-without-entry"
  | "wrong-pending-count"
  /** No entry waits any more, but the message was not dropped. */
  | "message-without-pending-entry"
  | "quarantined";

export interface SpoolProblem {
  readonly kind: ProblemKind;
  readonly queueId: QueueId | undefined;
  readonly detail: string;
}

export interface SpoolCheckResult {
  readonly path: string;
  readonly schema: number | undefined;
  readonly messages: number;
  readonly entries: number;
  readonly chunks: number;
  readonly contentBytes: number;
  readonly places: number;
  readonly outboxRecords: number;
  readonly holds: number;
  readonly idempotencyRecords: number;
  readonly quarantined: number;
  /** All of them; quarantined messages are listed but not counted. */
  readonly problemCount: number;
  /** The first `problemsListedMax`. */
  readonly problems: readonly SpoolProblem[];
}

export interface CheckProgress {
  readonly records: number;
  readonly problems: number;
}

export interface CheckOptions {
  /** Called about every thousand records. */
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
}

const problemsListedMax = 1_000;
/** Records read at once, each at most about 64 KiB. */
const stepRecords = 256;

/** Checks the spool of one shard. Rejects when there is none, when it is in use, or when it cannot be opened. */
export async function checkSpool(path: string, options: CheckOptions = {}): Promise<SpoolCheckResult> {
  return withEnvironment(path, (environment) => checkEnvironment(environment, options));
}

/** Opens a spool that nobody else has open, for reading, and closes it after `use`. */
export async function withEnvironment<Result>(
  path: string,
  use: (environment: Environment) => Promise<Result> | Result,
): Promise<Result> {
  requireSpool(path);
  const lock = lockSpool(path);
  try {
    requireWholeFile(path);
    const environment = openEnvironmentForReading(path);
    try {
      requireKnownSchema(environment);
      return await use(environment);
    } finally {
      await environment.root.close();
    }
  } finally {
    lock.release();
  }
}

function requireSpool(path: string): void {
  if (dataFileBytes(path) === 0) throw new Error(`there is no spool at ${path}`);
}

/** The check itself, on an open environment that nobody writes to meanwhile. */
export function checkEnvironment(environment: Environment, options: CheckOptions): SpoolCheckResult {
  const check = new Check(environment, options);
  check.mail();
  check.places();
  check.others();
  return check.result();
}

/** What was seen of one message; its records are neighbours. */
interface Seen {
  readonly queueId: QueueId;
  head: MessageHead | undefined;
  messageDamaged: boolean;
  entries: number;
  pendingEntries: number;
  entriesDamaged: number;
  chunks: number;
  pending: number | undefined;
  quarantined: boolean;
  readonly unplaced: number[];
}

class Check {
  readonly #environment: Environment;
  readonly #options: CheckOptions;
  readonly #problems: SpoolProblem[] = [];
  #problemCount = 0;
  #records = 0;
  #counts = {
    messages: 0,
    entries: 0,
    chunks: 0,
    contentBytes: 0,
    places: 0,
    outboxRecords: 0,
    holds: 0,
    idempotencyRecords: 0,
    quarantined: 0,
  };
  #seen: Seen | undefined;

  constructor(environment: Environment, options: CheckOptions) {
    this.#environment = environment;
    this.#options = options;
  }

  result(): SpoolCheckResult {
    return {
      path: this.#environment.path,
      schema: readSchema(this.#environment),
      ...this.#counts,
      problemCount: this.#problemCount,
      problems: this.#problems,
    };
  }

  mail(): void {
    for (const { key, record } of this.#all(this.#environment.mail)) {
      const parsed = parseMailKey(key);
      if (parsed === undefined) {
        this.#problem("unknown-key", undefined, `tree mail, key ${key.toString("hex")}`);
        continue;
      }
      if (parsed.queueId !== this.#seen?.queueId) {
        this.#endMessage();
        this.#seen = newSeen(parsed.queueId);
      }
      this.#mailRecord(this.#seen as Seen, parsed, key, record);
    }
    this.#endMessage();
  }

  #mailRecord(seen: Seen, { queueId, kind, number }: MailKey, key: Buffer, record: Buffer): void {
    switch (kind) {
      case mailKind.message: {
        const message = this.#json<Message>(recordKind.message, key, record, queueId, "message");
        seen.messageDamaged = message === undefined;
        if (message === undefined) return;
        seen.head = decodeMessageHead(record);
        if (
          message.queueId !== queueId ||
          message.contentBytes !== seen.head.contentBytes ||
          message.entryCount !== seen.head.entryCount
        ) {
          this.#problem("damaged-record", queueId, "message does not fit its key or its head");
        }
        return;
      }
      case mailKind.entry: {
        seen.entries++;
        const entry = this.#json<QueueEntry>(recordKind.entry, key, record, queueId, `entry ${number}`);
        if (entry === undefined) {
          seen.entriesDamaged++;
        } else if (entry.queueId !== queueId || entry.entryNo !== number) {
          this.#problem("damaged-record", queueId, `entry ${number} does not fit its key`);
        } else if (!isFinished(entry)) {
          seen.pendingEntries++;
          const place = placeKeyOf(entry.stream, entry.domain, entry.dueAt, queueId, number);
          if (this.#environment.queue.getBinaryFast(place) === undefined) seen.unplaced.push(number);
        }
        return;
      }
      case mailKind.chunk: {
        seen.chunks++;
        if (!this.#isSound(recordKind.chunk, key, record, queueId, `chunk ${number}`)) return;
        this.#counts.contentBytes += record.length - recordHeadBytes;
        const { head } = seen;
        if (head === undefined) return;
        if (number >= chunkCount(head.contentBytes)) this.#problem("stray-record", queueId, `chunk ${number}`);
        else if (record.length - recordHeadBytes !== chunkBytes(head.contentBytes, number)) {
          const detail = `chunk ${number} has ${record.length - recordHeadBytes} octets of ${chunkBytes(head.contentBytes, number)}`;
          this.#problem("wrong-chunk-length", queueId, detail);
        }
        return;
      }
      case mailKind.pending:
        if (this.#isSound(recordKind.pending, key, record, queueId, "pending count")) {
          seen.pending = decodeNumber(record);
        }
        return;
      case mailKind.quarantine: {
        seen.quarantined = true;
        const note = this.#json<{ reason: string }>(recordKind.quarantine, key, record, queueId, "quarantine note");
        this.#counts.quarantined++;
        this.#list({ kind: "quarantined", queueId, detail: note?.reason ?? "" });
        return;
      }
      default:
        this.#problem("unknown-key", queueId, `record kind ${kind}`);
    }
  }

  #endMessage(): void {
    const seen = this.#seen;
    this.#seen = undefined;
    if (seen === undefined) return;
    const { queueId, head } = seen;
    this.#counts.messages++;
    this.#counts.entries += seen.entries;
    this.#counts.chunks += seen.chunks;
    if (head === undefined) {
      if (!seen.messageDamaged) this.#problem("missing-message", queueId, "entries or chunks without their message");
      return;
    }
    const chunks = chunkCount(head.contentBytes);
    if (seen.entries < head.entryCount) {
      this.#problem("missing-entry", queueId, `${head.entryCount - seen.entries} of ${head.entryCount} entries`);
    } else if (seen.entries > head.entryCount) this.#problem("stray-record", queueId, "more entries than it says");
    if (seen.chunks < chunks) this.#problem("missing-chunk", queueId, `${chunks - seen.chunks} of ${chunks} chunks`);
    if (seen.quarantined || seen.entriesDamaged > 0) return;
    for (const entryNo of seen.unplaced) this.#problem("entry-without-place", queueId, `entry ${entryNo}`);
    if (seen.pendingEntries === 0) this.#problem("message-without-pending-entry", queueId, "should have been dropped");
    if (head.entryCount > 1 && seen.pending !== seen.pendingEntries) {
      const detail = `count says ${seen.pending ?? "nothing"}, ${seen.pendingEntries} entries wait`;
      this.#problem("wrong-pending-count", queueId, detail);
    } else if (head.entryCount === 1 && seen.pending !== undefined) {
      this.#problem("stray-record", queueId, "pending count of a message with one entry");
    }
  }

  places(): void {
    const { queue, mail } = this.#environment;
    for (const { key, record } of this.#all(queue)) {
      this.#counts.places++;
      const place = parsePlaceKey(key);
      if (place === undefined) {
        this.#problem("unknown-key", undefined, `tree queue, key ${key.toString("hex")}`);
        continue;
      }
      const { queueId, entryNo, dueAt } = place.position;
      const where = `${place.queue.stream} ${place.queue.domain} due ${dueAt}, entry ${entryNo}`;
      if (!this.#isSound(recordKind.place, key, record, queueId, `place in ${where}`)) continue;
      const entry = soundEntry(mail, queueId, entryNo);
      if (entry === "damaged") continue;
      const fits =
        entry !== undefined &&
        entry.stream === place.queue.stream &&
        entry.domain === place.queue.domain &&
        entry.dueAt === dueAt &&
        !isFinished(entry);
      if (!fits) this.#problem("place-without-entry", queueId, where);
      else if (isQuarantined(mail, queueId))
        this.#problem("stray-record", queueId, `quarantined, but queued: ${where}`);
    }
  }

  others(): void {
    for (const { key, record } of this.#all(this.#environment.outbox)) {
      this.#counts.outboxRecords++;
      this.#isSound(recordKind.outbox, key, record, undefined, `outbox record ${key.toString("hex")}`);
    }
    for (const { key, record } of this.#all(this.#environment.holds)) {
      this.#counts.holds++;
      this.#json(recordKind.hold, key, record, undefined, `hold ${key.toString()}`);
    }
    for (const { key, record } of this.#all(this.#environment.meta)) {
      this.#isSound(recordKind.meta, key, record, undefined, `meta record ${key.toString()}`);
    }
    const [start, end] = [idempotencyRecordsStart(), idempotencyRecordsEnd()];
    for (const { key, record } of this.#all(this.#environment.idempotency)) {
      const name = `idempotency record ${key.subarray(1).toString()}`;
      const isRecord = key.compare(start) >= 0 && key.compare(end) < 0;
      if (!isRecord) {
        this.#isSound(recordKind.idempotency, key, record, undefined, name);
        continue;
      }
      this.#counts.idempotencyRecords++;
      this.#json(recordKind.idempotency, key, record, undefined, name);
    }
  }

  /** All records of a tree, step by step, so that memory holds one step. */
  *#all(tree: Tree): Generator<{ readonly key: Buffer; readonly record: Buffer }> {
    for (let start = firstKey(); ; ) {
      const step = recordsIn(tree, start, undefined, stepRecords);
      yield* step;
      this.#records += step.length;
      this.#options.onProgress?.({ records: this.#records, problems: this.#problemCount });
      const last = step.at(-1);
      if (last === undefined || step.length < stepRecords) return;
      start = successor(last.key);
    }
  }

  #isSound(kind: RecordKind, key: Buffer, record: Buffer, queueId: QueueId | undefined, name: string): boolean {
    const fault = faultOf(record, kind, key);
    if (fault !== undefined) this.#problem("damaged-record", queueId, `${name}: ${fault}`);
    return fault === undefined;
  }

  #json<Value>(
    kind: RecordKind,
    key: Buffer,
    record: Buffer,
    queueId: QueueId | undefined,
    name: string,
  ): Value | undefined {
    if (!this.#isSound(kind, key, record, queueId, name)) return undefined;
    try {
      return (kind === recordKind.message ? decodeMessageJson(record) : decodeJson(record)) as Value;
    } catch {
      this.#problem("damaged-record", queueId, `${name}: no JSON`);
      return undefined;
    }
  }

  #problem(kind: ProblemKind, queueId: QueueId | undefined, detail: string): void {
    this.#problemCount++;
    this.#list({ kind, queueId, detail });
  }

  #list(problem: SpoolProblem): void {
    if (this.#problems.length < problemsListedMax) this.#problems.push(problem);
  }
}

function newSeen(queueId: QueueId): Seen {
  return {
    queueId,
    head: undefined,
    messageDamaged: false,
    entries: 0,
    pendingEntries: 0,
    entriesDamaged: 0,
    chunks: 0,
    pending: undefined,
    quarantined: false,
    unplaced: [],
  };
}

function soundEntry(mail: Tree, queueId: QueueId, entryNo: number): QueueEntry | "damaged" | undefined {
  try {
    return readEntry(mail, queueId, entryNo);
  } catch (error) {
    if (error instanceof DamagedRecordError) return "damaged";
    throw error;
  }
}

function isQuarantined(mail: Tree, queueId: QueueId): boolean {
  return readRecord(mail, recordKind.quarantine, mailKey(queueId, mailKind.quarantine, 0)).kind !== "missing";
}
