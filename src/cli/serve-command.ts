// `postern serve`: runs the MTA in the foreground.

import { Command } from "commander";
import { examples, requireConfig } from "./options.ts";
import { CommandFailure, note } from "./output.ts";

export function serveCommand(): Command {
  const command = new Command("serve")
    .description("run the MTA in the foreground; SIGTERM drains, SIGHUP reloads the config")
    .requiredOption("--config <file>", "config file")
    .action(async ({ config }: { config: string }) => {
      await requireConfig(config);
      // Loaded here only: no other verb needs the server's code.
      const { runServer } = await import("../main.ts");
      let status: number;
      try {
        status = await runServer({ configFile: config });
      } catch (cause) {
        throw new CommandFailure(startFailure(cause), { cause });
      }
      // Whatever a thread still has to do goes with the process.
      process.exit(status);
    });
  return examples(command, ["postern serve --config conf/postern.yaml"]);
}

/** Every cause on its line; the last one goes into the failure. */
function startFailure(cause: unknown): string {
  const lines = (cause instanceof Error ? cause.message : String(cause)).split("\n").filter((line) => line !== "");
  for (const line of lines.slice(0, -1)) note(line);
  return lines.at(-1) ?? "the server could not start";
}
