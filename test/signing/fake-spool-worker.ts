// A signing thread whose spool is a folder: one file for each content, named by its queue id.
// A file `die-<queueId>` ends the thread when that content is read; the first line of it says how many more times.

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { workerData } from "node:worker_threads";
import { batchSigner, type SigningThreadData } from "../../src/platform/signing-batch.ts";
import type { ContentReader } from "../../src/spool/content-reader.ts";
import { DamagedRecordError } from "../../src/spool/spool.ts";

function openFolder(path: string): ContentReader {
  if (existsSync(join(path, "unreadable"))) throw new Error("the folder cannot be opened");
  return {
    readContent(queueId) {
      endThreadIfAsked(join(path, `die-${queueId}`));
      if (existsSync(join(path, `damaged-${queueId}`))) throw new DamagedRecordError(queueId, "wrong checksum");
      const file = join(path, queueId);
      return existsSync(file) ? [readFileSync(file)] : [];
    },
    release() {},
    async close() {},
  };
}

function endThreadIfAsked(file: string): void {
  if (!existsSync(file)) return;
  const times = Number(readFileSync(file, "utf8"));
  if (times > 1) writeFileSync(file, String(times - 1));
  else rmSync(file);
  process.exit(1);
}

export default batchSigner(workerData as SigningThreadData, openFolder);
