// `postern reload`: the running server reads its config again, as on SIGHUP, and says what it found.

import { Command } from "commander";
import { callAdmin } from "./admin-client.ts";
import { type AdminOptions, countOf, examples, withAdminOptions, withJson } from "./options.ts";
import { CommandFailure, note, print, printJson } from "./output.ts";

export function reloadCommand(): Command {
  const command = new Command("reload")
    .description("make the running server read its config again; a bad file leaves the old one in force")
    .action(reload);
  return examples(withJson(withAdminOptions(command)), ["postern reload --config conf/postern.yaml"]);
}

async function reload(options: AdminOptions & { readonly json?: boolean }): Promise<void> {
  const { body } = await callAdmin(options, "POST", "/v1/reload");
  const { reloaded, errors } = body as { readonly reloaded: boolean; readonly errors: readonly string[] };
  if (options.json === true) printJson(body);
  if (!reloaded) {
    for (const error of errors) note(error);
    throw new CommandFailure(`the old config stays in force: the file has ${countOf(errors.length, "error")}`);
  }
  if (options.json !== true) print("reloaded");
}
