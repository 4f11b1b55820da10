// The routes of the HTTP API, one after the other. They translate; what they do is behind AdminBackend.

import type { FastifyInstance } from "fastify";
import { isQueueId } from "../core/ids.ts";
import type { Selection } from "../spool/spool.ts";
import type { AdminBackend, OperatorAction } from "./admin.ts";
import * as schemas from "./api-schemas.ts";

/** Rows of one answer, at most; `total` says how many there are. The largest queues come first. */
const rowsMax = 10_000;

const actions: readonly { readonly action: OperatorAction; readonly summary: string }[] = [
  { action: "hold", summary: "Stop attempts of what is selected, until it is released; survives a restart" },
  { action: "release", summary: "End the holds of this selection" },
  { action: "cancel", summary: "Give up what is selected, without a DSN" },
  { action: "retry", summary: "Make what is selected due now" },
];

export function addRoutes(app: FastifyInstance, backend: AdminBackend): void {
  addHealthRoutes(app, backend);
  addQueueRoutes(app, backend);
  addActionRoutes(app, backend);
}

function addHealthRoutes(app: FastifyInstance, backend: AdminBackend): void {
  const open = { security: [], tags: ["health"] };
  app.get(
    "/healthz",
    {
      schema: { ...open, summary: "Is the process alive", response: { 200: schemas.liveness, 503: schemas.liveness } },
    },
    async (_request, reply) => {
      const { live } = await backend.health();
      return reply.code(live ? 200 : 503).send({ live });
    },
  );
  app.get(
    "/readyz",
    { schema: { ...open, summary: "Does it take mail", response: { 200: schemas.readiness, 503: schemas.readiness } } },
    async (_request, reply) => {
      const { ready, reasons } = await backend.health();
      return reply.code(ready ? 200 : 503).send({ ready, reasons });
    },
  );
  app.get<{ Querystring: { "name[]"?: string | readonly string[] } }>(
    "/metrics",
    {
      schema: {
        tags: ["health"],
        summary: "Prometheus metrics: all, or those named with name[]=NAME",
        querystring: schemas.metricsQuery,
      },
    },
    async ({ query }, reply) => {
      const { contentType, text } = await backend.metrics([query["name[]"] ?? []].flat());
      return reply.header("content-type", contentType).send(text);
    },
  );
}

function addQueueRoutes(app: FastifyInstance, backend: AdminBackend): void {
  const tags = ["queues"];
  const response = (success: object) => ({ 200: success, 404: schemas.failure });

  app.get<{ Querystring: { stream?: string; domain?: string } }>(
    "/v1/queues",
    {
      schema: {
        tags,
        summary: "Queues, the longest first",
        querystring: schemas.queuesQuery,
        response: response(schemas.queues),
      },
    },
    async ({ query }) => {
      const queues = await backend.queues({ stream: query.stream, domain: query.domain?.toLowerCase() });
      queues.sort((a, b) => b.recipients - a.recipients);
      return { queues: queues.slice(0, rowsMax), total: queues.length };
    },
  );

  app.get<{ Params: { domain: string } }>(
    "/v1/queues/:domain",
    {
      schema: {
        tags,
        summary: "Queues of one domain",
        params: schemas.domainParams,
        response: response(schemas.queues),
      },
    },
    async ({ params }, reply) => {
      const domain = params.domain.toLowerCase();
      const queues = await backend.queues({ domain });
      if (queues.length === 0) return reply.code(404).send({ error: `no mail waits for ${domain}` });
      return { queues, total: queues.length };
    },
  );

  app.get<{ Querystring: { source?: string; site?: string } }>(
    "/v1/lanes",
    {
      schema: {
        tags,
        summary: "Lanes: source x site",
        querystring: schemas.lanesQuery,
        response: response(schemas.lanes),
      },
    },
    async ({ query }) => {
      const lanes = (await backend.lanes()).filter(
        (lane) => (query.source ?? lane.source) === lane.source && (query.site ?? lane.site) === lane.site,
      );
      return { lanes: lanes.slice(0, rowsMax), total: lanes.length };
    },
  );

  app.get<{ Params: { queueId: string } }>(
    "/v1/messages/:queueId",
    {
      schema: {
        tags,
        summary: "Where a message is and what each recipient waits for",
        params: schemas.queueIdParams,
        response: response(schemas.message),
      },
    },
    async ({ params }, reply) => {
      const queueId = params.queueId.toLowerCase();
      const found = isQueueId(queueId) ? await backend.explain(queueId) : undefined;
      if (found !== undefined) return found;
      return reply.code(404).send({ error: `no message ${params.queueId} in the queue: look in the delivery log` });
    },
  );

  app.get("/v1/holds", { schema: { tags, summary: "Holds in force", response: { 200: schemas.holds } } }, async () => ({
    holds: await backend.holds(),
  }));
}

type ActionBody = Selection & { readonly reason?: string; readonly by?: string };

function addActionRoutes(app: FastifyInstance, backend: AdminBackend): void {
  const tags = ["actions"];
  for (const { action, summary } of actions) {
    app.post<{ Body: ActionBody }>(
      `/v1/${action}`,
      {
        schema: {
          tags,
          summary,
          body: schemas.actionBody,
          response: { 200: schemas.actionResult, 400: schemas.failure, 409: schemas.failure },
        },
      },
      async ({ body }, reply) => {
        const { reason = "", by = "api", ...selection } = body;
        const selected = { ...selection, domain: selection.domain?.toLowerCase() };
        const result = await backend.act(action, selected, reason, by);
        return result.refused === undefined ? result : reply.code(409).send({ error: result.refused });
      },
    );
  }
  app.post(
    "/v1/reload",
    {
      schema: {
        tags,
        summary: "Read the config file again; with a bad file the old config stays",
        response: { 200: schemas.reloadResult, 422: schemas.reloadResult },
      },
    },
    async (_request, reply) => {
      const result = await backend.reload();
      return reply.code(result.reloaded ? 200 : 422).send(result);
    },
  );
}
