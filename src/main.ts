// The composition root: reads the config, runs the shards in their threads and the admin API here, and minds the signals.

import { randomInt } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { isDeepStrictEqual } from "node:util";
import { Worker } from "node:worker_threads";
import { collectDefaultMetrics, Registry } from "prom-client";
import type { AdminBackend, OperatorAction } from "./admin/admin.ts";
import { type AdminServer, openAdmin } from "./admin/admin-server.ts";
import { mergeLanes } from "./admin/merged-lanes.ts";
import { formatHostPort } from "./config/address.ts";
import type { Config } from "./config/config.ts";
import { formatConfigError, loadConfig } from "./config/config-file.ts";
import { isQueueId, shardOfQueueId } from "./core/ids.ts";
import type { MessageExplanation } from "./queue/queue.ts";
import { newLaneMemory } from "./shaping/shaping.ts";
import { type FromShard, type ShardCalls, type ShardData, ShardLink } from "./shard-calls.ts";
import type { Selection } from "./spool/spool.ts";
import { type Log, makeLog } from "./telemetry/log.ts";
import { mergeMetrics, metricsContentType, readMetrics } from "./telemetry/metrics.ts";

const shardsAutoMax = 16;
/** What V8 may take for new objects in a shard. Its own choice takes 65 MiB more, and is not measurably faster. */
const youngGenerationMiB = 32;
/** A shard that does not answer an operator within this time is too busy to be called well. */
const answerTimeoutMs = 10_000;
/** Beyond the config's drain time, for what follows it. */
const stopGraceMs = 15_000;
/** For threads that have stopped to end by themselves, so that the last lines of their logs get out. */
const threadEndMs = 1_000;

export interface ServerOptions {
  readonly configFile: string;
}

/**
 * Runs the server until a signal or a failure ends it. Resolves to the exit status; start-up errors go to standard error.
 * Then the process is to be ended at once: a thread that failed, or that a second signal did not wait for, may have work
 * that ends late or never, and must not stay behind with the spool's lock.
 */
export async function runServer({ configFile }: ServerOptions): Promise<number> {
  const loaded = loadConfig(configFile);
  if (loaded.kind === "invalid") {
    for (const error of loaded.errors) process.stderr.write(`${formatConfigError(error)}\n`);
    return 1;
  }
  const { config } = loaded;
  // Commits, file input and output, and scrypt share these threads. Set before the first of them is used.
  process.env.UV_THREADPOOL_SIZE ??= String(availableParallelism() + 4);
  const log = makeLog(config.log.level, { name: "postern" });
  for (const warning of loaded.warnings) log.warn(warning);
  const server = new Server(configFile, config, log);
  try {
    await server.open();
  } catch (error) {
    await server.close();
    for (const line of messageOf(error).split("\n")) process.stderr.write(`postern: ${line}\n`);
    return 1;
  }
  return server.ended;
}

class Server implements AdminBackend {
  readonly ended: Promise<number>;
  readonly #configFile: string;
  readonly #log: Log;
  readonly #shards: ShardLink[] = [];
  readonly #threads: Promise<void>[] = [];
  readonly #registry = new Registry();
  #config: Config;
  #admin: AdminServer | undefined;
  #end: (status: number) => void = () => undefined;
  #state: "starting" | "serving" | "draining" | "failed" = "starting";

