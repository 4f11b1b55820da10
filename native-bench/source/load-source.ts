// The load source: many sessions that submit made messages, flat out or at a rate, and remember each 250.

import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { epochMs, pause } from "../clock.ts";
import type { Acknowledgement, LoadPlan, Percentiles, SourceCounts } from "./load-plan.ts";
import { type MadeMessage, messageMaker } from "./message-template.ts";
import { type SessionPlan, SourceSession } from "./source-session.ts";

/** A message refused with 4yz is offered again after this wait, so many times. */
const refusedWaitMs = 100;
const refusalsMax = 300;
const reconnectWaitMs = 50;
/** Without a single session in this time the run fails. */
const connectPatienceMs = 60_000;
/** Messages that could not leave at their time are not made up for beyond this. */
const lagMaxMs = 500;
/** A session whose server stays silent for this long is given up. */
const replyTimeoutMs = 60_000;
const stallCheckMs = 5_000;
const readBytes = 65_536;

export class LoadSource {
  readonly #plan: LoadPlan;
  readonly #make: (no: number) => MadeMessage;
  readonly #greeting = createHistogram();
  readonly #finalDot = createHistogram();
  readonly #connectTo250 = createHistogram();
  readonly #sessionPlan: SessionPlan;
  readonly #sessions = new Set<SourceSession>();
  readonly acknowledgements: Acknowledgement[] = [];
  /** Bench ids of messages that the server may or may not have taken. */
  readonly uncertain: string[] = [];
  #nextNo = 0;
  /** When the next message is due, where there is a rate. */
  #nextAt = 0;
  #startedAt = 0;
  #bodyBytes = 0;
  #stopped = false;
  #refused = 0;
  #refusedForNow = 0;
  #connectFailures = 0;
  #lastSessionAt = 0;
  #lastProblem: string | undefined;

