// The verbs put together, and what happens turned into an exit status: 0 done, 1 failed or refused, 2 wrong usage.

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { actionCommand } from "./action-command.ts";
import { checkCommand } from "./check-command.ts";
import { dkimCommand } from "./dkim-command.ts";
import { explainCommand } from "./explain-command.ts";
import { laneCommand } from "./lane-command.ts";
import { CommandFailure, note, UsageFailure } from "./output.ts";
import { queueCommand } from "./queue-command.ts";
import { reloadCommand } from "./reload-command.ts";
import { sendCommand } from "./send-command.ts";
import { serveCommand } from "./serve-command.ts";
import { spoolCommand } from "./spool-command.ts";
import { topCommand } from "./top-command.ts";
import { userCommand } from "./user-command.ts";

export function buildProgram(): Command {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const program = new Command("postern")
    .description("An outbound MTA that owns its delivery.")
    .version(version)
    .addHelpText("after", "\nExit status: 0 done, 1 failed or refused, 2 wrong usage.");
  const verbs = [
    serveCommand(),
    checkCommand(),
    sendCommand(),
    topCommand(),
    queueCommand(),
    explainCommand(),
    laneCommand(),
    actionCommand("hold"),
    actionCommand("release"),
    actionCommand("cancel"),
    actionCommand("retry"),
    reloadCommand(),
    spoolCommand(),
    dkimCommand(),
    userCommand(),
  ];
  for (const verb of verbs) program.addCommand(verb);
  speakOnOneLine(program);
  return program;
}

/** Usage errors take one line that says where help is. Commander keeps these settings per command. */
function speakOnOneLine(command: Command, words: readonly string[] = [command.name()]): void {
  command.exitOverride().configureOutput({
    outputError: (text, write) => {
      const line = text
        .trim()
        .replace(/^error: /, "")
        .replaceAll(/\s*\n\s*/g, " ");
      write(`${words.join(" ")}: ${line} (see ${words.join(" ")} --help)\n`);
    },
  });
  for (const child of command.commands) speakOnOneLine(child, [...words, child.name()]);
}

/** Runs the command line `argv` (as in process.argv) and resolves to the exit status. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  try {
    await buildProgram().parseAsync(argv);
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof UsageFailure) {
      note(`postern: ${error.message}`);
      return 2;
    }
    if (error instanceof CommandFailure) {
      if (error.message !== "") note(`postern: ${error.message}`);
      return 1;
    }
    throw error;
  }
}
