// A second reader of the spool, for the signing threads: each opens the shard's environment for itself and reads
// contents by queue id, so that no octet of mail crosses between threads.

import type { QueueId } from "../core/ids.ts";
import { openEnvironmentForReading } from "./environment.ts";
import { readContent } from "./mail-reader.ts";

export interface ContentReader {
  /**
   * The content in order, each chunk checked; empty when there is no such message. Sees every commit that resolved
   * before the call. Throws DamagedRecordError.
   */
  readContent(queueId: QueueId): Buffer[];
  /**
   * Lets go of the read transaction. To be called when a batch is done: while it is held, LMDB cannot use again the
   * pages of any later commit, and a thread that then waits for work would hold it for as long as it waits.
   */
  release(): void;
  /** After the thread's last read, before the spool's owner closes. */
  close(): Promise<void>;
}

/** `path` is the shard's folder; its spool must be open in the owner's thread. */
export function openContentReader(path: string): ContentReader {
  const { root, mail } = openEnvironmentForReading(path);
  return {
    readContent(queueId) {
      // Whatever snapshot an earlier call left may be older than the commit that this message came with.
      root.resetReadTxn();
      return [...readContent(mail, queueId)];
    },
    release() {
      root.resetReadTxn();
    },
    close() {
      return root.close();
    },
  };
}
