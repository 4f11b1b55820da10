// Reads what a receiver delivered to a Maildir.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Copy } from "../peer.ts";

/** `recipientField`: the field in which the receiver says for whom a copy is. */
export function maildirCopies(folder: string, recipientField: string): Copy[] {
  const copies: Copy[] = [];
  const pattern = new RegExp(`^${recipientField}: *<?([^>\\n]+?)>?$`, "im");
  for (const part of ["new", "cur"]) {
    if (!existsSync(join(folder, part))) continue;
    for (const name of readdirSync(join(folder, part))) {
      const content = withCrlf(readFileSync(join(folder, part, name)));
      // The receiver's own fields stand first, so that the first match is its own.
      const recipient = pattern.exec(content.toString("utf8", 0, headBytes).replaceAll("\r", ""))?.[1];
      copies.push({ forwardPaths: [recipient ?? `no ${recipientField}`], content });
    }
  }
  return copies;
}

const headBytes = 4_096;

/** Unix programs keep lines with LF; there is no other LF in them, since none came without CR. */
export function withCrlf(content: Buffer): Buffer {
  let count = 0;
  for (let at = content.indexOf(10); at !== -1; at = content.indexOf(10, at + 1)) count++;
  const wire = Buffer.allocUnsafe(content.length + count);
  let to = 0;
  for (const octet of content) {
    if (octet === 10) wire[to++] = 13;
    wire[to++] = octet;
  }
  return wire;
}
