// The calls between the main thread and the threads of the shards.

import type { Worker } from "node:worker_threads";
import type { Config } from "./config/config.ts";
import type { EngineHealth } from "./engine.ts";
import type { ActionResult, LaneSummary, MessageExplanation, QueueSummary } from "./queue/queue.ts";
import type { HoldRecord, Selection } from "./spool/spool.ts";
import type { MetricsJson } from "./telemetry/metrics.ts";

export interface ShardData {
  readonly config: Config;
  readonly shard: number;
  readonly shards: number;
  /** Shared by all of them: see `newLaneMemory` in the shaping room. */
  readonly laneMemory: SharedArrayBuffer;
}

/** Each call, its arguments and what it answers. */
export interface ShardCalls {
  queues(filter: { readonly stream?: string | undefined; readonly domain?: string | undefined }): QueueSummary[];
  lanes(): LaneSummary[];
  explain(queueId: string): MessageExplanation | undefined;
  hold(selection: Selection, reason: string, by: string): ActionResult;
  release(selection: Selection, by: string): ActionResult;
  cancel(selection: Selection, by: string): ActionResult;
  retry(selection: Selection, by: string): ActionResult;
  holds(): HoldRecord[];
  metrics(names: readonly string[]): MetricsJson;
  health(): EngineHealth;
  reload(config: Config): void;
  stop(): void;
}

export type ToShard = {
  [Method in keyof ShardCalls]: {
    readonly id: number;
    readonly method: Method;
    readonly args: Parameters<ShardCalls[Method]>;
  };
}[keyof ShardCalls];

export type FromShard =
  | { readonly kind: "opened"; readonly addresses: readonly string[] }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "fatal"; readonly message: string }
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "error"; readonly id: number; readonly message: string };

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout | undefined;
}

/** The main thread's side of a shard. */
export class ShardLink {
  readonly worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #calls = 0;
  #gone: Error | undefined;

  constructor(worker: Worker) {
    this.worker = worker;
  }

  /** Rejects when the shard answers with an error, is gone, or does not answer within `timeoutMs`. */
  call<Method extends keyof ShardCalls>(
    method: Method,
    args: Parameters<ShardCalls[Method]>,
    timeoutMs?: number,
  ): Promise<ReturnType<ShardCalls[Method]>> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone);
    const id = this.#calls++;
    return new Promise((resolve, reject) => {
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => {
              this.#waiting.delete(id);
              reject(new Error(`the shard did not answer within ${timeoutMs} ms`));
            }, timeoutMs);
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject, timer });
      this.worker.postMessage({ id, method, args });
    });
  }

  settle(message: Extract<FromShard, { kind: "answer" | "error" }>): void {
    const waiting = this.#waiting.get(message.id);
    if (waiting === undefined) return;
    this.#waiting.delete(message.id);
    clearTimeout(waiting.timer);
    if (message.kind === "answer") waiting.resolve(message.value);
    else waiting.reject(new Error(message.message));
  }

  /** The thread ended: nothing will be answered any more. */
  end(error: Error): void {
    this.#gone = error;
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(error);
    }
    this.#waiting.clear();
  }
}
