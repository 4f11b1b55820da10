// Python's smtplib (smtplib-submit.py).

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { contentOf } from "../corpus.ts";
import type { SubmissionPlace, Submitter } from "../peer.ts";
import { run } from "../processes.ts";
import { hasPythonModule, python } from "../python.ts";

const script = fileURLToPath(new URL("smtplib-submit.py", import.meta.url));
const runMs = 300_000;

export const smtplib: Submitter = {
  name: "smtplib",
  package: "python3",
  share: 6,
  smtpUtf8: true,
  canLogIn: true,
  recipientsMax: 100,
  lineBytesMax: 30_000,
  isInstalled: () => hasPythonModule("smtplib"),
  async submit(messages, place) {
    const file = ({ id }: { readonly id: number }): string => join(place.folder, `${id}.eml`);
    for (const message of messages) writeFileSync(file(message), contentOf(message));
    const list = messages.map((message) => ({
      id: message.id,
      file: file(message),
      from: message.reversePath,
      to: message.forwardPaths,
      smtpUtf8: message.smtpUtf8,
    }));
    const what = { command: python, args: [script, place.host, String(place.port), ...loginOf(place)] };
    const { code, stdout, stderr } = await run(what, JSON.stringify(list), runMs);
    for (const message of messages) rmSync(file(message));
    const problems = stdout.split("\n").filter((line) => line !== "");
    return code === 0 ? problems : [...problems, `exit ${code}: ${stderr.slice(-500)}`];
  },
};

function loginOf({ login }: SubmissionPlace): string[] {
  return login === undefined ? [] : [login.user, login.password];
}
