// `postern hold`, `release`, `cancel`, `retry`: operator actions on what is selected. They survive a restart.

import { userInfo } from "node:os";
import { Command } from "commander";
import type { OperatorAction } from "../admin/admin.ts";
import type { ActionResult } from "../queue/queue.ts";
import { callAdmin } from "./admin-client.ts";
import { type AdminOptions, countOf, examples, withAdminOptions, withJson } from "./options.ts";
import { print, printJson, UsageFailure } from "./output.ts";

interface ActionOptions extends AdminOptions {
  readonly domain?: string;
  readonly stream?: string;
  readonly job?: string;
  readonly tenant?: string;
  readonly queueId?: string;
  readonly reason?: string;
  readonly json?: boolean;
}

const descriptions: Readonly<Record<OperatorAction, string>> = {
  hold: "stop attempts of what is selected until it is released; new mail that matches waits too",
  release: "end the holds of exactly this selection",
  cancel: "give up what is selected for good, without telling the reverse-path",
  retry: "make what is selected due now",
};

const done: Readonly<Record<OperatorAction, string>> = {
  hold: "held",
  release: "released",
  cancel: "cancelled",
  retry: "made due",
};

export function actionCommand(action: OperatorAction): Command {
  const command = new Command(action)
    .description(descriptions[action])
    .option("--domain <domain>", "destination domain")
    .option("--stream <name>", "stream")
    .option("--job <name>", "job (X-Postern-Job)")
    .option("--tenant <name>", "tenant (X-Postern-Tenant)")
    .option("--queue-id <id>", "one message")
    .option("--reason <text>", "shown with the hold and in the delivery log")
    .action((options: ActionOptions) => act(action, options));
  return examples(withJson(withAdminOptions(command)), [
    `postern ${action} --domain example.com`,
    `postern ${action} --stream news --job spring-sale --reason "wrong link"`,
  ]);
}

async function act(action: OperatorAction, options: ActionOptions): Promise<void> {
  const { domain, stream, job, tenant, queueId, reason } = options;
  const selection = { domain, stream, job, tenant, queueId };
  if (Object.values(selection).every((value) => value === undefined)) {
    throw new UsageFailure("say what it is about with at least one of --domain, --stream, --job, --tenant, --queue-id");
  }
  const { body } = await callAdmin(options, "POST", `/v1/${action}`, { ...selection, reason, by: userInfo().username });
  if (options.json === true) return printJson(body);
  const { recipients, hold } = body as ActionResult;
  print(`${done[action]}: ${countOf(recipients, "recipient")}${hold === undefined ? "" : ` (hold ${hold.id})`}`);
}
