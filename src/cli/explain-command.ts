// `postern explain`: where a message is, what was tried so far, and what each recipient waits for.

import { Command } from "commander";
import type { MessageExplanation } from "../queue/queue.ts";
import { callAdmin, errorOf } from "./admin-client.ts";
import { type AdminOptions, examples, withAdminOptions, withJson } from "./options.ts";
import { CommandFailure, formatBytes, formatInstant, print, printJson } from "./output.ts";

export function explainCommand(): Command {
  const command = new Command("explain")
    .description("where a message is, what each recipient waits for and until when, and which config line decides")
    .argument("<queue-id>", "the id in the 250 reply and in the delivery log")
    .action(explain);
  return examples(withJson(withAdminOptions(command)), ["postern explain 01hf3k2m9a00b7xq"]);
}

async function explain(queueId: string, options: AdminOptions & { readonly json?: boolean }): Promise<void> {
  const answer = await callAdmin(options, "GET", `/v1/messages/${encodeURIComponent(queueId)}`);
  if (answer.status === 404) throw new CommandFailure(errorOf(answer));
  if (options.json === true) return printJson(answer.body);
  print(describeMessage(answer.body as MessageExplanation));
}

function describeMessage(message: MessageExplanation): string {
  const lines = [
    `message       ${message.queueId}, ${formatBytes(message.contentBytes)}, stream ${message.stream}`,
    `reverse-path  <${message.reversePath}>`,
    `tenant, job   ${message.tenant ?? "-"}, ${message.job ?? "-"}`,
    `accepted      ${formatInstant(message.receivedAt)}`,
    `expires       ${formatInstant(message.expiresAt)}`,
  ];
  for (const entry of message.entries) {
    lines.push(
      "",
      `${entry.domain} (site ${entry.site ?? "not known yet"}), attempts: ${entry.attempts}`,
      `  waits for   ${entry.waitsFor}`,
      `  due         ${formatInstant(entry.dueAt)}`,
      ...entry.history.map(
        ({ at, source, remote, result }) =>
          `  attempt     ${formatInstant(at)} from ${source ?? "-"} to ${remote ?? "-"}: ${result}`,
      ),
      ...entry.recipients.map(
        ({ forwardPath, state, detail }) => `  <${forwardPath}>  ${state}${detail === "" ? "" : `: ${detail}`}`,
      ),
    );
  }
  return lines.join("\n");
}
