// What one shard may do on one lane: messages and connections, counted together with the other shards of the process.

import type { SiteLimits } from "../config/config.ts";
import type { Admission } from "../core/attempt.ts";
import type { Lane as LaneName } from "../core/plan.ts";
import type { Millis } from "../core/time.ts";
import { type ConnectionAdmission, ConnectionShare, type Spare } from "./connection-share.ts";
import { int, type LaneTable } from "./lane-table.ts";
import { RateGovernor } from "./rate-governor.ts";

/** Where two shards use up a rate, the one that had the last token leaves the other one this much time for the next. */
const yieldMs: Millis = 20;
/** While the table has no room, a lane asks again after this time. */
const roomLookMs: Millis = 1_000;

export type LaneLimits = Pick<SiteLimits, "rate" | "connectionRate" | "connectionsMax">;

interface Parts {
  readonly record: number;
  readonly rate: RateGovernor;
  readonly connectionRate: RateGovernor;
  readonly connections: ConnectionShare;
}

/** All times are the clock's monotonic time, which is the same in all shards. */
export class LaneGovernor {
  readonly #table: LaneTable;
  readonly #name: LaneName;
  readonly #onChange: () => void;
  #limits: LaneLimits;
  /** undefined: there was no room in the table. Then nothing may go. */
  #parts: Parts | undefined;
  #nextLookMs = 0;
  /** Connections of this shard. */
  #held = 0;
  #listens = false;
  #closed = false;

  /**
   * `onChange` is called when a connection may be had that `admitConnection` refused as "full", and when another shard
   * begins to wait for one.
   */
  constructor(table: LaneTable, name: LaneName, limits: LaneLimits, nowMs: Millis, onChange: () => void) {
    this.#table = table;
    this.#name = name;
    this.#limits = limits;
    this.#onChange = onChange;
    this.#takePlace(nowMs);
  }

  /** Whether the lane waits because there are too many others. */
  get hasNoPlace(): boolean {
    return this.#parts === undefined;
  }

