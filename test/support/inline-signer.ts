// A signer without threads, for tests: same octets as the threads make.

import type { QueueId } from "../../src/core/ids.ts";
import { type KeySet, keysFor, type Signer, signContent, windowBytes } from "../../src/signing/signing.ts";

/** Signs within the call. `readContent` gives nothing when there is no such message. */
export function inlineSigner(keySet: KeySet, readContent: (queueId: QueueId) => Iterable<Buffer>): Signer {
  const scratch = Buffer.alloc(windowBytes);
  return {
    signs: (fromDomain) => keysFor(keySet, fromDomain) !== undefined,
    async sign(request) {
      const keys = keysFor(keySet, request.fromDomain);
      if (keys === undefined) return { headers: Buffer.alloc(0), signedBy: [] };
      const content = [...readContent(request.queueId)];
      const headers = Buffer.from(signContent(content, keys, request.signedAt, scratch), "latin1");
      return { headers, signedBy: keys.signedBy };
    },
  };
}
