// What makes two submissions the same message, for idempotency keys.

import { createHash } from "node:crypto";
import { fieldName, parseHeaderSection } from "../mime/header-section.ts";
import type { Submission } from "./queue.ts";

/** Fields that differ between two tries of one message: the trace, and what a client or we make anew each time. */
const fieldsOfOneTry = new Set(["received", "date", "message-id"]);

/** SHA-256, hexadecimal, of the envelope, the recipients, the other header fields and the body. */
export function digestOf(submission: Submission): string {
  const hash = createHash("sha256");
  const { envelope, recipients, content, headerBytes } = submission;
  hash.update(
    JSON.stringify([envelope, recipients.map(({ forwardPath, notify, orcpt }) => [forwardPath, notify, orcpt])]),
  );
  const whole = content.length === 1 && content[0] !== undefined ? content[0] : Buffer.concat(content);
  const header = whole.subarray(0, headerBytes);
  const fields = parseHeaderSection(header)?.fields ?? [];
  for (const field of fields) {
    if (!fieldsOfOneTry.has(fieldName(header, field))) hash.update(header.subarray(field.start, field.end));
  }
  return hash.update(whole.subarray(headerBytes)).digest("hex");
}
