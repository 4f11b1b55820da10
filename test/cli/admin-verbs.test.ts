// The verbs that speak to a running server: what they ask of the admin API and what they show.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Test, test } from "tap";
import type { AdminBackend } from "../../src/admin/admin.ts";
import { openAdmin } from "../../src/admin/admin-server.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { laneSummary } from "../support/lane-summary.ts";
import { runCli } from "./run-cli.ts";

const token = "correct-horse-battery";
const known = "0123456789abcdef";

interface Served {
  readonly calls: unknown[][];
  /** A config that names the server's port. */
  readonly config: string;
  readonly url: string;
}

/** A server of the admin API that wants the token and answers for one queue, one lane and one message. */
async function serve(t: Test, reload: Awaited<ReturnType<AdminBackend["reload"]>>): Promise<Served> {
  const calls: unknown[][] = [];
  const backend: AdminBackend = {
    async queues(filter) {
      calls.push(["queues", filter]);
      if (filter.domain !== undefined && filter.domain !== "a.test") return [];
      return [
        {
          stream: "news",
          domain: "a.test",
          site: "google",
          entries: 3,
          recipients: 7,
          held: false,
          oldestDueAt: Date.now() - 200_000,
          nextDueAt: undefined,
          inFlight: 1,
          lastError: { at: Date.now() - 5_000, text: "421 4.7.28 slow down" },
          waitsFor: "the rate of google (conf/sites.yaml:19)",
        },
      ];
    },
    async lanes() {
      return [
        {
          ...laneSummary,
          suspendedUntil: Date.now() + 600_000,
          suspendedBecause: "421 4.7.28",
          lastReplies: [{ at: Date.now(), text: "250 2.0.0 OK" }],
        },
      ];
    },
    async explain(queueId) {
      if (queueId !== known) return undefined;
      return {
        queueId,
        stream: "news",
        tenant: undefined,
        job: "j1",
        reversePath: "app@example.org",
        contentBytes: 2_048,
        receivedAt: Date.now() - 60_000,
        expiresAt: Date.now() + 60_000,
        entries: [
          {
            domain: "a.test",
            site: "google",
            attempts: 2,
            dueAt: Date.now() + 30_000,
            waitsFor: "its retry time",
            history: [
              {
                at: Date.now() - 30_000,
                source: "s1",
                remote: "mx1.a.test [192.0.2.7]",
                result: "transient: 450 busy",
              },
            ],
            recipients: [{ forwardPath: "x@a.test", state: "pending", detail: "450 busy" }],
          },
        ],
      };
    },
    async act(...all) {
      calls.push(["act", ...all]);
      return { recipients: 7 };
    },
    holds: async () => [],
    metrics: async () => ({ contentType: "text/plain", text: "" }),
    health: async () => ({ live: true, ready: true, reasons: [] }),
    reload: async () => reload,
  };
  const listen = { host: "127.0.0.1", port: 0 };
  const server = await openAdmin({ config: { listen, tokenEnv: "T" }, token, backend, log: silentLog });
  const folder = mkdtempSync(join(tmpdir(), "postern-cli-"));
  t.teardown(async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const config = join(folder, "postern.yaml");
  writeFileSync(
    config,
    `hostname: mta1.example.com\ningest: { smtp: [{ listen: 127.0.0.1:2525 }] }\nadmin: { listen: "127.0.0.1:${server.address.port}", token_env: CLI_TEST_TOKEN }\n`,
  );
  return { calls, config, url: `http://127.0.0.1:${server.address.port}` };
}

const env = { CLI_TEST_TOKEN: token };

test("an operator looks at queues, lanes and a message", async (t) => {
  const { calls, url, config } = await serve(t, { reloaded: true, errors: [] });
  const run = (...args: string[]) => runCli([...args, "--admin", url, "--token-env", "CLI_TEST_TOKEN"], { env });
  const [list, json, show, none, lanes, lane, noLane, explained, unknown] = await Promise.all([
    runCli(["queue", "list", "--stream", "news", "--config", config], { env }),
    run("queue", "list", "--json"),
    run("queue", "show", "A.test"),
    run("queue", "show", "none.test"),
    run("lane", "list"),
    run("lane", "show", "a1", "google"),
    run("lane", "show", "a1", "yahoo"),
    run("explain", known),
    run("explain", "0000000000000000"),
  ]);
  t.match(
    list.out,
    /STREAM +DOMAIN +SITE +RECIPIENTS +IN FLIGHT +OLDEST DUE +WAITS FOR\nnews +a\.test +google +7 +1 +3m20s +the rate of google/,
  );
  t.ok(calls.some((call) => JSON.stringify(call) === '["queues",{"stream":"news"}]'));
  t.match(JSON.parse(json.out), { total: 1, queues: [{ domain: "a.test", recipients: 7 }] });
  t.match(show.out, /last error {2}.* \(5s ago\): 421 4\.7\.28 slow down/);
  t.same(none, { status: 1, out: "", err: "postern: no mail waits for none.test\n" });
  t.match(lanes.out, /a1 +google +4 +2\+3\+1\/20 +30\/s +\d{4}-/);
  t.match(lane.out, /suspended {5}until .* \(in (10m|9m5\ds)\): 421 4\.7\.28/);
  t.equal(noLane.status, 1);
  t.match(noLane.err, "no lane a1 yahoo is in use");
  t.match(explained.out, /a\.test \(site google\), attempts: 2\n {2}waits for {3}its retry time/);
  t.match(explained.out, /attempt .* from s1 to mx1\.a\.test \[192\.0\.2\.7\]: transient: 450 busy/);
  t.match(explained.out, "<x@a.test>  pending: 450 busy");
  t.equal(unknown.status, 1);
  t.match(unknown.err, "postern: no message 0000000000000000 in the queue: look in the delivery log\n");
});

test("an action passes on exactly what was selected, and who does it", async (t) => {
  const { calls, config } = await serve(t, { reloaded: true, errors: [] });
  const held = await runCli(
    ["hold", "--domain", "A.test", "--job", "j1", "--reason", "wrong link", "--config", config],
    { env },
  );
  t.same([held.status, held.out], [0, "held: 7 recipients\n"], held.err);
  t.match(calls, [["act", "hold", { domain: "a.test", job: "j1" }, "wrong link", /./]]);
  t.same(JSON.parse(JSON.stringify(calls[0]?.[2])), { domain: "a.test", job: "j1" });
  const bad = await runCli(["cancel", "--queue-id", "x", "--config", config], { env });
  t.equal(bad.status, 1);
  t.match(bad.err, /refused \(400\): body\/queueId must match pattern/);
  t.equal(calls.length, 1);
});

test("a refused reload is status 1 with every error; a good one says so", async (t) => {
  const good = await serve(t, { reloaded: true, errors: [] });
  const bad = await serve(t, { reloaded: false, errors: ["conf/x.yaml:3:1: no", "conf/x.yaml:4:1: no"] });
  t.same(await runCli(["reload", "--config", good.config], { env }), { status: 0, out: "reloaded\n", err: "" });
  t.same(await runCli(["reload", "--config", bad.config], { env }), {
    status: 1,
    out: "",
    err: "conf/x.yaml:3:1: no\nconf/x.yaml:4:1: no\npostern: the old config stays in force: the file has 2 errors\n",
  });
});

test("a wrong token, no server and --admin are told apart", async (t) => {
  const { config, url } = await serve(t, { reloaded: true, errors: [] });
  const [wrong, direct, custom, nobody] = await Promise.all([
    runCli(["queue", "list", "--config", config], { env: { CLI_TEST_TOKEN: "wrong-token" } }),
    runCli(["queue", "list", "--admin", url, "--json"], { env: { POSTERN_ADMIN_TOKEN: token } }),
    runCli(["queue", "list", "--admin", url, "--token-env", "OTHER"], { env: { OTHER: token } }),
    runCli(["queue", "list", "--admin", "http://127.0.0.1:1"]),
  ]);
  t.same([wrong.status, wrong.out], [1, ""]);
  t.match(wrong.err, "wants a token: put the right one into the variable CLI_TEST_TOKEN");
  t.equal(direct.status, 0);
  t.match(JSON.parse(direct.out), { total: 1 });
  t.equal(custom.status, 0);
  t.equal(nobody.status, 1);
  t.match(
    nobody.err,
    /^postern: no answer from the admin API at http:\/\/127\.0\.0\.1:1 \(.*\): is the server running/,
  );
});

test("a token that cannot be sent is said to be none, and is not shown", async (t) => {
  const { config } = await serve(t, { reloaded: true, errors: [] });
  const run = await runCli(["queue", "list", "--config", config], { env: { CLI_TEST_TOKEN: `${token}\nx: 1` } });
  t.same([run.status, run.out], [1, ""]);
  t.match(run.err, /^postern: the variable CLI_TEST_TOKEN holds no token: .*\n$/);
  t.notMatch(run.err, token);
});
