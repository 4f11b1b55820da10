// The JSON Schemas of the HTTP API: they check requests, write responses, and make /openapi.json.
//
// Instants are milliseconds since the Unix epoch.

const text = { type: "string" } as const;
/** No controls: what a client sends is shown on terminals of others and written into logs. */
const printable = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$";
export const nameCharactersMax = 255;
const shortText = { type: "string", minLength: 1, maxLength: nameCharactersMax, pattern: printable } as const;
const whole = { type: "integer" } as const;
const instant = { type: "integer", description: "Milliseconds since the Unix epoch" } as const;

/** What a client sends: an unknown field is refused. */
function request(properties: Readonly<Record<string, unknown>>, required?: readonly string[]) {
  return { type: "object", properties, required: required ?? Object.keys(properties), additionalProperties: false };
}

/** What we answer: fields that are new in the answer's type pass. */
function answer(properties: Readonly<Record<string, unknown>>, required?: readonly string[]) {
  return { ...request(properties, required), additionalProperties: true };
}

function list(items: unknown) {
  return { type: "array", items };
}

const selectionFields = {
  domain: { ...shortText, description: "Destination domain" },
  stream: { ...shortText, description: "Stream" },
  job: { ...shortText, description: "Job (X-Postern-Job)" },
  tenant: { ...shortText, description: "Tenant (X-Postern-Tenant)" },
  queueId: { type: "string", pattern: "^[0-9a-hjkmnp-tv-z]{16}$", description: "One message" },
};

/** At least one of the selection's fields; all that are given must match. */
export const actionBody = {
  ...request(
    {
      ...selectionFields,
      reason: {
        type: "string",
        maxLength: 500,
        pattern: printable,
        description: "Shown with the hold and in the delivery log",
      },
      by: { ...shortText, description: "Who does it; default: api" },
    },
    [],
  ),
  anyOf: Object.keys(selectionFields).map((field) => ({ required: [field] })),
};

const selection = answer(selectionFields, []);
const hold = answer({ id: text, selection, reason: text, by: text, at: instant });

const replyLine = answer({ at: instant, text });

const queue = answer(
  {
    stream: text,
    domain: text,
    site: text,
    entries: { ...whole, description: "Entries: the recipients of one message at this domain" },
    recipients: { ...whole, description: "Pending recipients in them" },
    held: { type: "boolean" },
    oldestDueAt: instant,
    nextDueAt: instant,
    inFlight: whole,
    lastError: replyLine,
    waitsFor: { ...text, description: "What the head of the queue waits for" },
  },
  ["stream", "domain", "entries", "recipients", "held", "inFlight", "waitsFor"],
);

const lane = answer(
  {
    source: text,
    site: text,
    ready: whole,
    connections: answer({ max: whole, connecting: whole, busy: whole, idle: whole }),
    rate: text,
    connectionRate: text,
    messagesPerConnectionMax: whole,
    suspendedUntil: instant,
    suspendedBecause: text,
    lastReplies: list(replyLine),
    where: { ...text, description: "The config line that decides" },
  },
  [
    "source",
    "site",
    "ready",
    "connections",
    "rate",
    "connectionRate",
    "messagesPerConnectionMax",
    "lastReplies",
    "where",
  ],
);

const entry = answer(
  {
    domain: text,
    site: text,
    attempts: whole,
    dueAt: instant,
    waitsFor: { ...text, description: "What it waits for, until when, and which config line decides" },
    history: {
      ...list(answer({ at: instant, source: text, remote: text, result: text }, ["at", "result"])),
      description: "The last attempts, oldest first, at most ten",
    },
    recipients: list(answer({ forwardPath: text, state: text, detail: text })),
  },
  ["domain", "attempts", "dueAt", "waitsFor", "history", "recipients"],
);

export const message = answer(
  {
    queueId: text,
    stream: text,
    tenant: text,
    job: text,
    reversePath: text,
    contentBytes: whole,
    receivedAt: instant,
    expiresAt: instant,
    entries: list(entry),
  },
  ["queueId", "stream", "reversePath", "contentBytes", "receivedAt", "expiresAt", "entries"],
);

export const failure = answer({ error: text });
export const queues = answer({ queues: list(queue), total: whole });
export const lanes = answer({ lanes: list(lane), total: whole });
export const holds = answer({ holds: list(hold) });
export const actionResult = answer({ recipients: whole, hold }, ["recipients"]);
export const reloadResult = answer({ reloaded: { type: "boolean" }, errors: list(text) });
export const liveness = answer({ live: { type: "boolean" } });
export const readiness = answer({ ready: { type: "boolean" }, reasons: list(text) });

export const queuesQuery = request({ stream: shortText, domain: shortText }, []);
/** One name comes as a string, several as a list. */
export const metricsQuery = request({ "name[]": { anyOf: [shortText, list(shortText)] } }, []);
export const lanesQuery = request({ source: shortText, site: shortText }, []);
export const domainParams = request({ domain: shortText });
export const queueIdParams = request({ queueId: shortText });
