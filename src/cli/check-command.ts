// `postern check`: validates the config whole, with the files it names.

import { Command } from "commander";
import { defaultConfigFile, examples, withJson } from "./options.ts";

export interface CheckOptions {
  readonly config: string;
  readonly print?: boolean;
  readonly schema?: boolean;
  readonly json?: boolean;
}

export function checkCommand(): Command {
  const command = new Command("check")
    .description("validate the config whole; errors as FILE:LINE:COLUMN: message")
    .option("--config <file>", "config file", defaultConfigFile)
    .option("--print", "show it with all defaults, secrets masked")
    .option("--schema", "print the JSON Schema of config files instead, for editors")
    .action(async (options: CheckOptions) => {
      const { checkConfig } = await import("./config-check.ts");
      await checkConfig(options);
    });
  return examples(withJson(command), [
    "postern check --config conf/postern.yaml",
    "postern check --config conf/postern.yaml --print",
    "postern check --schema > conf/postern.schema.json",
  ]);
}
