// DKIM signing off the main loop: batches of requests for a pool of threads (piscina), each with its own spool reader.

import { fileURLToPath } from "node:url";
import { FixedQueue, Piscina } from "piscina";
import { assert } from "../core/assert.ts";
import type { Domain, QueueId } from "../core/ids.ts";
import type { Millis } from "../core/time.ts";
import {
  type DomainKeys,
  type KeySet,
  keysFor,
  type Signatures,
  type Signer,
  type SignRequest,
} from "../signing/signing.ts";
import { DamagedRecordError } from "../spool/spool.ts";
import type { Log } from "../telemetry/log.ts";
import type { SignedBatch, SigningBatch, SigningFailure, SigningThreadData } from "./signing-batch.ts";

/** Requests in one batch: about 13 ms of RSA-2048. */
const batchRequestsMax = 32;
const batchesPerThreadMax = 2;
/** So many waiting requests make a second batch for a thread that has one, so that it need not wait for this loop. */
const secondBatchRequestsMin = 16;
/** Requests that wait for a thread. Above it signing is refused, and the caller tries later. */
const waitingMax = 16_384;
/** Times that a request may take its thread down with it. */
const threadDeathsMax = 3;
/** A batch that takes longer has a thread that hangs or never started. */
const batchTimeoutMs: Millis = 30_000;
const watchIntervalMs: Millis = 5_000;
/** Rest after threads have failed without work, so that ones that cannot start do not take all of the processor. */
const restartPauseMs: Millis = 1_000;

export interface SigningThreadsOptions {
  readonly keySet: KeySet;
  /** The folder of the shard's spool, as `openContentReader` takes it. */
  readonly spoolPath: string;
  readonly threads: number;
  readonly log: Log;
  /** The thread's module; only tests give another one. */
  readonly worker?: URL | undefined;
}

interface Waiting {
  readonly request: SignRequest;
  readonly resolve: (signatures: Signatures) => void;
  readonly reject: (error: Error) => void;
  threadDeaths: number;
}

/** A pool with the keys it was started with. Its batches end before it is closed. */
interface Generation {
  readonly pool: Piscina;
  readonly running: Map<Promise<void>, Millis>;
}

/**
 * A batch starts as soon as a thread is free and the requests of this turn of the loop have come in: an idle pool adds
 * no wait, a busy one makes batches of what waits, and there is no timer.
 */
