// A server from start to stop, worked with the command alone: serve, send, explain, hold, reload, and the spool after it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Test, test } from "tap";
import { runCli } from "./run-cli.ts";

const cliFile = fileURLToPath(new URL("../../src/cli/cli.ts", import.meta.url));
const startTimeoutMs = 20_000;

/** A config whose exchangers can never be found: the DNS server is a closed port. */
function configText(spool: string): string {
  return `hostname: mta1.example.com
shards: 1
spool: { path: ${spool}, map_size: 64MiB, free_space_min: 1MiB }
ingest: { smtp: [{ listen: "127.0.0.1:0" }] }
dns: { servers: ["127.0.0.1:1"], timeout: 100ms }
events: { path: ${spool}-events }
admin: { listen: "127.0.0.1:0" }
`;
}

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), "postern-serve-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

interface Running {
  readonly smtp: string;
  readonly admin: string;
  /** SIGTERM; resolves to the exit status. */
  stop(): Promise<number | null>;
}

/** Starts `postern serve` and reads from its log where it listens. */
async function serve(t: Test, config: string): Promise<Running> {
  const child = spawn(process.execPath, [cliFile, "serve", "--config", config], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = once(child, "exit");
  t.teardown(() => void child.kill("SIGKILL"));
  const limit = setTimeout(() => child.kill("SIGKILL"), startTimeoutMs);
  let smtp = "";
  let admin = "";
  let log = "";
  const lines = createInterface({ input: child.stderr });
  for await (const line of lines) {
    log += `${line}\n`;
    const entry = line.startsWith("{") ? JSON.parse(line) : {};
    smtp = entry.listening?.[0] ?? smtp;
    admin = entry.admin ?? admin;
    if (admin !== "") break;
  }
  clearTimeout(limit);
  child.stderr.resume();
  if (smtp === "" || admin === "") throw new Error(`the server did not start: ${log}`);
  return {
    smtp,
    admin: `http://${admin}`,
    async stop() {
      child.kill("SIGTERM");
      const [status] = await ended;
      return status as number | null;
    },
  };
}

test("mail that waits is explained and held, outlives the server, and moves to another spool", async (t) => {
  const cwd = folder(t);
  const config = join(cwd, "postern.yaml");
  const other = join(cwd, "other.yaml");
  writeFileSync(config, configText(join(cwd, "spool")));
  writeFileSync(other, configText(join(cwd, "other")));

  const server = await serve(t, config);
  const sent = await runCli([
    "send",
    "--to",
    "a@x.test",
    "b@y.test",
    "--from",
    "app@example.org",
    "--server",
    server.smtp,
  ]);
  const queueId = /^250 2\.0\.0 queued as ([0-9a-z]{16})\n$/.exec(sent.out)?.[1] as string;
  t.ok(queueId, sent.out + sent.err);

  const at = ["--admin", server.admin];
  const [explained, held, inUse] = await Promise.all([
    runCli(["explain", queueId, "--json", ...at]),
    runCli(["hold", "--domain", "y.test", "--reason", "a test", ...at]),
    runCli(["spool", "check", "--config", config]),
  ]);
  t.match(JSON.parse(explained.out), {
    queueId,
    reversePath: "app@example.org",
    entries: [{ recipients: [{ forwardPath: "a@x.test" }] }, { recipients: [{ forwardPath: "b@y.test" }] }],
  });
  t.match(held.out, /^held: 1 recipient \(hold /);
  t.equal(inUse.status, 1, "the spool of a running server is not touched");
  t.match(inUse.err, /is in use by process \d+; stop it first/);
  const queue = await runCli(["queue", "list", "--domain", "y.test", "--json", ...at]);
  t.match(JSON.parse(queue.out), { total: 1, queues: [{ domain: "y.test", recipients: 1, held: true }] });

  writeFileSync(config, `${configText(join(cwd, "spool"))}unknown_key: 1\n`);
  const reloaded = await runCli(["reload", ...at]);
  t.equal(reloaded.status, 1, "a bad file is refused and the server goes on");
  t.match(reloaded.err, 'postern.yaml:8:1: unknown key "unknown_key"');
  writeFileSync(config, configText(join(cwd, "spool")).replace("free_space_min: 1MiB", "free_space_min: 2MiB"));
  const notFollowed = await runCli(["reload", ...at]);
  t.equal(notFollowed.status, 1, "what would not be followed is refused, not dropped");
  t.match(notFollowed.err, "spool changes only at a restart");
  writeFileSync(config, configText(join(cwd, "spool")));
  t.equal((await runCli(["reload", ...at])).status, 0, "the same config is taken again");
  t.equal((await fetch(`${server.admin}/readyz`)).status, 200);
  t.match(await (await fetch(`${server.admin}/metrics`)).text(), 'postern_ingest_messages_total{stream="default"} 1\n');

  t.equal(await server.stop(), 0, "SIGTERM drains and ends with status 0");
  const check = await runCli(["spool", "check", "--config", config, "--json"]);
  t.match(JSON.parse(check.out), { ok: true, problems: 0, shards: [{ messages: 1, entries: 2, holds: 1 }] });
  const exported = await runCli(["spool", "export", join(cwd, "out"), "--config", config]);
  t.match(exported, { status: 0, out: /shard-0: 1 message,/ });
  const again = await runCli(["spool", "export", join(cwd, "out"), "--config", config]);
  t.match(again, { status: 1, err: /is not empty/ });
  const imported = await runCli(["spool", "import", join(cwd, "out"), "--config", other]);
  t.match(imported, { status: 0, out: /shard-0: 1 message taken in, 0 there already/ }, imported.err);
  const moved = await runCli(["spool", "check", "--config", other, "--json"]);
  t.match(JSON.parse(moved.out), { ok: true, shards: [{ messages: 1, entries: 2, holds: 1 }] });
});

test("a port that is taken ends the start with one clear line", async (t) => {
  const cwd = folder(t);
  const config = join(cwd, "postern.yaml");
  writeFileSync(config, configText(join(cwd, "spool")));
  const server = await serve(t, config);
  const second = join(cwd, "second.yaml");
  const taken = configText(join(cwd, "second")).replace(
    'smtp: [{ listen: "127.0.0.1:0"',
    `smtp: [{ listen: "${server.smtp}"`,
  );
  writeFileSync(
    second,
    taken.replace('admin: { listen: "127.0.0.1:0"', `admin: { listen: "${new URL(server.admin).host}"`),
  );
  const run = await runCli(["serve", "--config", second]);
  t.equal(run.status, 1);
  t.match(run.err, /(in use|EADDRINUSE)/);
  t.equal(await server.stop(), 0);
});
