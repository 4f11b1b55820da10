// The HTTP API: who is let in, what its routes pass on, and what they answer.

import { once } from "node:events";
import { connect } from "node:net";
import type { FastifyInstance } from "fastify";
import { type Test, test } from "tap";
import type { AdminBackend } from "../../src/admin/admin.ts";
import { adminConnectionsMax, buildAdminApp, openAdmin } from "../../src/admin/admin-server.ts";
import type { LaneSummary, QueueSummary } from "../../src/queue/queue.ts";
import { silentLog } from "../../src/telemetry/log.ts";

const token = "correct-horse-battery";
const host = "localhost:8080";
const listen = { host: "127.0.0.1", port: 0 };

const queue = (domain: string, entries: number): QueueSummary => ({
  stream: "news",
  domain,
  site: "google",
  entries,
  recipients: entries,
  held: false,
  oldestDueAt: 1_700_000_000_000,
  nextDueAt: undefined,
  inFlight: 0,
  lastError: { at: 1_700_000_000_000, text: "421 4.7.28 slow down" },
  waitsFor: "the rate of google",
});

const lane = (source: string, site: string): LaneSummary => ({
  source,
  site,
  ready: 1,
  connections: { max: 10, connecting: 0, busy: 1, idle: 0 },
  rate: "100/s",
  connectionRate: "100/m",
  messagesPerConnectionMax: 100,
  suspendedUntil: undefined,
  suspendedBecause: undefined,
  lastReplies: [],
  where: "conf/postern.yaml:1",
});

/** A backend that notes its calls as `calls`. */
function backendWith(overrides: Partial<AdminBackend> = {}): AdminBackend & { readonly calls: unknown[][] } {
  const calls: unknown[][] = [];
  return {
    calls,
    async queues(filter) {
      calls.push(["queues", filter]);
      return [queue("a.test", 1), queue("b.test", 5)].filter((one) => (filter.domain ?? one.domain) === one.domain);
    },
    lanes: async () => [lane("a1", "google"), lane("a1", "yahoo")],
    async explain(queueId) {
      calls.push(["explain", queueId]);
      if (queueId !== "0123456789abcdef") return undefined;
      return {
        queueId,
        stream: "news",
        tenant: undefined,
        job: "j1",
        reversePath: "",
        contentBytes: 12,
        receivedAt: 1,
        expiresAt: 2,
        entries: [],
      };
    },
    async act(...all) {
      calls.push(["act", ...all]);
      return { recipients: 3 };
    },
    holds: async () => [],
    async metrics(names) {
      calls.push(["metrics", ...names]);
      return { contentType: "text/plain; version=0.0.4", text: "postern_spool_bytes 1\n" };
    },
    health: async () => ({ live: true, ready: false, reasons: ["draining"] }),
    reload: async () => ({ reloaded: false, errors: ["conf/postern.yaml:1:1: no"] }),
    ...overrides,
  };
}

async function app(t: Test, options: { backend?: AdminBackend; token?: string } = {}): Promise<FastifyInstance> {
  const made = await buildAdminApp({
    config: { listen, tokenEnv: options.token === undefined ? undefined : "TOKEN" },
    token: options.token,
    backend: options.backend ?? backendWith(),
    log: silentLog,
  });
  t.teardown(() => made.close());
  return made;
}

test("with a token configured nothing but the probes is served without it", async (t) => {
  const api = await app(t, { token });
  const get = (url: string, authorization?: string) =>
    api.inject({ url, headers: { host, ...(authorization === undefined ? {} : { authorization }) } });
  for (const url of ["/v1/queues", "/v1/lanes", "/v1/holds", "/metrics", "/openapi.json", "/v1/nothing"]) {
    const refused = await get(url);
    t.equal(refused.statusCode, 401, url);
    t.match(refused.headers["www-authenticate"], "Bearer");
  }
  t.equal((await get("/v1/queues", `Bearer ${token}`)).statusCode, 200);
  t.equal((await get("/v1/queues", `bearer ${token}`)).statusCode, 200, "the scheme's case does not matter");
  t.equal((await get("/v1/queues", `Bearer ${token}x`)).statusCode, 401);
  t.equal((await get("/v1/queues", `Basic ${token}`)).statusCode, 401);
  t.equal((await get("/healthz")).statusCode, 200);
  t.equal((await get("/readyz")).statusCode, 503);
});

test("a name that was pointed at loopback gets nothing while there is no token", async (t) => {
  const api = await app(t);
  const status = async (headers: Record<string, string>) =>
    (await api.inject({ url: "/v1/queues", headers })).statusCode;
  t.equal(await status({ host: "localhost:8080" }), 200);
  t.equal(await status({ host: "127.0.0.1:8080" }), 200);
  t.equal(await status({ host: "[::1]:8080" }), 200);
  t.equal(await status({ host: "rebound.attacker.test:8080" }), 421);
  t.equal(await status({ host: "127.0.0.1.attacker.test" }), 421);
  t.equal(await status({ host: "localhost.attacker.test" }), 421);
});