  constructor(configFile: string, config: Config, log: Log) {
    this.#configFile = configFile;
    this.#config = config;
    this.#log = log;
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  async open(): Promise<void> {
    const count = shardCount(this.#config);
    const laneMemory = newLaneMemory(count, randomInt(2 ** 31));
    for (let shard = 0; shard < count; shard++) {
      await this.#startShard({ config: this.#config, shard, shards: count, laneMemory });
    }
    collectDefaultMetrics({ register: this.#registry, prefix: "postern_" });
    const { admin } = this.#config;
    const token = admin.tokenEnv === undefined ? undefined : process.env[admin.tokenEnv];
    this.#admin = await openAdmin({ config: admin, token, backend: this, log: this.#log });
    this.#state = "serving";
    process.on("SIGTERM", () => this.#drain("SIGTERM"));
    process.on("SIGINT", () => this.#drain("SIGINT"));
    process.on("SIGHUP", () => void this.reload());
    this.#log.info({ shards: count, admin: formatHostPort(this.#admin.address) }, "ready");
  }

  /** Ends what `open` started, after a failure in it. */
  async close(): Promise<void> {
    await this.#stopShards();
    await this.#admin?.close();
  }

  // ---- AdminBackend

  async queues(filter: Parameters<AdminBackend["queues"]>[0]) {
    return (await this.#all("queues", [filter])).flat();
  }

  async lanes() {
    return mergeLanes((await this.#all("lanes", [])).flat());
  }

  async explain(queueId: string): Promise<MessageExplanation | undefined> {
    if (!isQueueId(queueId)) return undefined;
    return this.#shards[shardOfQueueId(queueId)]?.call("explain", [queueId], answerTimeoutMs);
  }

  async act(action: OperatorAction, selection: Selection, reason: string, by: string) {
    // A long action (a cancel of a million) goes on as long as it needs: no time limit here.
    const results =
      action === "hold"
        ? await this.#all("hold", [selection, reason, by], null)
        : await this.#all(action, [selection, reason === "" ? by : `${by}: ${reason}`], null);
    const recipients = results.reduce((sum, touched) => sum + touched.recipients, 0);
    this.#log.info({ action, selection, reason, by, recipients }, "done for an operator");
    return {
      recipients,
      hold: results.find(({ hold }) => hold !== undefined)?.hold,
      refused: results.find(({ refused }) => refused !== undefined)?.refused,
    };
  }

  async holds() {
    return (await this.#shards[0]?.call("holds", [], answerTimeoutMs)) ?? [];
  }

  async metrics(names: readonly string[]) {
    const shards = await this.#all("metrics", [names]);
    const text = await mergeMetrics([...shards, await readMetrics(this.#registry, names)]);
    return { contentType: metricsContentType, text };
  }

  async health() {
    if (this.#state !== "serving") return { live: this.#state !== "failed", ready: false, reasons: [this.#state] };
    try {
      const shards = await this.#all("health", [], 2_000);
      const reasons = shards.flatMap(({ reasons }) => reasons);
      return { live: true, ready: shards.every(({ ready }) => ready), reasons };
    } catch (error) {
      return { live: true, ready: false, reasons: [messageOf(error)] };
    }
  }

  async reload() {
    const loaded = loadConfig(this.#configFile);
    if (loaded.kind === "invalid") return this.#notReloaded(loaded.errors.map(formatConfigError));
    const fixed = restartOnly(this.#config, loaded.config);
    if (fixed !== undefined) return this.#notReloaded([`${this.#configFile}: ${fixed} changes only at a restart`]);
    try {
      // Shard by shard: each takes the config whole or keeps its old one.
      for (const shard of this.#shards) await shard.call("reload", [loaded.config]);
    } catch (error) {
      for (const shard of this.#shards) await shard.call("reload", [this.#config]).catch(() => undefined);
      return this.#notReloaded(messageOf(error).split("\n"));
    }
    this.#config = loaded.config;
    for (const warning of loaded.warnings) this.#log.warn(warning);
    this.#log.info("config reloaded");
    return { reloaded: true, errors: [] };
  }

  // ---- inside

  #notReloaded(errors: readonly string[]) {
    this.#log.error({ errors }, "config not reloaded: the old one stays in force");
    return { reloaded: false, errors };
  }

  #all<Method extends keyof ShardCalls>(
    method: Method,
    args: Parameters<ShardCalls[Method]>,
    timeoutMs: number | null = answerTimeoutMs,
  ): Promise<ReturnType<ShardCalls[Method]>[]> {
    return Promise.all(this.#shards.map((shard) => shard.call(method, args, timeoutMs ?? undefined)));
  }

  #startShard(data: ShardData): Promise<void> {
    const worker = new Worker(new URL("./shard.ts", import.meta.url), {
      workerData: data,
      name: `shard ${data.shard}`,
      resourceLimits: { maxYoungGenerationSizeMb: youngGenerationMiB },
    });
    const link = new ShardLink(worker);
    this.#shards.push(link);
    this.#threads.push(new Promise((resolve) => worker.once("exit", () => resolve())));
    return new Promise((resolve, reject) => {
      worker.on("message", (message: FromShard) => {
        switch (message.kind) {
          case "opened":
            this.#log.info({ shard: data.shard, listening: message.addresses }, "shard open");
            resolve();
            return;
          case "failed":
            // It hears nothing any more: whoever stops the shards need not wait for it.
            link.end(new Error(message.message));
            reject(new Error(message.message));
            return;
          case "fatal":
            this.#fail(new Error(message.message));
            return;
          default:
            link.settle(message);
        }
      });
      worker.on("error", (cause) => {
        const error = cause instanceof Error ? cause : new Error(String(cause));
        link.end(error);
        reject(error);
        this.#fail(error);
      });
      worker.on("exit", (code) => {
        const error = new Error(`the thread of shard ${data.shard} ended (${code})`);
        link.end(error);
        reject(error);
        if (this.#state === "serving") this.#fail(error);
      });
    });
  }

  /** Nothing more is promised: the process ends at once, and what is on the disk is found at the next start. */
  #fail(error: Error): void {
    if (this.#state === "failed" || this.#state === "starting") return;
    this.#state = "failed";
    this.#log.fatal({ err: error }, "stopping with an error");
    this.#end(1);
  }

  #drain(signal: string): void {
    if (this.#state === "draining") {
      this.#log.warn({ signal }, "second signal: ending at once");
      this.#end(1);
      return;
    }
    this.#state = "draining";
    this.#log.info({ signal }, "draining: no new mail; transactions under way end first");
    this.#stopShards().then(
      async () => {
        await this.#admin?.close();
        this.#log.info("stopped");
        this.#end(0);
      },
      (error: unknown) => {
        this.#log.error({ err: error }, "not stopped cleanly");
        this.#end(1);
      },
    );
  }

  async #stopShards(): Promise<void> {
    const limit = this.#config.drainTimeoutMs + stopGraceMs;
    await Promise.allSettled(this.#shards.map((shard) => shard.call("stop", [], limit)));
    await Promise.race([
      Promise.all(this.#threads),
      new Promise((resolve) => setTimeout(resolve, threadEndMs).unref()),
    ]);
  }
}

/** As many shards as configured, and never fewer than hold mail on the disk. */
function shardCount(config: Config): number {
  const wanted =
    config.shards === "auto"
      ? Math.min(shardsAutoMax, Math.max(1, Math.floor(availableParallelism() / 2)))
      : config.shards;
  const { path } = config.spool;
  const found = namesIn(path).flatMap((name) => /^shard-(\d+)$/.exec(name)?.slice(1).map(Number) ?? []);
  return Math.max(wanted, ...found.map((shard) => shard + 1));
}

function namesIn(path: string): readonly string[] {
  try {
    return existsSync(path) ? readdirSync(path) : [];
  } catch (cause) {
    throw new Error(`spool folder ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** The first setting that differs and cannot change while running, or undefined: better refused than not followed. */
function restartOnly(before: Config, after: Config): string | undefined {
  for (const key of ["spool", "shards", "admin", "dns", "log"] as const) {
    if (!isDeepStrictEqual(before[key], after[key])) return key;
  }
  for (const key of ["path", "rotateBytes", "keepMs"] as const) {
    if (before.events[key] !== after.events[key]) return "events (but for its headers)";
  }
  return undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
