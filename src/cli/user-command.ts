// `postern user password`: makes the hash that stands in the config for a user's password.

import { Command } from "commander";
import { hashPassword, passwordCharactersMax } from "../ingest/password.ts";
import { examples, withJson } from "./options.ts";
import { CommandFailure, print, printJson } from "./output.ts";

const interruptKey = "\u0003";
const endKeys = new Set(["\r", "\n", "\u0004"]);
const eraseKeys = new Set(["\b", "\u007f"]);

export function userCommand(): Command {
  const password = new Command("password")
    .description("hash a password for users.<name>.password_scrypt; asks for it, or reads a line of standard input")
    .action(makeHash);
  examples(withJson(password), ["postern user password", "pass show mta/app1 | postern user password"]);
  return new Command("user").description("submitting users").addCommand(password);
}

async function makeHash(options: { readonly json?: boolean }): Promise<void> {
  const password = process.stdin.isTTY ? await askTwice() : await firstLine();
  if (password === "") throw new CommandFailure("the password is empty: type one, or pipe it in");
  if (password.length > passwordCharactersMax) {
    throw new CommandFailure(`the password is longer than ${passwordCharactersMax} characters`);
  }
  const hash = await hashPassword(password);
  if (options.json === true) return printJson({ password_scrypt: hash });
  print(hash);
}

async function askTwice(): Promise<string> {
  const first = await ask("Password: ");
  if ((await ask("Again: ")) !== first) throw new CommandFailure("the two passwords differ: try again");
  return first;
}

/** Reads a line from the terminal without showing it. */
function ask(prompt: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  process.stderr.write(prompt);
  process.stdin.setRawMode(true).setEncoding("utf8").resume();
  let typed = "";
  const finish = (settle: () => void) => {
    process.stdin.removeListener("data", read).setRawMode(false).pause();
    process.stderr.write("\n");
    settle();
  };
  const read = (keys: string) => {
    for (const key of keys) {
      if (key === interruptKey) return finish(() => reject(new CommandFailure("nothing was changed")));
      if (endKeys.has(key)) return finish(() => resolve(typed));
      typed = eraseKeys.has(key) ? typed.slice(0, -1) : typed + key;
    }
  };
  process.stdin.on("data", read);
  return promise;
}

async function firstLine(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += chunk;
    if (text.includes("\n") || text.length > 2 * passwordCharactersMax) break;
  }
  return text.split(/\r?\n/)[0] ?? "";
}
