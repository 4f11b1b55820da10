// curl, which keeps its connection from one message to the next.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { contentOf, type Message } from "../corpus.ts";
import type { SubmissionPlace, Submitter } from "../peer.ts";
import { hasProgram, run } from "../processes.ts";

const messagesPerRun = 25;
const runMs = 120_000;

export const curl: Submitter = {
  name: "curl",
  package: "curl",
  share: 4,
  smtpUtf8: true,
  canLogIn: true,
  recipientsMax: 100,
  lineBytesMax: 30_000,
  isInstalled: () => hasProgram("curl"),
  async submit(messages, place) {
    const problems: string[] = [];
    for (let at = 0; at < messages.length; at += messagesPerRun) {
      problems.push(...(await submitSome(messages.slice(at, at + messagesPerRun), place)));
    }
    return problems;
  },
};

async function submitSome(messages: readonly Message[], place: SubmissionPlace): Promise<string[]> {
  const config = join(place.folder, "curl.conf");
  const fileOf = ({ id }: Message): string => join(place.folder, `${id}.eml`);
  for (const message of messages) writeFileSync(fileOf(message), contentOf(message));
  const entries = messages.map((message) =>
    [
      `url = "smtp://${place.host}:${place.port}/curl.rsa.test"`,
      "silent",
      "show-error",
      ...(place.login === undefined
        ? []
        : ["ssl-reqd", "insecure", `user = "${place.login.user}:${place.login.password}"`]),
      `mail-from = "${message.reversePath}"`,
      ...message.forwardPaths.map((path) => `mail-rcpt = "${path}"`),
      `upload-file = "${fileOf(message)}"`,
      // The reply is not shown; this line is, in its place.
      `write-out = "${message.id} %{response_code} %{errormsg}\\n"`,
      'output = "/dev/null"',
    ].join("\n"),
  );
  writeFileSync(config, entries.join("\nnext\n"));
  const { stdout, stderr } = await run({ command: "curl", args: ["--config", config] }, "", runMs);
  for (const message of messages) rmSync(fileOf(message));
  const taken = new Set([...stdout.matchAll(/^(\d+) 250 /gm)].map(([, id]) => Number(id)));
  return messages
    .filter(({ id }) => !taken.has(id))
    .map(
      ({ id, form }) =>
        `message ${id} (${form}): ${new RegExp(`^${id} .*`, "m").exec(stdout)?.[0] ?? stderr.slice(-300)}`,
    );
}
