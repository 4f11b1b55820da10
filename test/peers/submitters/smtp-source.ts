// Postfix's smtp-source.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Submitter } from "../peer.ts";
import { isRoomInstalled } from "../receivers/room.ts";
import { submitEach } from "./batch.ts";

export const smtpSource: Submitter = {
  name: "smtp-source",
  package: "postfix",
  share: 1,
  smtpUtf8: false,
  canLogIn: false,
  recipientsMax: 1,
  lineBytesMax: 30_000,
  // It ends every message with an empty line; what ends so already is given to it without.
  adapt: (body) => (isEndedByEmptyLine(body) ? body : Buffer.concat([body, Buffer.from("\r\n")])),
  isInstalled: (packages) => isRoomInstalled("postfix", "smtp-source", packages),
  submit(messages, place) {
    const unpacked = join(place.packages, "postfix");
    const isUnpacked = existsSync(unpacked);
    return submitEach(messages, place, {
      lastLine: "open",
      command: ({ reversePath, forwardPaths }, file) => ({
        command: isUnpacked ? join(unpacked, "usr/sbin/smtp-source") : "smtp-source",
        args: ["-f", reversePath, "-t", forwardPaths[0] as string, "-F", file, `${place.host}:${place.port}`],
        ...(isUnpacked ? { env: { LD_LIBRARY_PATH: join(unpacked, "usr/lib/postfix") } } : {}),
      }),
    });
  },
};

/** An empty body is the empty line after the fields alone. */
function isEndedByEmptyLine(body: Buffer): boolean {
  return body.length === 2 || body.subarray(-4).toString("latin1") === "\r\n\r\n";
}
