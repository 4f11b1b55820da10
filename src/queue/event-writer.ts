// Delivery events as lines, with the fields that every event of one message shares.

import type { AttemptInfo } from "../core/attempt.ts";
import type { DeliveryEvent, EventKind } from "../core/event.ts";
import { encodeBase32 } from "../core/ids.ts";
import type { Message } from "../core/message.ts";
import type { Fault, Outcome } from "../core/outcome.ts";
import type { Reply } from "../core/reply.ts";
import type { QueuePorts } from "./ports.ts";

/** What is known about the way that an event's message took. */
export interface EventContext {
  readonly site: string | undefined;
  readonly source: string | undefined;
  readonly pool: string | undefined;
  readonly attempts: number;
  readonly info: AttemptInfo | undefined;
  readonly signedBy: readonly string[];
}

export type EventFields = Omit<DeliveryEvent, "id" | "at" | "node" | "shard" | "kind">;

export class EventWriter {
  readonly #ports: Pick<QueuePorts, "clock" | "random" | "formatEvent" | "node" | "shard" | "classifier">;
  readonly #run: string;
  #count = 0;

  constructor(ports: Pick<QueuePorts, "clock" | "random" | "formatEvent" | "node" | "shard" | "classifier">) {
    this.#ports = ports;
    // An id is the start of this process and a count: unique without a random number for each event.
    this.#run = `${encodeBase32(ports.clock.now(), 9)}${encodeBase32(ports.random.integer(32 ** 4), 4)}`;
  }

  line(kind: EventKind, fields: EventFields): string {
    const { clock, node, shard, formatEvent } = this.#ports;
    return formatEvent({ ...fields, id: `${this.#run}-${shard}-${this.#count++}`, kind, at: clock.now(), node, shard });
  }

  /** An event about one recipient of a message. `reason`: an operator's, where there is no outcome. */
  ofRecipient(
    kind: EventKind,
    message: Message,
    forwardPath: string,
    context: EventContext,
    outcome: Outcome | undefined,
    reason?: string,
  ): string {
    const fault = outcome === undefined || outcome.kind === "delivered" ? undefined : outcome.fault;
    const { info } = context;
    const said = outcome === undefined ? { reply: undefined, stage: undefined, reason } : whatWasSaid(outcome);
    // Field by field: spreading objects that may be absent costs more than all the rest of an event.
    return this.line(kind, {
      ...messageFields(message),
      forwardPath,
      site: context.site,
      source: context.source,
      pool: context.pool,
      attempts: context.attempts,
      remote: info?.remote,
      tls: info?.tls,
      sessionId: info?.sessionId,
      transactionMs: info?.transactionMs,
      queuedMs: info && Math.max(0, info.startedAt - message.receivedAt),
      reply: said.reply,
      stage: said.stage,
      reason: said.reason,
      bounceClass: fault && this.classOf(fault, context.site),
      signedBy: context.signedBy.length > 0 ? context.signedBy : undefined,
    });
  }

  classOf(fault: Fault, site: string | undefined): string {
    return this.#ports.classifier.classify(fault, site);
  }
}

export function messageFields(message: Message): EventFields {
  return {
    queueId: message.queueId,
    stream: message.stream,
    tenant: message.tenant,
    job: message.job,
    reversePath: message.envelope.reversePath,
    contentBytes: message.contentBytes,
    messageIdHeader: message.messageIdHeader,
    headers: Object.keys(message.loggedHeaders).length > 0 ? message.loggedHeaders : undefined,
  };
}

interface Said {
  readonly reply: Reply | undefined;
  readonly stage: string | undefined;
  readonly reason: string | undefined;
}

function whatWasSaid(outcome: Outcome): Said {
  if (outcome.kind === "delivered") return { reply: outcome.reply, stage: "final-dot", reason: undefined };
  const { fault } = outcome;
  switch (fault.kind) {
    case "reply":
      return { reply: fault.reply, stage: fault.stage, reason: undefined };
    case "network":
    case "dns":
      return { reply: undefined, stage: fault.stage, reason: fault.message };
    case "policy":
      return { reply: undefined, stage: undefined, reason: fault.message };
  }
}