export class SigningThreads implements Signer {
  readonly #options: SigningThreadsOptions;
  readonly #watch: NodeJS.Timeout;
  #keySet: KeySet;
  #generation: Generation | undefined;
  /** Closings of former generations. */
  readonly #closings = new Set<Promise<void>>();
  #waiting: Waiting[] = [];
  #runningBatches = 0;
  #flushPlanned = false;
  #pause: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SigningThreadsOptions) {
    this.#options = options;
    this.#keySet = options.keySet;
    this.#generation = this.#startGeneration();
    this.#watch = setInterval(() => this.#endOverdue(), watchIntervalMs).unref();
  }

  /** Requests that wait for a thread. */
  get waiting(): number {
    return this.#waiting.length;
  }

  signs(fromDomain: Domain | undefined): boolean {
    return keysFor(this.#keySet, fromDomain) !== undefined;
  }

  sign(request: SignRequest): Promise<Signatures> {
    if (this.#closed) return Promise.reject(new Error("the signing threads are closed"));
    if (!this.signs(request.fromDomain)) return Promise.resolve({ headers: Buffer.alloc(0), signedBy: [] });
    if (this.#waiting.length >= waitingMax) {
      return Promise.reject(new Error(`${waitingMax} messages wait to be signed already`));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject, threadDeaths: 0 });
      this.#planFlush();
    });
  }

  /**
   * Signs with the new keys all that is not in a thread yet. Threads with the old keys end after their batches. A
   * request for a domain without keys in the new set is rejected; tried again, the message goes as the config says.
   */
  reload(keySet: KeySet): void {
    assert(!this.#closed, "reload of closed signing threads");
    this.#keySet = keySet;
    const old = this.#generation;
    this.#generation = this.#startGeneration();
    if (old !== undefined) this.#retire(old);
  }

  /** Rejects what waits, lets the batches in the threads end, ends the threads. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watch);
    clearTimeout(this.#pause);
    for (const waiting of this.#waiting.splice(0)) waiting.reject(new Error("the signing threads are closed"));
    if (this.#generation !== undefined) this.#retire(this.#generation);
    this.#generation = undefined;
    await Promise.all(this.#closings);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** undefined without keys: then there is nothing to sign, and threads would only take memory. */
  #startGeneration(): Generation | undefined {
    if (this.#keySet.domains.size === 0) return undefined;
    const { spoolPath, threads, worker } = this.#options;
    const data: SigningThreadData = { spoolPath, keySet: this.#keySet };
    const pool = new Piscina({
      filename: fileURLToPath(worker ?? new URL("./signing-worker.ts", import.meta.url)),
      workerData: data,
      minThreads: threads,
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      // What is not handed over waits here, where it can still become part of a larger batch.
      concurrentTasksPerWorker: batchesPerThreadMax,
      maxQueue: threads * batchesPerThreadMax,
      taskQueue: new FixedQueue(),
      // Waiting in Atomics.wait between tasks would stop the thread's loop, and with it the timer by which lmdb-js lets
      // go of a snapshot. Batches make up for the slower hand-over.
      atomics: "disabled",
      recordTiming: false,
    });
    const generation: Generation = { pool, running: new Map() };
    pool.on("error", (error: Error) => {
      this.#options.log.error({ err: error }, "a signing thread failed");
      this.#replace(generation);
    });
    return generation;
  }

  /** Ends a generation after its batches. */
  #retire(generation: Generation): void {
    const closing = Promise.all(generation.running.keys())
      .then(() => generation.pool.destroy())
      .finally(() => this.#closings.delete(closing));
    this.#closings.add(closing);
  }

  /** Ends a generation with threads that failed or hang at once. Its requests come back and are tried again. */
  #replace(generation: Generation): void {
    const closing = generation.pool.destroy().finally(() => this.#closings.delete(closing));
    this.#closings.add(closing);
    if (this.#closed || this.#generation !== generation) return;
    this.#generation = undefined;
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      if (this.#closed) return;
      this.#generation ??= this.#startGeneration();
      this.#planFlush();
    }, restartPauseMs);
  }

  #endOverdue(): void {
    const generation = this.#generation;
    if (generation === undefined) return;
    const latest = performance.now() - batchTimeoutMs;
    if (![...generation.running.values()].some((startedAt) => startedAt < latest)) return;
    this.#options.log.error({ batchTimeoutMs }, "a signing thread gave no answer in time");
    this.#replace(generation);
  }

  #planFlush(): void {
    if (this.#flushPlanned || this.#freeSlots() === 0) return;
    this.#flushPlanned = true;
    setImmediate(() => {
      this.#flushPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#generation !== undefined && this.#waiting.length > 0) {
      const freeSlots = this.#freeSlots();
      if (freeSlots === 0) return;
      const batch = this.#takeBatch(Math.ceil(this.#waiting.length / freeSlots));
      if (batch.length > 0) this.#start(this.#generation, batch);
    }
  }

  #freeSlots(): number {
    const perThread = this.#waiting.length >= secondBatchRequestsMin ? batchesPerThreadMax : 1;
    return Math.max(0, this.#options.threads * perThread - this.#runningBatches);
  }

  /** The oldest requests. One that took a thread down goes alone, for it may do so again. */
  #takeBatch(wanted: number): { readonly waiting: Waiting; readonly keys: DomainKeys }[] {
    const count = (this.#waiting[0]?.threadDeaths ?? 0) > 0 ? 1 : Math.min(wanted, batchRequestsMax);
    const batch: { readonly waiting: Waiting; readonly keys: DomainKeys }[] = [];
    for (const waiting of this.#waiting.splice(0, count)) {
      const keys = keysFor(this.#keySet, waiting.request.fromDomain);
      if (keys !== undefined) batch.push({ waiting, keys });
      else waiting.reject(new Error(`the keys for ${waiting.request.fromDomain} were taken out of the config`));
    }
    return batch;
  }

  #start(generation: Generation, batch: readonly { readonly waiting: Waiting; readonly keys: DomainKeys }[]): void {
    const task: SigningBatch = {
      queueIds: batch.map(({ waiting }) => waiting.request.queueId),
      domains: batch.map(({ keys }) => keys.domain),
      signedAt: batch.map(({ waiting }) => waiting.request.signedAt),
    };
    this.#runningBatches++;
    const running = (generation.pool.run(task) as Promise<SignedBatch>)
      .then(
        (signed) => this.#settle(batch, signed),
        (error: Error) => this.#retry(batch, error),
      )
      .finally(() => {
        generation.running.delete(running);
        this.#runningBatches--;
        this.#flush();
      });
    generation.running.set(running, performance.now());
  }

  #settle(batch: readonly { readonly waiting: Waiting; readonly keys: DomainKeys }[], signed: SignedBatch): void {
    const headers = Buffer.from(signed.headers, "latin1");
    const failures = new Map(signed.failures.map((failure) => [failure.index, failure]));
    let from = 0;
    for (let index = 0; index < batch.length; index++) {
      const { waiting, keys } = batch[index] as (typeof batch)[number];
      const to = from + (signed.lengths[index] as number);
      const failure = failures.get(index);
      if (failure !== undefined) waiting.reject(signingError(waiting.request.queueId, failure));
      else waiting.resolve({ headers: headers.subarray(from, to), signedBy: keys.signedBy });
      from = to;
    }
  }

  /** The thread ended without an answer. */
  #retry(batch: readonly { readonly waiting: Waiting }[], error: Error): void {
    this.#options.log.warn({ err: error, requests: batch.length }, "a signing thread ended in the middle of a batch");
    const again: Waiting[] = [];
    for (const { waiting } of batch) {
      waiting.threadDeaths++;
      if (this.#closed || waiting.threadDeaths >= threadDeathsMax) {
        const message = `signing ${waiting.request.queueId} ended its thread`;
        waiting.reject(new Error(message, { cause: error }));
      } else again.push(waiting);
    }
    this.#waiting = again.concat(this.#waiting);
  }
}

function signingError(queueId: QueueId, failure: SigningFailure): Error {
  if (failure.name === "DamagedRecordError") return new DamagedRecordError(queueId, failure.message);
  return new Error(`${queueId} cannot be signed: ${failure.message}`);
}
