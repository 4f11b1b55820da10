// The HTTP server of the admin API: what it listens on, who is let in, and how it ends.
//
// /healthz and /readyz never ask for the token, so that probes need none; everything else does, where one is configured.

import swagger from "@fastify/swagger";
import { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import { formatHostPort } from "../config/address.ts";
import type { AdminConfig, HostPort } from "../config/config.ts";
import type { Log } from "../telemetry/log.ts";
import type { AdminBackend } from "./admin.ts";
import { nameCharactersMax } from "./api-schemas.ts";
import { checkBrowser, checkToken, isToken, type RequestHead, type Verdict } from "./http-guard.ts";
import { addRoutes } from "./routes.ts";

const bodyBytesMax = 64 * 1024;
export const requestTimeoutMs = 30_000;
/** Whoever has no token can still connect, and must not use up the file handles that mail needs. */
export const adminConnectionsMax = 256;
const keepAliveTimeoutMs = 5_000;
const tokenCharactersMin = 8;
const openPaths = new Set(["/healthz", "/readyz"]);

export interface AdminServerOptions {
  readonly config: AdminConfig;
  /** The value of the environment variable `config.tokenEnv`; undefined where none is configured. */
  readonly token: string | undefined;
  readonly backend: AdminBackend;
  readonly log: Log;
}

export interface AdminServer {
  /** Where it really listens: port 0 in the config takes a free one. */
  readonly address: HostPort;
  /** Ends open connections and stops listening. */
  close(): Promise<void>;
}

/** Rejects with a message for the operator when the port cannot be had or the token is missing. */
export async function openAdmin(options: AdminServerOptions): Promise<AdminServer> {
  const { config, token } = options;
  const isGood = token !== undefined && token.length >= tokenCharactersMin && isToken(token);
  if (config.tokenEnv !== undefined && !isGood) {
    throw new Error(
      `admin.token_env: the environment variable ${config.tokenEnv} must hold a token of at least ${tokenCharactersMin} characters, in US-ASCII and without blanks`,
    );
  }
  const app = await buildAdminApp(options);
  try {
    await app.listen({ host: config.listen.host, port: config.listen.port });
  } catch (cause) {
    await app.close();
    throw new Error(listenFailure(config.listen, cause as NodeJS.ErrnoException), { cause });
  }
  const bound = app.server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : config.listen.port;
  return { address: { host: config.listen.host, port }, close: () => app.close() };
}

/** The application without a listener: tests inject requests into it. */
export async function buildAdminApp({ config, token, backend, log }: AdminServerOptions): Promise<FastifyInstance> {
  const app = fastify({
    bodyLimit: bodyBytesMax,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    forceCloseConnections: true,
    // A domain has up to 253 characters (RFC 1035 section 2.3.4); the schemas say what is too long.
    routerOptions: { maxParamLength: 3 * nameCharactersMax },
    // What is found wrong before any hook has run gets an answer like all others.
    frameworkErrors: (error, _request, reply: FastifyReply) => {
      reply.code(error.statusCode ?? 400).header("cache-control", "no-store");
      reply.send({ error: "the path cannot be read; see /openapi.json" });
    },
    // A mistyped key in an action must not be dropped: the action would then touch more than was meant.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
  });
  app.server.maxConnections = adminConnectionsMax;
  app.removeContentTypeParser("text/plain");

  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store").header("x-content-type-options", "nosniff");
    const verdict = judge(request, config.tokenEnv === undefined ? undefined : token);
    if (verdict.kind === "pass") return;
    if (verdict.status === 401) reply.header("www-authenticate", 'Bearer realm="postern"');
    return reply.code(verdict.status).send({ error: verdict.why });
  });
  app.setNotFoundHandler((request, reply) => {
    reply.code(404).send({ error: `there is no ${request.method} ${request.url.split("?")[0]}; see /openapi.json` });
  });
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status < 500) return reply.code(status).send({ error: error.message });
    log.error({ err: error, method: request.method, path: request.routeOptions.url }, "admin request failed");
    return reply.code(500).send({ error: "the server could not do it; its log says why" });
  });

  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Postern admin API",
        version: "1",
        description: "Instants are milliseconds since the Unix epoch.",
      },
      components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
      security: [{ token: [] }],
    },
  });
  addRoutes(app, backend);
  app.get("/openapi.json", { schema: { hide: true } }, () => app.swagger());
  await app.ready();
  return app;
}

function judge(request: FastifyRequest, token: string | undefined): Verdict {
  const { headers } = request.raw;
  const head: RequestHead = {
    host: headers.host,
    origin: headers.origin,
    fetchSite: typeof headers["sec-fetch-site"] === "string" ? headers["sec-fetch-site"] : undefined,
    authorization: headers.authorization,
  };
  const browser = checkBrowser(head, token !== undefined);
  if (browser.kind === "refuse") return browser;
  return openPaths.has(request.routeOptions.url ?? "") ? { kind: "pass" } : checkToken(head, token);
}

function listenFailure(listen: HostPort, cause: NodeJS.ErrnoException): string {
  const where = `admin.listen ${formatHostPort(listen)}`;
  switch (cause.code) {
    case "EADDRINUSE":
      return `${where} is in use: stop the program that has it, or choose another port`;
    case "EADDRNOTAVAIL":
      return `${where} is not an address of this machine`;
    case "EACCES":
      return `${where} is not allowed: ports below 1024 need a privilege`;
    default:
      return `${where}: ${cause.message}`;
  }
}
