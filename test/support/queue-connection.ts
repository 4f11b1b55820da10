// A scripted connection for tests of the queue: what an exchanger answers is data, and no dialogue is played.

import { assertNever } from "../../src/core/assert.ts";
import type { Fault, Outcome, Stage } from "../../src/core/outcome.ts";
import type { Clock, Instant, Millis, Timer } from "../../src/core/time.ts";
import type { ConnectionSpec, LaneConnection, LaneFeed, Work, WorkResult } from "../../src/delivery/delivery.ts";
import { DamagedRecordError } from "../../src/spool/spool.ts";

/** What a recipient gets. A number is a reply to RCPT, but 250, which is the reply to the final dot. */
export type RecipientAnswer = 250 | 450 | 452 | 550 | "unknown";

/** What becomes of one transaction. */
export type Answer =
  | RecipientAnswer
  | readonly RecipientAnswer[]
  /** The peer closes before it answered anything. */
  | "returned"
  /** 421 to MAIL: every recipient has it as its outcome, and the session is over. */
  | 421;

export interface Sent {
  readonly at: Instant;
  readonly queueId: string;
  readonly forwardPaths: readonly string[];
  readonly source: string;
  readonly address: string | undefined;
  readonly host: string;
  readonly sessionId: string;
  readonly content: string;
}

/** How an exchanger behaves. All is read anew for each connection and each transaction. */
export interface Host {
  connect: "open" | "refuse" | "banner-421" | "no-port" | ((open: number) => "open" | "refuse" | "banner-421");
  answer: Answer | ((sent: Sent) => Answer);
  connectMs: Millis;
  transactionMs: Millis;
  /** The peer closes with a 421 instead of a transaction once a session has carried so many. */
  closesAfter: number;
  dsn: boolean;
  /** The most connections that were open at one moment. */
  openMax: number;
  open: number;
  connects: Instant[];
}

export const newHost = (parts: Partial<Host> = {}): Host => ({
  connect: "open",
  answer: 250,
  connectMs: 20,
  transactionMs: 10,
  closesAfter: Number.POSITIVE_INFINITY,
  dsn: false,
  openMax: 0,
  open: 0,
  connects: [],
  ...parts,
});

export interface ScriptedPorts {
  readonly clock: Clock;
  readonly hostOf: (name: string) => Host;
  readonly sent: (sent: Sent, answer: Answer) => void;
  readonly idleMs: Millis;
}

export class ScriptedConnection implements LaneConnection {
  readonly #ports: ScriptedPorts;
  readonly #spec: ConnectionSpec;
  readonly #feed: LaneFeed;
  readonly #host: Host;
  readonly #hostName: string;
  #state: LaneConnection["state"] = "connecting";
  #stop = false;
  #carried = 0;
  #idle: Timer | undefined;
  #counted = false;

