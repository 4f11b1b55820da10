// What `postern send` submits: a file, standard input, or a test message of its own.

import { randomUUID } from "node:crypto";
import { fstatSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { CommandFailure, note } from "./output.ts";

/** The content of the n-th message, from 0. */
export type SendContent = (index: number) => Buffer;

export interface ContentOptions {
  readonly file: string | undefined;
  readonly from: string;
  readonly to: readonly string[];
  readonly hostname: string;
  readonly subject: string | undefined;
  /** X-Postern-<name>: value. */
  readonly labels: Readonly<Record<string, string | undefined>>;
}

const contentBytesMax = 256 * 1024 * 1024;
/** Some callers leave the pipe open without writing into it. */
const silentInputMs = 2_000;

export async function readContent(options: ContentOptions): Promise<SendContent> {
  const labels = Object.entries(options.labels)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `X-Postern-${name}: ${oneLine(value as string)}\r\n`)
    .join("");
  const given = await readGiven(options.file);
  if (given === undefined) return (index) => testMessage(options, labels, index);
  const whole = Buffer.concat([Buffer.from(labels), given]);
  return () => whole;
}

/** The file or what was piped in; undefined when there is nothing. */
async function readGiven(file: string | undefined): Promise<Buffer | undefined> {
  if (file !== undefined && file !== "-") {
    try {
      return await readFile(file);
    } catch (cause) {
      throw new CommandFailure(`cannot read ${file} (${(cause as NodeJS.ErrnoException).code})`, { cause });
    }
  }
  if (file === "-") return readInput(undefined);
  if (process.stdin.isTTY || !isPipedInput()) return undefined;
  const input = await readInput(silentInputMs);
  return input.length === 0 ? undefined : input;
}

function isPipedInput(): boolean {
  try {
    const stat = fstatSync(0);
    return stat.isFIFO() || stat.isFile() || stat.isSocket();
  } catch {
    return false;
  }
}

/** All of standard input. With `silentMs`: nothing, when not one octet comes in that time. */
function readInput(silentMs: number | undefined): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let bytes = 0;
  const silence =
    silentMs === undefined
      ? undefined
      : setTimeout(() => {
          note("standard input stays silent: sending the test message (--file - would wait)");
          process.stdin.destroy();
          resolve(Buffer.alloc(0));
        }, silentMs);
  process.stdin.on("data", (chunk: Buffer) => {
    clearTimeout(silence);
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > contentBytesMax) reject(new CommandFailure("standard input is larger than 256 MiB"));
  });
  process.stdin.on("end", () => {
    clearTimeout(silence);
    resolve(Buffer.concat(chunks));
  });
  process.stdin.on("error", reject);
  return promise;
}

function testMessage(options: ContentOptions, labels: string, index: number): Buffer {
  const { from, to, hostname } = options;
  const lines = [
    `From: ${from === "" ? `postmaster@${hostname}` : from}`,
    `To: ${to.join(", ")}`,
    `Subject: ${oneLine(options.subject ?? `Postern test message ${index + 1}`)}`,
    // RFC 5322 section 3.3 wants a numeric zone.
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${randomUUID()}@${hostname}>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "",
    "This is a test message sent with `postern send`.",
    "",
  ];
  return Buffer.from(labels + lines.join("\r\n"));
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ");
}
