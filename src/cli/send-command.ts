// `postern send`: submits a test message, one file, or standard input, once or many times over reused connections.

import { existsSync } from "node:fs";
import { Command } from "commander";
import { parseListen } from "../config/address.ts";
import type { Config, SmtpListenerConfig } from "../config/config.ts";
import { countOf, defaultConfigFile, examples, positiveInteger, requireConfig, withJson } from "./options.ts";
import { CommandFailure, note, print, printJson, UsageFailure } from "./output.ts";
import { readContent, type SendContent } from "./send-content.ts";
import type { Submission, SubmitTarget } from "./smtp-submission.ts";

interface SendOptions {
  readonly to: readonly string[];
  readonly from?: string;
  readonly file?: string;
  readonly server?: string;
  readonly config?: string;
  readonly count: number;
  readonly connections?: number;
  readonly stream?: string;
  readonly job?: string;
  readonly tenant?: string;
  readonly subject?: string;
  readonly user?: string;
  readonly passwordEnv: string;
  readonly tls?: boolean;
  readonly json?: boolean;
}

const defaultServer = "127.0.0.1:2525";
const connectionsDefaultMax = 8;
const queueIdsShownMax = 1_000;
const errorsShownMax = 10;
const progressEveryMs = 1_000;

export function sendCommand(): Command {
  const command = new Command("send")
    .description("submit a test message, a file, or standard input")
    .requiredOption("--to <address...>", "forward-paths")
    .option("--from <address>", "reverse-path (default: postmaster at the config's hostname); '<>' for the null one")
    .option("--file <file>", "message with header section; '-' for standard input")
    .option("--server <host:port>", `where to submit (default: the config's first listener, or ${defaultServer})`)
    .option("--config <file>", `config that says where to submit (default: ${defaultConfigFile}, if there is one)`)
    .option("--count <n>", "how many times", positiveInteger, 1)
    .option("--connections <n>", "connections at once", positiveInteger)
    .option("--stream <name>", "X-Postern-Stream")
    .option("--job <name>", "X-Postern-Job")
    .option("--tenant <name>", "X-Postern-Tenant")
    .option("--subject <text>", "Subject of the test message")
    .option("--user <name>", "AUTH as this user")
    .option("--password-env <name>", "environment variable with the password", "POSTERN_PASSWORD")
    .option("--tls", "use STARTTLS, certificate not checked")
    .action(send);
  return examples(withJson(command), [
    "postern send --to someone@example.com",
    "postern send --to a@example.com b@example.com --from app@example.org --stream receipts",
    "postern send --to load@example.com --count 5000 --connections 8",
    "postern send --to someone@example.com --file message.eml --server 127.0.0.1:2525",
  ]);
}

async function send(options: SendOptions): Promise<void> {
  const { target, hostname } = await locate(options);
  const from = options.from === "<>" ? "" : (options.from ?? `postmaster@${hostname}`);
  for (const address of [...options.to, ...(from === "" ? [] : [from])]) {
    if (!/^[^\s<>]+@[^\s<>@]+$/.test(address))
      throw new UsageFailure(`"${address}" is not an address such as a@example.com`);
  }
  const content = await readContent({
    file: options.file,
    from,
    to: options.to,
    hostname,
    subject: options.subject,
    labels: { Stream: options.stream, Job: options.job, Tenant: options.tenant },
  });
  await sendAll(options, target, from, content);
}

async function sendAll(options: SendOptions, target: SubmitTarget, from: string, content: SendContent): Promise<void> {
  const { submitAll } = await import("./smtp-submission.ts");
  const startedAt = performance.now();
  const found = { accepted: 0, refused: 0, queueIds: [] as string[], replies: [] as string[], errors: [] as string[] };
  const seconds = () => (performance.now() - startedAt) / 1_000;
  const progress = setInterval(() => {
    if (options.count > 1 && process.stderr.isTTY) {
      process.stderr.write(
        `\r${found.accepted + found.refused} of ${options.count}, ${Math.round(found.accepted / seconds())}/s `,
      );
    }
  }, progressEveryMs);
  const onResult = (result: Submission) => {
    if (result.kind === "accepted") {
      found.accepted++;
      if (found.replies.length < errorsShownMax) found.replies.push(result.reply);
      const queueId = /queued as ([0-9a-z]+)/.exec(result.reply)?.[1];
      if (queueId !== undefined && found.queueIds.length < queueIdsShownMax) found.queueIds.push(queueId);
    } else {
      found.refused++;
    }
    for (const error of result.errors) if (found.errors.length < errorsShownMax) found.errors.push(error);
  };
  try {
    const connections = options.connections ?? Math.min(options.count, connectionsDefaultMax);
    await submitAll({ target, from, to: options.to, content, count: options.count, connections, onResult });
  } finally {
    clearInterval(progress);
    if (options.count > 1 && process.stderr.isTTY) process.stderr.write("\r");
  }
  report(options, found, seconds());
}

function report(
  options: SendOptions,
  found: { accepted: number; refused: number; queueIds: string[]; replies: string[]; errors: string[] },
  seconds: number,
): void {
  const { accepted, refused, queueIds, errors } = found;
  const perSecond = Math.round(accepted / Math.max(seconds, 0.001));
  if (options.json === true) {
    printJson({ accepted, refused, seconds: Number(seconds.toFixed(3)), perSecond, queueIds, errors });
  } else if (options.count === 1) {
    for (const reply of found.replies) print(reply);
  } else {
    print(`${accepted} accepted, ${refused} refused in ${seconds.toFixed(1)} s (${perSecond}/s)`);
  }
  if (errors.length === 0) return;
  if (errors.length > 1) for (const error of errors.slice(0, -1)) note(error);
  throw new CommandFailure(errors.at(-1) ?? `${countOf(refused, "message")} refused`);
}

/** Where to submit: --server, else the config's first listener, else the usual place on this machine. */
async function locate(options: SendOptions): Promise<{ target: SubmitTarget; hostname: string }> {
  const config = await configIfAny(options);
  const listener: SmtpListenerConfig | undefined = options.server === undefined ? config?.ingest.smtp[0] : undefined;
  const at = listener?.listen ?? hostAndPort(options.server ?? defaultServer);
  const password = process.env[options.passwordEnv];
  if (options.user !== undefined && password === undefined) {
    throw new UsageFailure(`--user needs the password in the environment variable ${options.passwordEnv}`);
  }
  return {
    hostname: config?.hostname ?? "localhost",
    target: {
      host: at.host === "0.0.0.0" ? "127.0.0.1" : at.host,
      port: at.port,
      tls: listener?.tls?.mode === "implicit" ? "implicit" : options.tls === true ? "starttls" : "off",
      user: options.user,
      password,
    },
  };
}

/** A config is needed for what is not given; where there is none, and none was named, we go without. */
async function configIfAny(options: SendOptions): Promise<Config | undefined> {
  if (options.config !== undefined) return requireConfig(options.config);
  if (options.server !== undefined && options.from !== undefined) return undefined;
  return existsSync(defaultConfigFile) ? requireConfig(defaultConfigFile) : undefined;
}

function hostAndPort(text: string): { host: string; port: number } {
  const listen = parseListen(text);
  if (listen !== undefined) return listen;
  const match = /^([A-Za-z0-9.-]+):(\d{1,5})$/.exec(text);
  if (match === null) throw new UsageFailure(`--server ${text} is not HOST:PORT, such as 127.0.0.1:2525`);
  return { host: match[1] as string, port: Number(match[2]) };
}