  constructor(ports: ScriptedPorts, spec: ConnectionSpec, feed: LaneFeed) {
    this.#ports = ports;
    this.#spec = spec;
    this.#feed = feed;
    this.#hostName = spec.exchangers[0]?.host ?? "";
    this.#host = ports.hostOf(this.#hostName);
    this.#host.connects.push(ports.clock.now());
    ports.clock.after(this.#host.connectMs, () => this.#connected());
  }

  get state(): LaneConnection["state"] {
    return this.#state;
  }

  wake(): void {
    if (this.#state !== "idle") return;
    this.#state = "busy";
    this.#idle?.cancel();
    queueMicrotask(() => this.#work());
  }

  drain(): void {
    this.#stop = true;
    if (this.#state === "connecting") this.#end();
    else if (this.#state === "idle") this.wake();
  }

  breakOff(): void {
    this.drain();
  }

  #connected(): void {
    if (this.#state === "closed") return;
    const { connect } = this.#host;
    const how = typeof connect === "function" ? connect(this.#host.open) : connect;
    if (how !== "open") {
      this.#feed.failed(faultOf(how), { name: this.#hostName, address: "192.0.2.1" });
      this.#end();
      return;
    }
    this.#counted = true;
    this.#host.open++;
    this.#host.openMax = Math.max(this.#host.openMax, this.#host.open);
    this.#state = "busy";
    this.#feed.opened({ remote: { name: this.#hostName, address: "192.0.2.1" }, tls: undefined });
    this.#work();
  }

  #work(): void {
    if (this.#state === "closed") return;
    if (this.#stop || this.#carried >= this.#spec.messagesMax) {
      this.#end();
      return;
    }
    if (this.#carried >= this.#host.closesAfter) {
      this.#feed.closedByPeer({
        kind: "reply",
        stage: "mail",
        reply: { code: 421, enhanced: "4.7.0", text: "enough for now" },
      });
      this.#end();
      return;
    }
    const work = this.#feed.next();
    if (work === undefined && this.#stop) {
      this.#end();
      return;
    }
    if (work === undefined) {
      this.#state = "idle";
      this.#idle = this.#ports.clock.after(this.#ports.idleMs, () => {
        if (this.#state === "idle") this.#end();
      });
      return;
    }
    this.#state = "busy";
    const startedAt = this.#ports.clock.now();
    this.#ports.clock.after(this.#host.transactionMs, () => this.#finish(work, startedAt));
  }

  #finish(work: Work, startedAt: Instant): void {
    if (this.#state === "closed") return;
    const at = this.#ports.clock.now();
    let content = "";
    try {
      content = Buffer.concat([work.addedHeaders, ...work.content()]).toString("latin1");
    } catch (error) {
      if (!(error instanceof DamagedRecordError)) throw error;
      const fault: Fault = { kind: "policy", rule: "damaged-content", message: "the stored content is damaged" };
      this.#settle(work, startedAt, () => ({ kind: "transient", at, fault }));
      this.#end();
      return;
    }
    const sent: Sent = {
      at,
      queueId: work.message.queueId,
      forwardPaths: work.pending.map((index) => work.entry.recipients[index]?.forwardPath ?? ""),
      source: this.#spec.source.name,
      address: this.#spec.source.address,
      host: this.#hostName,
      sessionId: this.#spec.sessionId,
      content,
    };
    const answer = typeof this.#host.answer === "function" ? this.#host.answer(sent) : this.#host.answer;
    this.#ports.sent(sent, answer);
    if (answer === "returned") {
      this.#feed.settled(work, { kind: "returned", fault: network("mail", "connection reset by peer") });
      this.#end();
      return;
    }
    this.#carried++;
    this.#settle(work, startedAt, (position) => {
      const one = typeof answer === "object" ? answer[position % answer.length] : answer;
      return outcomeOf(one ?? 250, at);
    });
    if (answer === 421) this.#end();
    else this.#work();
  }

  #settle(work: Work, startedAt: Instant, outcome: (position: number) => Outcome): void {
    const result: WorkResult = {
      kind: "attempted",
      outcomes: work.pending.map((_, position) => outcome(position)),
      info: {
        source: this.#spec.source.name,
        remote: { name: this.#hostName, address: "192.0.2.1" },
        tls: undefined,
        peerDsn: this.#host.dsn,
        sessionId: this.#spec.sessionId,
        startedAt,
        transactionMs: this.#host.transactionMs,
      },
    };
    this.#feed.settled(work, result);
  }

  #end(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#idle?.cancel();
    if (this.#counted) this.#host.open--;
    this.#feed.closed();
  }
}

function network(stage: Stage, message: string): Fault {
  return { kind: "network", stage, message };
}

function faultOf(how: "refuse" | "banner-421" | "no-port"): Fault {
  switch (how) {
    case "refuse":
      return network("connect", "ECONNREFUSED: connection refused");
    case "no-port":
      return network("connect", "EADDRNOTAVAIL: no port left");
    case "banner-421":
      return { kind: "reply", stage: "banner", reply: { code: 421, enhanced: "4.3.2", text: "too busy" } };
    default:
      return assertNever(how);
  }
}

function outcomeOf(answer: RecipientAnswer | 421, at: Instant): Outcome {
  switch (answer) {
    case 250:
      return { kind: "delivered", at, reply: { code: 250, enhanced: "2.0.0", text: "taken" } };
    case 421:
      return {
        kind: "transient",
        at,
        fault: { kind: "reply", stage: "mail", reply: { code: 421, enhanced: "4.7.0", text: "go away" } },
      };
    case 450:
    case 452:
      return {
        kind: "transient",
        at,
        fault: { kind: "reply", stage: "rcpt", reply: { code: answer, enhanced: "4.2.1", text: "not now" } },
      };
    case 550:
      return {
        kind: "permanent",
        at,
        fault: { kind: "reply", stage: "rcpt", reply: { code: 550, enhanced: "5.1.1", text: "no such user" } },
      };
    case "unknown":
      return { kind: "unknown", at, fault: network("final-dot", "connection reset by peer") };
    default:
      return assertNever(answer);
  }
}
