// The load source: many sessions that submit made messages, flat out or at a rate, and remember each 250.

import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { epochMs, pause } from "../clock.ts";
import { AcknowledgementLog } from "./acknowledgement-log.ts";
import type { Acknowledgement, LoadPlan, Percentiles, SourceCounts } from "./load-plan.ts";
import { MessageMaker } from "./message-template.ts";
import { type Acknowledged, type SessionPlan, SourceSession } from "./source-session.ts";

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
  readonly #maker: MessageMaker;
  readonly #greeting = createHistogram();
  readonly #finalDot = createHistogram();
  readonly #connectTo250 = createHistogram();
  readonly #sessionPlan: SessionPlan;
  readonly #sessions = new Set<SourceSession>();
  readonly #log: AcknowledgementLog;
  /** Messages that are to be offered again, and how often those that were put off were. */
  readonly #again: number[] = [];
  readonly #refusals = new Map<number, number>();
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
    this.#maker = new MessageMaker(plan, new Date().toUTCString().replace("GMT", "+0000"));
    this.#log = new AcknowledgementLog(this.#maker, plan.stream);
    const isPaced = plan.ratePerSecond !== undefined || plan.bursts !== undefined;
    this.#sessionPlan = {
      target: plan.target,
      startTls: plan.startTls === true,
      login: plan.login,
      messagesMax: plan.messagesPerSession,
      readBuffer: new Uint8Array(readBytes),
      maker: this.#maker,
      now: epochMs,
      takeNext: isPaced ? () => undefined : () => this.#takeNumber(),
      onAcknowledged: (acknowledged) => this.#onAcknowledged(acknowledged),
      onRefused: (no, reply) => this.#onRefused(no, reply),
      onBroken: (no, dotSent) => this.#onBroken(no, dotSent),
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
    for (const session of this.#sessions) if (session.waits && session.activeAt < oldest) session.destroy();
  }

  /** Takes no more messages; the transactions under way are finished. */
  stop(): void {
    this.#stopped = true;
  }

  /** At most `max` of what was acknowledged, from an index on. */
  acknowledgements(from = 0, max = Number.POSITIVE_INFINITY): Acknowledgement[] {
    return this.#log.slice(from, max);
  }

  counts(): SourceCounts {
    const cpu = process.cpuUsage();
    return {
      acknowledged: this.#log.length,
      refused: this.#refused,
      refusedForNow: this.#refusedForNow,
      uncertain: this.uncertain.length,
      connectFailures: this.#connectFailures,
      firstAt: this.#log.firstAt,
      lastAt: this.#log.lastAt,
      greeting: percentiles(this.#greeting),
      finalDot: percentiles(this.#finalDot),
      connectTo250: percentiles(this.#connectTo250),
      lastProblem: this.#lastProblem,
      bodyBytes: this.#bodyBytes,
      cpuMs: (cpu.user + cpu.system) / 1_000,
    };
  }

  async #runSession(): Promise<void> {
    let no = await this.#nextNumber();
    while (no !== undefined) {
      const session = await this.#open();
      if (session === undefined) return;
      while (no !== undefined && session.usable) {
        await session.submit(no);
        if (session.isPutOff) await pause(refusedWaitMs);
        if (!session.usable) session.quit();
        no = await this.#nextNumber();
      }
      session.quit();
      this.#sessions.delete(session);
    }
  }

  /** undefined once the plan is done. Waits for the message's turn where there is a rate. */
  async #nextNumber(): Promise<number | undefined> {
    // What is offered again has had its turn.
    const isNew = this.#again.length === 0;
    const no = this.#takeNumber();
    if (no === undefined || !isNew) return no;
    const waitMs = this.#waitOf(no);
    if (waitMs > 0) await pause(waitMs);
    return this.#stopped ? undefined : no;
  }

  #takeNumber(): number | undefined {
    if (this.#stopped) return undefined;
    if (this.#again.length > 0) return this.#again.shift();
    return this.#nextNo < this.#plan.messages ? this.#nextNo++ : undefined;
  }

  #waitOf(no: number): number {
    const { ratePerSecond, bursts } = this.#plan;
    if (bursts !== undefined) return this.#startedAt + Math.floor(no / bursts.messages) * bursts.everyMs - epochMs();
    if (ratePerSecond === undefined) return 0;
    const now = epochMs();
    const waitMs = this.#nextAt - now;
    this.#nextAt = Math.max(this.#nextAt, now - lagMaxMs) + 1_000 / ratePerSecond;
    return waitMs;
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

  #onAcknowledged({ no, reply, refusedRecipients, at, dotMs, connectMs }: Acknowledged): void {
    record(this.#finalDot, dotMs);
    if (connectMs !== undefined) record(this.#connectTo250, connectMs);
    this.#bodyBytes += this.#maker.bodyBytesOf(no);
    this.#log.add(no, /queued as <?([0-9A-Za-z]+)/.exec(reply)?.[1] ?? "", at, refusedRecipients);
  }

  /** A message that was put off is offered again by whoever is free next. */
  #onRefused(no: number, reply: string): boolean {
    this.#lastProblem = reply;
    const refusals = (this.#refusals.get(no) ?? 0) + 1;
    if (!reply.startsWith("4") || refusals > refusalsMax || this.#stopped) {
      this.#refused++;
      return false;
    }
    this.#refusedForNow++;
    this.#refusals.set(no, refusals);
    this.#again.push(no);
    return true;
  }

  #onBroken(no: number, dotSent: boolean): void {
    if (dotSent) this.uncertain.push(this.#maker.benchIdOf(no));
    else this.#again.push(no);
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
