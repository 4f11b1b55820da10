// `postern queue list` and `queue show`: what waits, for what, and the last errors.

import { Command } from "commander";
import type { QueueSummary } from "../queue/queue.ts";
import { callAdmin, errorOf } from "./admin-client.ts";
import { type AdminOptions, examples, withAdminOptions, withJson } from "./options.ts";
import { CommandFailure, formatInstant, formatSpan, formatTable, print, printJson } from "./output.ts";

interface QueueListOptions extends AdminOptions {
  readonly stream?: string;
  readonly domain?: string;
  readonly json?: boolean;
}

interface QueuesAnswer {
  readonly queues: readonly QueueSummary[];
  readonly total: number;
}

export function queueCommand(): Command {
  const list = new Command("list")
    .description("queues: recipients, in flight, oldest, what the head waits for; the longest first")
    .option("--stream <name>", "only this stream")
    .option("--domain <domain>", "only this destination domain")
    .action(listQueues);
  const show = new Command("show")
    .description("the queues of one destination domain with their last errors")
    .argument("<domain>", "destination domain")
    .action(showQueue);
  examples(withJson(withAdminOptions(list)), ["postern queue list --stream news", "postern queue list --json"]);
  examples(withJson(withAdminOptions(show)), ["postern queue show example.com"]);
  return new Command("queue").description("what waits for delivery").addCommand(list).addCommand(show);
}

async function listQueues(options: QueueListOptions): Promise<void> {
  const query = new URLSearchParams();
  if (options.stream !== undefined) query.set("stream", options.stream);
  if (options.domain !== undefined) query.set("domain", options.domain);
  const answer = await callAdmin(options, "GET", `/v1/queues?${query}`);
  const { queues, total } = answer.body as QueuesAnswer;
  if (options.json === true) return printJson(answer.body);
  if (total === 0) return print("no mail waits");
  print(
    formatTable(["STREAM", "DOMAIN", "SITE", "RECIPIENTS", "IN FLIGHT", "OLDEST DUE", "WAITS FOR"], queues.map(row)),
  );
  if (queues.length < total) print(`and ${total - queues.length} more: narrow it with --stream or --domain`);
}

function row(queue: QueueSummary): (string | number)[] {
  const { stream, domain, site, recipients, inFlight, oldestDueAt, waitsFor } = queue;
  const late =
    oldestDueAt === undefined ? "-" : oldestDueAt > Date.now() ? "not due" : formatSpan(Date.now() - oldestDueAt);
  return [stream, domain, site ?? "-", recipients, inFlight, late, queue.held ? "a hold" : waitsFor];
}

async function showQueue(domain: string, options: AdminOptions & { readonly json?: boolean }): Promise<void> {
  const answer = await callAdmin(options, "GET", `/v1/queues/${encodeURIComponent(domain)}`);
  if (answer.status === 404) throw new CommandFailure(errorOf(answer));
  if (options.json === true) return printJson(answer.body);
  const blocks = (answer.body as QueuesAnswer).queues.map((queue) =>
    [
      `${queue.domain} in stream ${queue.stream}, site ${queue.site ?? "not known yet"}`,
      `  waits       ${queue.recipients} recipients in ${queue.entries} entries, ${queue.inFlight} in flight${queue.held ? ", held" : ""}`,
      `  oldest due  ${formatInstant(queue.oldestDueAt)}`,
      `  next due    ${formatInstant(queue.nextDueAt)}`,
      `  waits for   ${queue.waitsFor}`,
      `  last error  ${queue.lastError === undefined ? "-" : `${formatInstant(queue.lastError.at)}: ${queue.lastError.text}`}`,
    ].join("\n"),
  );
  print(blocks.join("\n\n"));
}