  constructor(plan: LoadPlan) {
    this.#plan = plan;
    this.#make = messageMaker(plan, new Date().toUTCString().replace("GMT", "+0000"));
    this.#sessionPlan = {
      target: plan.target,
      reversePath: plan.reversePath,
      startTls: plan.startTls === true,
      login: plan.login,
      readBuffer: new Uint8Array(readBytes),
      now: epochMs,
    };
  }

  /** Sends until the plan is done or `stop` is called. Rejects when the server cannot be reached. */
  async run(): Promise<void> {
    this.#nextAt = epochMs();
    this.#startedAt = this.#nextAt;
    this.#lastSessionAt = this.#nextAt;
    const stallTimer = setInterval(() => this.#endStalled(), stallCheckMs);
    try {
      await Promise.all(Array.from({ length: this.#plan.sessions }, () => this.#runSession()));
    } finally {
      clearInterval(stallTimer);
    }
  }

  #endStalled(): void {
    const oldest = epochMs() - replyTimeoutMs;
    for (const session of this.#sessions) if (!session.usable && session.activeAt < oldest) session.destroy();
  }

  /** Takes no more messages; the transactions under way are finished. */
  stop(): void {
    this.#stopped = true;
  }

  counts(): SourceCounts {
    const cpu = process.cpuUsage();
    return {
      acknowledged: this.acknowledgements.length,
      refused: this.#refused,
      refusedForNow: this.#refusedForNow,
      uncertain: this.uncertain.length,
      connectFailures: this.#connectFailures,
      firstAt: this.acknowledgements[0]?.at,
      lastAt: this.acknowledgements.at(-1)?.at,
      greeting: percentiles(this.#greeting),
      finalDot: percentiles(this.#finalDot),
      connectTo250: percentiles(this.#connectTo250),
      lastProblem: this.#lastProblem,
      bodyBytes: this.#bodyBytes,
      cpuMs: (cpu.user + cpu.system) / 1_000,
    };
  }

  async #runSession(): Promise<void> {
    let message = await this.#nextMessage();
    while (message !== undefined) {
      const session = await this.#open();
      if (session === undefined) return;
      for (let i = 0; i < this.#plan.messagesPerSession && message !== undefined && session.usable; i++) {
        if (!(await this.#submit(session, message, i === 0))) continue;
        if (i === this.#plan.messagesPerSession - 1) session.quit();
        message = await this.#nextMessage();
      }
      session.quit();
      this.#sessions.delete(session);
    }
  }

  /** undefined once the plan is done. Waits for the message's turn where there is a rate. */
  async #nextMessage(): Promise<MadeMessage | undefined> {
    if (this.#stopped || this.#nextNo >= this.#plan.messages) return undefined;
    const no = this.#nextNo++;
    const { ratePerSecond, bursts } = this.#plan;
    if (bursts !== undefined) {
      const waitMs = this.#startedAt + Math.floor(no / bursts.messages) * bursts.everyMs - epochMs();
      if (waitMs > 0) await pause(waitMs);
      if (this.#stopped) return undefined;
    } else if (ratePerSecond !== undefined) {
      const now = epochMs();
      const waitMs = this.#nextAt - now;
      this.#nextAt = Math.max(this.#nextAt, now - lagMaxMs) + 1_000 / ratePerSecond;
      if (waitMs > 0) await pause(waitMs);
      if (this.#stopped) return undefined;
    }
    return this.#make(no);
  }

  async #open(): Promise<SourceSession | undefined> {
    while (!this.#stopped) {
      const session = new SourceSession(this.#sessionPlan);
      this.#sessions.add(session);
      try {
        await session.opened();
        record(this.#greeting, session.greetingMs);
        this.#lastSessionAt = epochMs();
        return session;
      } catch (error) {
        this.#sessions.delete(session);
        this.#connectFailures++;
        this.#lastProblem = (error as Error).message;
        if (epochMs() - this.#lastSessionAt > connectPatienceMs) {
          throw new Error(`no session for ${connectPatienceMs / 1_000} s: ${this.#lastProblem}`);
        }
        await pause(reconnectWaitMs);
      }
    }
    return undefined;
  }

  /** False when the message must be offered again over another connection. */
  async #submit(session: SourceSession, message: MadeMessage, isFirst: boolean): Promise<boolean> {
    for (let refusals = 0; ; refusals++) {
      const result = await session.submit(message);
      if (result.kind === "acknowledged") {
        const at = epochMs();
        record(this.#finalDot, result.dotMs);
        if (isFirst) record(this.#connectTo250, at - session.startedAt);
        this.#bodyBytes += message.body.bytes;
        this.acknowledgements.push({
          benchId: message.benchId,
          queueId: /queued as <?([0-9A-Za-z]+)/.exec(result.reply)?.[1] ?? "",
          stream: this.#plan.stream,
          recipients: result.recipients,
          at,
        });
        return true;
      }
      if (result.kind === "broken") {
        if (result.dotSent) this.uncertain.push(message.benchId);
        return result.dotSent;
      }
      this.#lastProblem = result.reply;
      if (!result.reply.startsWith("4") || refusals >= refusalsMax || this.#stopped) {
        this.#refused++;
        return true;
      }
      this.#refusedForNow++;
      await pause(refusedWaitMs);
    }
  }
}

/** Histograms count whole microseconds from 1 up. */
function record(histogram: RecordableHistogram, spanMs: number): void {
  histogram.record(Math.max(1, Math.round(spanMs * 1_000)));
}

function percentiles(histogram: RecordableHistogram): Percentiles {
  const none = histogram.count === 0;
  return {
    count: histogram.count,
    p50Ms: none ? 0 : histogram.percentile(50) / 1_000,
    p90Ms: none ? 0 : histogram.percentile(90) / 1_000,
    p99Ms: none ? 0 : histogram.percentile(99) / 1_000,
    p999Ms: none ? 0 : histogram.percentile(99.9) / 1_000,
    maxMs: none ? 0 : histogram.max / 1_000,
  };
}
