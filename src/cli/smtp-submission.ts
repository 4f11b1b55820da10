// Submits many messages over a few reused SMTP connections (nodemailer's client, independent of our own).

import SMTPConnection from "nodemailer/lib/smtp-connection";
import { CommandFailure } from "./output.ts";
import type { SendContent } from "./send-content.ts";

export interface SubmitTarget {
  readonly host: string;
  readonly port: number;
  readonly tls: "off" | "starttls" | "implicit";
  readonly user: string | undefined;
  readonly password: string | undefined;
}

/** What came of one message. `errors` also names recipients that were refused of an accepted one. */
export type Submission =
  | { readonly kind: "accepted"; readonly reply: string; readonly errors: readonly string[] }
  | { readonly kind: "refused"; readonly errors: readonly string[] };

export interface SubmitOptions {
  readonly target: SubmitTarget;
  readonly from: string;
  readonly to: readonly string[];
  readonly content: SendContent;
  readonly count: number;
  readonly connections: number;
  readonly onResult: (result: Submission) => void;
}

const connectTimeoutMs = 10_000;
const socketTimeoutMs = 120_000;

/** Submits `count` messages. Rejects with CommandFailure when the server cannot be reached or AUTH fails. */
export async function submitAll(options: SubmitOptions): Promise<void> {
  let next = 0;
  const take = () => (next < options.count ? next++ : undefined);
  const workers = Array.from({ length: Math.min(options.connections, options.count) }, () => submitSome(options, take));
  const results = await Promise.allSettled(workers);
  const failed = results.find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

async function submitSome(options: SubmitOptions, take: () => number | undefined): Promise<void> {
  let connection: SMTPConnection | undefined;
  try {
    for (let index = take(); index !== undefined; index = take()) {
      connection ??= await open(options.target);
      const result = await submit(connection, options, options.content(index));
      options.onResult(result.submission);
      // A connection that broke is not used again; one that refused a message is.
      if (result.broken) {
        connection.close();
        connection = undefined;
      }
    }
    connection?.quit();
  } catch (error) {
    connection?.close();
    throw error;
  }
}

async function open(target: SubmitTarget): Promise<SMTPConnection> {
  const where = `${target.host}:${target.port}`;
  const connection = new SMTPConnection({
    host: target.host,
    port: target.port,
    secure: target.tls === "implicit",
    ignoreTLS: target.tls === "off",
    requireTLS: target.tls === "starttls",
    tls: { rejectUnauthorized: false },
    connectionTimeout: connectTimeoutMs,
    greetingTimeout: connectTimeoutMs,
    socketTimeout: socketTimeoutMs,
  });
  const connected = Promise.withResolvers<void>();
  // Errors later than the connect reach the callback of the command under way too.
  connection.on("error", (error: Error) => connected.reject(error));
  connection.connect((error) => (error ? connected.reject(error) : connected.resolve()));
  try {
    await connected.promise;
    if (target.user !== undefined) await login(connection, target.user, target.password ?? "");
    return connection;
  } catch (cause) {
    connection.close();
    const { code, response } = cause as { code?: string; response?: string };
    if (response !== undefined) throw new CommandFailure(`${where} refused us: ${response}`, { cause });
    throw new CommandFailure(
      `cannot submit to ${where} (${code === "ESOCKET" || code === undefined ? (cause as Error).message : code}): is the server running?`,
      { cause },
    );
  }
}

function login(connection: SMTPConnection, user: string, pass: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  connection.login({ user, pass }, (error) => (error ? reject(error) : resolve()));
  return promise;
}

function submit(
  connection: SMTPConnection,
  options: SubmitOptions,
  content: Buffer,
): Promise<{ readonly submission: Submission; readonly broken: boolean }> {
  const { promise, resolve } = Promise.withResolvers<{ submission: Submission; broken: boolean }>();
  const envelope = { from: options.from, to: [...options.to], use8BitMime: content.some((octet) => octet > 127) };
  connection.send(envelope, content, (error, info) => {
    if (error) {
      const refusals = error.rejectedErrors?.map((one) => one.response ?? one.message) ?? [];
      const errors = refusals.length > 0 ? refusals : [error.response ?? error.message];
      resolve({ submission: { kind: "refused", errors }, broken: error.responseCode === undefined });
      return;
    }
    const errors = info.rejectedErrors?.map((one) => one.response ?? one.message) ?? [];
    resolve({ submission: { kind: "accepted", reply: info.response, errors }, broken: false });
  });
  return promise;
}
