// What a signing thread does with one batch of requests. Queue ids and instants come in, finished header fields go out;
// the thread reads the contents from the spool itself.

import type { Domain, QueueId } from "../core/ids.ts";
import type { Instant } from "../core/time.ts";
import { type KeySet, signContent, windowBytes } from "../signing/signing.ts";
import type { ContentReader } from "../spool/content-reader.ts";

export interface SigningThreadData {
  readonly spoolPath: string;
  readonly keySet: KeySet;
}

export interface SigningBatch {
  readonly queueIds: readonly QueueId[];
  /** Of each: the signing domain, which is a name in the key set. */
  readonly domains: readonly Domain[];
  readonly signedAt: readonly Instant[];
}

export interface SignedBatch {
  /** The DKIM-Signature fields of all, one after the other: ASCII, so it crosses the threads as one copy. */
  readonly headers: string;
  /** How many characters of it belong to each; 0 for one that failed. */
  readonly lengths: readonly number[];
  readonly failures: readonly SigningFailure[];
}

export interface SigningFailure {
  /** Place in the batch. */
  readonly index: number;
  /** The error's name; "DamagedRecordError" tells the spool's own. */
  readonly name: string;
  readonly message: string;
}

/**
 * The task of one thread. The reader is opened at the first batch and again after a failure to open, so that a spool
 * that cannot be read is an answer and not the thread's end. It is closed by the end of the thread, which comes between
 * batches, when it holds no snapshot.
 */
export function batchSigner(
  data: SigningThreadData,
  openContentReader: (path: string) => ContentReader,
): (batch: SigningBatch) => SignedBatch {
  const scratch = Buffer.alloc(windowBytes);
  let reader: ContentReader | undefined;

  function signOne(batch: SigningBatch, index: number): string {
    reader ??= openContentReader(data.spoolPath);
    const keys = data.keySet.domains.get(batch.domains[index] as Domain);
    if (keys === undefined) throw new Error(`no keys for ${batch.domains[index]}`);
    try {
      const content = reader.readContent(batch.queueIds[index] as QueueId);
      if (content.length === 0) throw new Error("no content in the spool");
      return signContent(content, keys, batch.signedAt[index] as Instant, scratch);
    } finally {
      // After each message: a snapshot held makes the spool's file grow.
      reader.release();
    }
  }

  return (batch) => {
    let headers = "";
    const lengths: number[] = [];
    const failures: SigningFailure[] = [];
    for (let index = 0; index < batch.queueIds.length; index++) {
      let own = "";
      try {
        own = signOne(batch, index);
      } catch (error) {
        const { name, message } = error instanceof Error ? error : new Error(String(error));
        failures.push({ index, name, message });
      }
      headers += own;
      lengths.push(own.length);
    }
    return { headers, lengths, failures };
  };
}
