// Delivery events as lines, with the fields that every event of one message shares.

import type { AttemptInfo } from "../core/attempt.ts";
import type { DeliveryEvent, EventKind } from "../core/event.ts";
import { encodeBase32 } from "../core/ids.ts";
import type { Message } from "../core/message.ts";
import type { Fault, Outcome } from "../core/outcome.ts";
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
    return formatEvent({ id: `${this.#run}-${shard}-${this.#count++}`, kind, at: clock.now(), node, shard, ...fields });
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
    return this.line(kind, {
      ...messageFields(message),
      forwardPath,
      site: context.site,
      source: context.source,
      pool: context.pool,
      attempts: context.attempts,
      ...(info === undefined
        ? undefined
        : {
            remote: info.remote,
            tls: info.tls,
            sessionId: info.sessionId,
            transactionMs: info.transactionMs,
            queuedMs: Math.max(0, info.startedAt - message.receivedAt),
          }),
      ...(outcome === undefined ? { reason } : outcomeFields(outcome)),
      bounceClass: fault === undefined ? undefined : this.classOf(fault, context.site),
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

function outcomeFields(outcome: Outcome): EventFields {
  if (outcome.kind === "delivered") return { reply: outcome.reply, stage: "final-dot" };
  const { fault } = outcome;
  switch (fault.kind) {
    case "reply":
      return { reply: fault.reply, stage: fault.stage };
    case "network":
    case "dns":
      return { reason: fault.message, stage: fault.stage };
    case "policy":
      return { reason: fault.message };
  }
}
