// For programs that submit one message each time they run: files for them, and a bounded number of runs at once.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { contentOf, type Message } from "../corpus.ts";
import type { SubmissionPlace } from "../peer.ts";
import { type Command, run } from "../processes.ts";

const atOnce = 4;
const submissionMs = 60_000;

export interface OneRun {
  /**
   * The program reads Unix text (LF). "open": it ends the last line itself, whether or not it is ended, so that the file
   * goes without its last LF.
   */
  readonly lastLine: "ended" | "open";
  readonly command: (message: Message, file: string) => Command;
  /** The file goes to standard input as well. */
  readonly byInput?: boolean;
}

export async function submitEach(messages: readonly Message[], place: SubmissionPlace, one: OneRun): Promise<string[]> {
  const problems: string[] = [];
  const waiting = messages.values();
  const worker = async (): Promise<void> => {
    for (const message of waiting) {
      const text = unixText(contentOf(message));
      const content = one.lastLine === "open" ? text.subarray(0, -1) : text;
      const file = join(place.folder, `${message.id}.eml`);
      writeFileSync(file, content);
      const { code, stdout, stderr } = await run(one.command(message, file), one.byInput ? content : "", submissionMs);
      if (code !== 0)
        problems.push(`message ${message.id} (${message.form}): exit ${code}: ${lastLine(stderr || stdout)}`);
      rmSync(file);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return problems;
}

/** The corpus has CR and LF in line ends only. */
function unixText(content: Buffer): Buffer {
  return Buffer.from(content.toString("latin1").replaceAll("\r\n", "\n"), "latin1");
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").slice(-3).join(" | ").slice(0, 500);
}
