// The error that every read of the spool may throw. In a file of its own, below the door, so that readers can use it.

import type { QueueId } from "../core/ids.ts";

/** A record whose CRC, length or form is wrong. What it belongs to must never be sent. */
export class DamagedRecordError extends Error {
  readonly queueId: QueueId;
  constructor(queueId: QueueId, message: string) {
    super(message);
    this.name = "DamagedRecordError";
    this.queueId = queueId;
  }
}
