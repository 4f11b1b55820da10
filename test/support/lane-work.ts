// A lane for tests of delivery: work to hand out, and a record of what became of it.

import type { DeliveryTimeouts } from "../../src/config/config.ts";
import type { Envelope, Recipient } from "../../src/core/envelope.ts";
import type { Message } from "../../src/core/message.ts";
import type { Fault, Outcome } from "../../src/core/outcome.ts";
import { minuteMs, secondMs } from "../../src/core/time.ts";
import type { ConnectionSpec, LaneConnection, LaneFeed, Work, WorkResult } from "../../src/delivery/delivery.ts";
import { hasDotLines } from "../../src/smtp/dot-stuffing.ts";

export const testTimeouts: DeliveryTimeouts = {
  connectMs: 30 * secondMs,
  bannerMs: 5 * minuteMs,
  ehloMs: 5 * minuteMs,
  startTlsMs: 2 * minuteMs,
  mailMs: 5 * minuteMs,
  rcptMs: 5 * minuteMs,
  dataMs: 2 * minuteMs,
  blockMs: 3 * minuteMs,
  finalDotMs: 10 * minuteMs,
  idleMs: 5 * secondMs,
};

export interface WorkParts {
  readonly to?: readonly string[];
  readonly from?: string;
  readonly content?: string | readonly string[];
  readonly addedHeaders?: string;
  readonly envelope?: Partial<Envelope>;
  readonly recipient?: Partial<Recipient>;
  readonly contentBytes?: number;
  /** The content cannot be read beyond its chunks. */
  readonly isDamaged?: boolean;
}

let made = 0;

export function workOf(parts: WorkParts = {}): Work {
  const to = parts.to ?? ["a@b.example"];
  const content = parts.content ?? "Subject: x\r\n\r\nHello\r\n";
  const chunks = (typeof content === "string" ? [content] : content).map((chunk) => Buffer.from(chunk, "latin1"));
  const queueId = `q${made++}`;
  const message: Message = {
    queueId,
    stream: "test",
    tenant: undefined,
    job: undefined,
    envelope: {
      reversePath: parts.from ?? "s@example.org",
      envid: undefined,
      ret: undefined,
      body: "7bit",
      smtpUtf8: false,
      requireTls: false,
      ...parts.envelope,
    },
    contentBytes: parts.contentBytes ?? chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    headerBytes: 0,
    hasDotLines: hasDotLines(chunks),
    receivedAt: 0,
    expiresAt: 1e15,
    fromDomain: undefined,
    messageIdHeader: undefined,
    loggedHeaders: {},
    origin: "submission",
    user: undefined,
    recipientCount: to.length,
    entryCount: 1,
  };
  return {
    message,
    entry: {
      queueId,
      entryNo: 0,
      stream: "test",
      domain: "b.example",
      attempts: 0,
      dueAt: 0,
      delayNotifiedAt: undefined,
      recipients: to.map((forwardPath) => ({
        forwardPath,
        orcpt: undefined,
        notify: undefined,
        ...parts.recipient,
        state: { kind: "pending", last: undefined },
      })),
    },
    pending: to.map((_, index) => index),
    addedHeaders: Buffer.from(parts.addedHeaders ?? ""),
    *content() {
      yield* chunks;
      if (parts.isDamaged) throw new Error("CRC mismatch");
    },
  };
}

export function specOf(parts: Partial<ConnectionSpec> = {}): ConnectionSpec {
  return {
    sessionId: "s1",
    source: { name: "a1", address: "127.0.0.1", ehlo: "out.example.org" },
    exchangers: [{ host: "mx.b.example", preference: 10, addresses: ["192.0.2.1"] }],
    port: 25,
    tls: "opportunistic",
    messagesMax: 100,
    recipientsPerMessageMax: 100,
    ...parts,
  };
}

/** Hands out its work in order and keeps what it is told. Fails on work that is settled twice or never given. */
export class RecordingFeed implements LaneFeed {
  readonly waiting: Work[];
  readonly given = new Set<Work>();
  readonly results = new Map<Work, WorkResult>();
  readonly log: string[] = [];
  readonly failures: Fault[] = [];
  readonly closings: Fault[] = [];
  isClosed = false;
  remote: { readonly name: string; readonly address: string } | undefined;
  tls: Parameters<LaneFeed["opened"]>[0]["tls"];
  /** Set to look at the connection from within a call, or to react to it. */
  onSettled: (work: Work) => void = () => {};
  connection: LaneConnection | undefined;
  readonly #closed = Promise.withResolvers<void>();

  constructor(work: readonly Work[] = []) {
    this.waiting = [...work];
  }

  get whenClosed(): Promise<void> {
    return this.#closed.promise;
  }

  next(): Work | undefined {
    this.#alive("next");
    const work = this.waiting.shift();
    if (work !== undefined) this.given.add(work);
    return work;
  }

  settled(work: Work, result: WorkResult): void {
    this.#alive("settled");
    if (!this.given.has(work)) throw new Error("settled without having been given");
    if (this.results.has(work)) throw new Error("settled twice");
    if (
      result.kind === "attempted" &&
      (result.outcomes.length !== work.pending.length || result.outcomes.includes(undefined as never))
    ) {
      throw new Error("not one outcome for each recipient");
    }
    this.results.set(work, result);
    this.log.push(`settled ${work.message.queueId}`);
    this.onSettled(work);
  }

  opened(info: Parameters<LaneFeed["opened"]>[0]): void {
    this.#alive("opened");
    this.remote = info.remote;
    this.tls = info.tls;
    this.log.push("opened");
  }

  failed(fault: Fault): void {
    this.#alive("failed");
    this.failures.push(fault);
    this.log.push("failed");
  }

  closedByPeer(fault: Fault): void {
    this.#alive("closedByPeer");
    this.closings.push(fault);
  }

  closed(): void {
    this.#alive("closed");
    this.isClosed = true;
    this.log.push("closed");
    this.#closed.resolve();
  }

  /** Outcomes in short: `delivered`, `permanent rcpt 550`, `unknown final-dot`, `returned`. */
  outcomes(work: Work): string[] {
    const result = this.results.get(work);
    if (result === undefined) return ["unsettled"];
    return result.kind === "returned" ? ["returned"] : result.outcomes.map(inShort);
  }

  #alive(call: string): void {
    if (this.isClosed) throw new Error(`${call} after closed`);
  }
}

function inShort(outcome: Outcome): string {
  if (outcome.kind === "delivered") return "delivered";
  const { fault } = outcome;
  switch (fault.kind) {
    case "reply":
      return `${outcome.kind} ${fault.stage} ${fault.reply.code}`;
    case "policy":
      return `${outcome.kind} ${fault.rule}`;
    default:
      return `${outcome.kind} ${fault.stage}`;
  }
}