  setLimits(limits: LaneLimits, nowMs: Millis): void {
    this.#limits = limits;
    if (this.#parts === undefined) return;
    const { record, rate, connectionRate } = this.#parts;
    const lockAt = this.#table.intAt(record, int.lock);
    this.#table.lock(lockAt);
    rate.setRate(limits.rate, nowMs);
    connectionRate.setRate(limits.connectionRate, nowMs);
    this.#table.unlock(lockAt);
  }

  // ---- messages

  /** Takes a token when it answers "go". */
  admitMessage(nowMs: Millis): Admission {
    const parts = this.#parts;
    if (parts === undefined) return { kind: "wait", untilMs: nowMs + roomLookMs };
    if (parts.rate.intervalMs === 0 || this.#table.shards === 1) return parts.rate.admit(nowMs);
    const lockAt = this.#table.intAt(parts.record, int.lock);
    this.#table.lock(lockAt);
    const answer = this.#admitInTurn(parts, nowMs);
    this.#table.unlock(lockAt);
    return answer;
  }

  /** Under the lock. Shards whose timers go off at one moment would else be served by chance, or by who is less busy. */
  #admitInTurn({ record, rate }: Parts, nowMs: Millis): Admission {
    const { ints, shard } = this.#table;
    const lastTakerAt = this.#table.intAt(record, int.lastTaker);
    const othersRefusedAt = this.#table.intAt(record, int.othersRefused);
    const hadLast = ints[lastTakerAt] === shard + 1;
    const untilMs =
      hadLast && ints[othersRefusedAt] === 1
        ? rate.earliestMs + Math.min(yieldMs, rate.intervalMs / 2)
        : rate.earliestMs;
    if (nowMs < untilMs) {
      if (!hadLast) ints[othersRefusedAt] = 1;
      return { kind: "wait", untilMs };
    }
    ints[lastTakerAt] = shard + 1;
    ints[othersRefusedAt] = 0;
    return rate.admit(nowMs);
  }

  // ---- connections

  /**
   * Takes a connection when it answers "go": `closed` must follow. On "full" the lane waits until `onChange`, or until it
   * withdraws, which it must do when it needs none any more; but not when it has connections that wait for the rate.
   */
  admitConnection(nowMs: Millis): ConnectionAdmission {
    if (this.#parts === undefined && nowMs >= this.#nextLookMs) this.#takePlace(nowMs);
    if (this.#parts === undefined) return { kind: "wait", untilMs: this.#nextLookMs };
    const { connections, rate } = this.#parts;
    // Before the question, so that no change is missed.
    this.#listen();
    const onlyIfFree = this.#held > 0 && nowMs < rate.earliestMs;
    const answer = connections.admit(this.#limits.connectionsMax, onlyIfFree, nowMs);
    if (answer.kind === "go") this.#held++;
    return answer;
  }

  /** The connection has become a session. */
  established(): void {
    this.#parts?.connections.established();
  }

  /** The connection is over. `returned`: because `givesBack` said so. */
  closed(wasEstablished: boolean, returned: boolean): void {
    this.#held--;
    this.#parts?.connections.release(wasEstablished, returned);
  }

  withdraw(): void {
    this.#parts?.connections.withdraw();
  }

  /** Whether another shard waits for a connection of the lane. */
  get isWanted(): boolean {
    return this.#table.shards > 1 && this.#parts?.connections.isWanted === true;
  }

  /** Whether a connection is to end for another shard's sake. The answer true is a promise that it does. */
  givesBack(spare: Spare, nowMs: Millis): boolean {
    return this.#parts?.connections.giveBack(this.#limits.connectionsMax, spare, nowMs) === true;
  }

  /** Established connections of all shards. */
  get establishedCount(): number {
    return this.#parts?.connections.establishedCount ?? 0;
  }

  /** The peer takes no more connections than are established, from whatever shard. */
  setCeiling(untilMs: Millis): void {
    this.#parts?.connections.setCeiling(untilMs);
  }

  /** What all shards may have together at this moment. */
  connectionsMax(nowMs: Millis): number {
    const { connectionsMax } = this.#limits;
    return this.#parts?.connections.effectiveMax(connectionsMax, nowMs) ?? connectionsMax;
  }

  // ---- for people and the sweep

  /** Tokens of the rates left at this moment. */
  tokens(nowMs: Millis): { readonly messages: number; readonly connections: number } {
    return {
      messages: this.#parts?.rate.tokens(nowMs) ?? 0,
      connections: this.#parts?.connectionRate.tokens(nowMs) ?? 0,
    };
  }

  /** Whether its rates admit as freely as new ones would. */
  isRested(nowMs: Millis): boolean {
    const parts = this.#parts;
    return parts === undefined || (parts.rate.isRested(nowMs) && parts.connectionRate.isRested(nowMs));
  }

  /** All connections must be over. */
  close(): void {
    this.#closed = true;
    if (this.#parts === undefined) return;
    const { record, connections } = this.#parts;
    connections.withdraw();
    // What it listens with may not outlive its place.
    if (this.#listens) Atomics.notify(this.#table.ints, this.#table.intAt(record, int.change));
    this.#parts = undefined;
    this.#table.give(record);
  }

  // ---- inside

  #takePlace(nowMs: Millis): void {
    this.#nextLookMs = nowMs + roomLookMs;
    const record = this.#table.take(this.#name);
    if (record === undefined) return;
    const lockAt = this.#table.intAt(record, int.lock);
    this.#table.lock(lockAt);
    const rate = new RateGovernor(this.#table, record, "message", this.#limits.rate, nowMs);
    const connectionRate = new RateGovernor(this.#table, record, "connection", this.#limits.connectionRate, nowMs);
    this.#table.unlock(lockAt);
    const connections = new ConnectionShare(this.#table, record, connectionRate);
    this.#parts = { record, rate, connectionRate, connections };
  }

  /** Hears of changes for as long as it has connections or waits for one. A wait does not keep the thread alive. */
  #listen(): void {
    if (this.#listens || this.#parts === undefined || this.#table.shards === 1) return;
    const { ints } = this.#table;
    const changeAt = this.#table.intAt(this.#parts.record, int.change);
    this.#listens = true;
    const heard = (): void => {
      this.#listens = false;
      if (this.#closed) return;
      if (this.#held > 0 || this.#parts?.connections.isWaiting === true) this.#listen();
      this.#onChange();
    };
    const change = Atomics.waitAsync(ints, changeAt, Atomics.load(ints, changeAt));
    if (change.async) void change.value.then(heard);
    else queueMicrotask(heard);
  }
}