test("a web page elsewhere can neither read nor act, token or not", async (t) => {
  for (const options of [{}, { token }]) {
    const backend = backendWith();
    const api = await app(t, { backend, ...options });
    const authorization = `Bearer ${token}`;
    const act = (headers: Record<string, string>, payload = '{"domain":"a.test"}') =>
      api.inject({ method: "POST", url: "/v1/cancel", headers: { host, authorization, ...headers }, payload });
    t.equal((await act({ origin: "https://evil.test", "content-type": "application/json" })).statusCode, 403);
    t.equal((await act({ origin: "null", "content-type": "application/json" })).statusCode, 403);
    t.equal((await act({ "sec-fetch-site": "cross-site", "content-type": "application/json" })).statusCode, 403);
    t.equal((await act({ "content-type": "text/plain" })).statusCode, 415, "no form of a simple request is read");
    t.equal((await act({ "content-type": "application/x-www-form-urlencoded" })).statusCode, 415);
    t.same(backend.calls, []);
    const own = await act({ origin: `http://${host}`, "content-type": "application/json" });
    t.equal(own.statusCode, 200);
    t.equal(own.headers["access-control-allow-origin"], undefined, "there is no CORS");
  }
});

test("queues come with the longest first, filtered as asked", async (t) => {
  const backend = backendWith();
  const api = await app(t, { backend });
  const get = async (url: string) => (await api.inject({ url, headers: { host } })).json();
  t.match(await get("/v1/queues?stream=news"), {
    total: 2,
    queues: [
      { domain: "b.test", entries: 5, lastError: { text: "421 4.7.28 slow down" } },
      { domain: "a.test", entries: 1 },
    ],
  });
  t.same(backend.calls[0], ["queues", { stream: "news", domain: undefined }]);
  t.match(await get("/v1/queues/A.test"), { total: 1, queues: [{ domain: "a.test" }] });
  t.match(await get("/v1/queues/none.test"), { error: "no mail waits for none.test" });
  t.match(await get("/v1/lanes?site=yahoo"), { total: 1, lanes: [{ site: "yahoo" }] });
  t.match(await get("/v1/queues?strem=news"), { error: /additional properties/ });
});

test("a message is explained; an unknown or malformed queue id is a 404 that does not reach the shards", async (t) => {
  const backend = backendWith();
  const api = await app(t, { backend });
  const get = (id: string) => api.inject({ url: `/v1/messages/${id}`, headers: { host } });
  t.match((await get("0123456789abcdef")).json(), { queueId: "0123456789abcdef", job: "j1", reversePath: "" });
  t.equal((await get("0000000000000000")).statusCode, 404);
  t.equal((await get("..%2F..%2Fetc")).statusCode, 404);
  t.same(
    backend.calls.map((call) => call[1]),
    ["0123456789abcdef", "0000000000000000"],
  );
});

test("an action names what it is about; a mistyped field is refused rather than dropped", async (t) => {
  const backend = backendWith();
  const api = await app(t, { backend });
  const post = (body: object) => api.inject({ method: "POST", url: "/v1/hold", headers: { host }, payload: body });
  t.same((await post({ domain: "A.test", stream: "news", reason: "blocked", by: "ann" })).json(), { recipients: 3 });
  t.same(backend.calls, [["act", "hold", { domain: "a.test", stream: "news" }, "blocked", "ann"]]);
  for (const body of [{}, { reason: "all" }, { stream: "news", domian: "a.test" }, { domain: 7 }, { queueId: "x" }]) {
    t.equal((await post(body)).statusCode, 400, JSON.stringify(body));
  }
  t.equal(backend.calls.length, 1);
});

test("what an operator writes is shown to others, so it holds no controls", async (t) => {
  const backend = backendWith();
  const api = await app(t, { backend });
  for (const payload of [
    { domain: "a.test", reason: "a\u001b[31mb" },
    { domain: "a.test", by: "eve\r\nlevel=60" },
    { job: "a\u0000b" },
    { tenant: "a\u2028b" },
  ]) {
    const response = await api.inject({ method: "POST", url: "/v1/hold", headers: { host }, payload });
    t.equal(response.statusCode, 400, Object.keys(payload).join());
  }
  t.same(backend.calls, []);
  const payload = { domain: "a.test", reason: "wegen \u00dcberlast", by: "j\u00fcrgen" };
  t.equal((await api.inject({ method: "POST", url: "/v1/hold", headers: { host }, payload })).statusCode, 200);
});

test("the longest domain has a page, and a path that cannot be read gets an answer like all others", async (t) => {
  const backend = backendWith();
  const api = await app(t, { backend });
  const domain = `${"a23456789.".repeat(25)}abc`;
  const found = await api.inject({ url: `/v1/queues/${domain}`, headers: { host } });
  t.equal(found.statusCode, 404);
  t.same(backend.calls, [["queues", { domain }]]);
  for (const [path, status] of [
    ["/v1/queues/%", 400],
    [`/v1/queues/${"a".repeat(1_000)}`, 414],
    [`/v1/queues/${"a".repeat(256)}`, 400],
  ] as const) {
    const response = await api.inject({ url: path, headers: { host } });
    t.equal(response.statusCode, status);
    t.same(Object.keys(response.json()), ["error"]);
    t.equal(response.headers["cache-control"], "no-store");
  }
});

test("a refused reload says why with a status of its own", async (t) => {
  const api = await app(t);
  const answer = await api.inject({ method: "POST", url: "/v1/reload", headers: { host } });
  t.equal(answer.statusCode, 422);
  t.same(answer.json(), { reloaded: false, errors: ["conf/postern.yaml:1:1: no"] });
});

test("metrics keep their content type, and the OpenAPI document shows every route", async (t) => {
  const backend = backendWith();
  const api = await app(t, { backend });
  const metrics = await api.inject({ url: "/metrics", headers: { host } });
  t.equal(metrics.headers["content-type"], "text/plain; version=0.0.4");
  t.equal(metrics.body, "postern_spool_bytes 1\n");
  for (const query of ["", "?name[]=a", "?name[]=a&name%5B%5D=b"]) {
    await api.inject({ url: `/metrics${query}`, headers: { host } });
  }
  t.same(backend.calls, [["metrics"], ["metrics"], ["metrics", "a"], ["metrics", "a", "b"]]);
  const document = (await api.inject({ url: "/openapi.json", headers: { host } })).json();
  t.equal(document.openapi, "3.1.0");
  t.same(Object.keys(document.paths).sort(), [
    "/healthz",
    "/metrics",
    "/readyz",
    "/v1/cancel",
    "/v1/hold",
    "/v1/holds",
    "/v1/lanes",
    "/v1/messages/{queueId}",
    "/v1/queues",
    "/v1/queues/{domain}",
    "/v1/release",
    "/v1/reload",
    "/v1/retry",
  ]);
});

test("what breaks inside is not told to the client", async (t) => {
  const api = await app(t, {
    backend: backendWith({
      lanes: async () => {
        throw new Error("secret detail");
      },
    }),
  });
  const answer = await api.inject({ url: "/v1/lanes", headers: { host } });
  t.equal(answer.statusCode, 500);
  t.notMatch(answer.body, "secret");
});

test("a body above 64 KiB is refused", async (t) => {
  const api = await app(t);
  const payload = { domain: "a.test", reason: "x".repeat(70_000) };
  t.equal((await api.inject({ method: "POST", url: "/v1/hold", headers: { host }, payload })).statusCode, 413);
});

test("the server listens on a free port, says a busy one clearly, and closes with a client still connected", async (t) => {
  const options = { config: { listen, tokenEnv: undefined }, token: undefined, backend: backendWith(), log: silentLog };
  const server = await openAdmin(options);
  const url = `http://127.0.0.1:${server.address.port}/healthz`;
  t.same(await (await fetch(url)).json(), { live: true });
  await t.rejects(
    openAdmin({ ...options, config: { listen: server.address, tokenEnv: undefined } }),
    new Error(
      `admin.listen 127.0.0.1:${server.address.port} is in use: stop the program that has it, or choose another port`,
    ),
  );
  const idle = connect(server.address.port, "127.0.0.1");
  await new Promise((resolve) => idle.once("connect", resolve));
  const ended = new Promise((resolve) => idle.once("close", resolve));
  idle.on("error", () => undefined);
  idle.resume();
  await server.close();
  await ended;
  await t.rejects(fetch(url));
});

test("clients that connect and say nothing use up no more than their share of handles", async (t) => {
  const server = await openAdmin({
    config: { listen, tokenEnv: undefined },
    token: undefined,
    backend: backendWith(),
    log: silentLog,
  });
  t.teardown(() => server.close());
  let closed = 0;
  const sockets = await Promise.all(
    Array.from({ length: adminConnectionsMax + 50 }, async () => {
      const socket = connect(server.address.port, "127.0.0.1");
      socket.on("error", () => undefined).on("close", () => closed++);
      socket.resume();
      await once(socket, "connect");
      return socket;
    }),
  );
  for (let ms = 0; closed < 50 && ms < 5_000; ms += 10) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(closed, 50);
  for (const socket of sockets) socket.destroy();
});

test("a configured token that is missing or short, or that nobody could send, stops the start", async (t) => {
  const config = { listen, tokenEnv: "POSTERN_ADMIN_TOKEN" };
  for (const missing of [
    undefined,
    "short",
    "with some blanks",
    "a line end\n",
    "token-with-cr\r",
    "schl\u00fcssel-wort",
  ]) {
    await t.rejects(openAdmin({ config, token: missing, backend: backendWith(), log: silentLog }), {
      message:
        "admin.token_env: the environment variable POSTERN_ADMIN_TOKEN must hold a token of at least 8 characters, in US-ASCII and without blanks",
    });
  }
});
