// A queue put together for tests: the real queue over a spool in memory, a simulated clock and scripted connections.

import type { Config, SiteLimits, StreamConfig } from "../../src/config/config.ts";
import type { Notify } from "../../src/core/envelope.ts";
import type { DeliveryEvent, EventSink } from "../../src/core/event.ts";
import { type Clock, dayMs, type Instant, type Millis, minuteMs, secondMs, type Timer } from "../../src/core/time.ts";
import { createDsnWriter, formatEvent, isDsnDue } from "../../src/outcome/outcome.ts";
import { MailQueue } from "../../src/queue/mail-queue.ts";
import type { QueuePorts } from "../../src/queue/ports.ts";
import type { AcceptResult, Submission } from "../../src/queue/queue.ts";
import type { PlanResolver, Resolution } from "../../src/resolve/resolve.ts";
import { LaneTable, newLaneMemory } from "../../src/shaping/shaping.ts";
import type { Signer } from "../../src/signing/signing.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { MemorySpool } from "./memory-spool.ts";
import { type Answer, type Host, newHost, ScriptedConnection, type Sent } from "./queue-connection.ts";
import { SeededRandom } from "./seeded-random.ts";
import { SimClock } from "./sim-clock.ts";

export interface Mail {
  readonly to?: readonly string[] | string;
  readonly from?: string;
  readonly stream?: string;
  readonly job?: string;
  readonly tenant?: string;
  readonly user?: string;
  readonly body?: string;
  readonly notify?: Notify;
  readonly key?: string;
}

export interface WorldParts {
  readonly limits?: Partial<SiteLimits>;
  readonly streams?: Readonly<Record<string, Partial<StreamConfig>>>;
  readonly sources?: readonly string[];
  readonly pools?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly delivery?: Partial<Config["delivery"]>;
  readonly named?: Config["sites"]["named"];
  readonly hosts?: Readonly<Record<string, Partial<Host>>>;
  /** What a domain resolves to; `mx.<domain>` at the site of that name where nothing is said. */
  readonly domains?: Readonly<Record<string, { readonly site: string; readonly host: string }>>;
  readonly seed?: number;
  readonly idleMs?: Millis;
  /** What several worlds share that are the shards of one process. */
  readonly process?: SharedWorld;
  readonly shard?: number;
}

export interface SharedWorld {
  readonly clock: SimClock;
  readonly hosts: Map<string, Host>;
  readonly laneMemory: SharedArrayBuffer;
  readonly shards: number;
}

/** The worlds of so many shards at one internet. */
export function openShards(shards: number, parts: WorldParts): QueueWorld[] {
  const clock = new SimClock(defaultStart);
  const process = { clock, hosts: new Map(), laneMemory: newLaneMemory(shards, 1, 1_000), shards };
  return Array.from({ length: shards }, (_, shard) => new QueueWorld({ ...parts, process, shard }));
}

export const defaultStart: Instant = 1_767_225_600_000;

export function configOf(parts: WorldParts = {}): Config {
  const sources = parts.sources ?? ["a1"];
  const stream = (name: string, rest: Partial<StreamConfig>): StreamConfig => ({
    name,
    pool: Object.keys(parts.pools ?? { all: 1 })[0] ?? "all",
    class: "batch",
    share: 1,
    deadlineMs: undefined,
    expireMs: 4 * dayMs,
    retryMs: [10 * minuteMs, 20 * minuteMs, 60 * minuteMs],
    delayDsnMs: undefined,
    ...rest,
  });
  const streams: Readonly<Record<string, Partial<StreamConfig>>> = parts.streams ?? {
    news: {},
    receipts: { class: "realtime", expireMs: 60 * minuteMs, retryMs: [5 * secondMs, 15 * secondMs, minuteMs] },
  };
  const pools = parts.pools ?? { all: Object.fromEntries(sources.map((source) => [source, 1])) };
  return {
    hostname: "mta.example",
    shards: 1,
    spool: { path: "/test", freeSpaceMinBytes: 0, mapSizeBytes: 0, commitLatencyMaxMs: 5_000 },
    ingest: { smtp: [], memoryMaxBytes: 1 << 28 },
    users: new Map(),
    dns: { servers: "system", timeoutMs: 5_000 },
    delivery: {
      port: 25,
      tls: "opportunistic",
      internalNetworksAllowed: [],
      ip: [4],
      timeouts: {
        connectMs: 30_000,
        bannerMs: 30_000,
        ehloMs: 30_000,
        startTlsMs: 30_000,
        mailMs: 30_000,
        rcptMs: 30_000,
        dataMs: 30_000,
        blockMs: 30_000,
        finalDotMs: 30_000,
        idleMs: 5_000,
      },
      unknownOutcome: "retry",
      unknownRetryMinMs: 15 * minuteMs,
      ...parts.delivery,
    },
    sources: new Map(
      sources.map((name, i) => [name, { name, address: `198.51.100.${i + 1}`, ehlo: `${name}.mta.example` }]),
    ),
    pools: new Map(
      Object.entries(pools).map(([name, members]) => [
        name,
        { name, members: Object.entries(members).map(([source, weight]) => ({ source, weight })) },
      ]),
    ),
    streams: new Map(Object.entries(streams).map(([name, rest]) => [name, stream(name, rest)])),
    defaultStream: Object.keys(streams)[0] ?? "news",
    sites: {
      defaults: {
        connectionsMax: 2,
        connectionRate: undefined,
        messagesPerConnectionMax: 100,
        rate: undefined,
        recipientsPerMessageMax: 100,
        tls: undefined,
        ...parts.limits,
      },
      named: parts.named ?? [],
    },
    relays: new Map(),
    signing: [],
    bounces: { include: [], returnPath: "bounces@mta.example" },
    events: { path: "/test", rotateBytes: 1, keepMs: 1, headers: [] },
    admin: { listen: { host: "127.0.0.1", port: 0 }, tokenEnv: undefined },
    log: { level: "silent" },
    drainTimeoutMs: minuteMs,
  };
}

/** A clock whose timers die with the process that set them. */
class ProcessClock implements Clock {
  readonly #clock: Clock;
  dead = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): Instant {
    return this.#clock.now();
  }

  monotonicMs(): Millis {
    return this.#clock.monotonicMs();
  }

  after(delayMs: Millis, callback: () => void): Timer {
    return this.#clock.after(delayMs, () => {
      if (!this.dead) callback();
    });
  }
}

export class QueueWorld {
  readonly clock: SimClock;
  readonly random: SeededRandom;
  readonly hosts: Map<string, Host>;
  /** Transactions in the order of their end. */
  readonly sent: (Sent & { readonly answer: Answer })[] = [];
  readonly fatal: Error[] = [];
  readonly lines: string[] = [];
  /** A domain's answer other than a plan. */
  readonly dns = new Map<string, Exclude<Resolution, { kind: "plan" }>>();
  spool: MemorySpool;
  queue: MailQueue;
  config: Config;
  /** Replaced by tests that want another. */
  append: EventSink["append"] = async (lines) => {
    this.lines.push(lines.toString());
  };
  signer: Signer = { signs: () => false, sign: () => Promise.reject(new Error("nothing to sign")) };
  overload: string | undefined;
  readonly #parts: WorldParts;
  #process: ProcessClock;

  constructor(parts: WorldParts = {}) {
    this.#parts = parts;
    this.clock = parts.process?.clock ?? new SimClock(defaultStart);
    this.hosts = parts.process?.hosts ?? new Map();
    this.random = new SeededRandom(parts.seed ?? 1);
    this.config = configOf(parts);
    this.spool = new MemorySpool({ clock: this.clock, random: this.random, commitLatencyMaxMs: 5_000 });
    for (const [name, host] of Object.entries(parts.hosts ?? {})) this.hosts.set(name, newHost(host));
    this.#process = new ProcessClock(this.clock);
    this.queue = this.#make();
    this.queue.start();
  }

  host(name: string): Host {
    const host = this.hosts.get(name) ?? newHost();
    this.hosts.set(name, host);
    return host;
  }

  async advance(ms: Millis): Promise<void> {
    await this.clock.advance(ms);
  }

  /** Goes on in steps until `condition` holds; gives up after `maxMs`. True when it held. */
  async until(condition: () => boolean, maxMs: Millis = 10 * minuteMs, stepMs: Millis = 50): Promise<boolean> {
    for (let waited = 0; waited < maxMs && !condition(); waited += stepMs) await this.clock.advance(stepMs);
    return condition();
  }

  submission(mail: Mail = {}): Submission {
    const queueId = this.queue.reserveId();
    const header = Buffer.from(`Message-ID: <${queueId}@sender.example>\r\nFrom: app@sender.example\r\n\r\n`);
    const content = Buffer.concat([header, Buffer.from(mail.body ?? "Hello\r\n")]);
    const to = mail.to === undefined ? ["user@b.example"] : typeof mail.to === "string" ? [mail.to] : mail.to;
    return {
      stream: mail.stream ?? this.config.defaultStream,
      tenant: mail.tenant,
      job: mail.job,
      envelope: {
        reversePath: mail.from ?? "app@sender.example",
        envid: undefined,
        ret: undefined,
        body: "7bit",
        smtpUtf8: false,
        requireTls: false,
      },
      recipients: to.map((forwardPath) => ({ forwardPath, orcpt: undefined, notify: mail.notify })),
      content: [content],
      contentBytes: content.length,
      headerBytes: header.length,
      hasDotLines: false,
      fromDomain: "sender.example",
      messageIdHeader: undefined,
      loggedHeaders: {},
      user: mail.user,
      queueId,
      receivedAt: this.clock.now(),
      sessionId: "in",
      remote: { name: "app", address: "127.0.0.1" },
      idempotencyKey: mail.key,
    };
  }

  /** Submits without waiting for the disk. */
  submit(mail: Mail = {}): Promise<AcceptResult> {
    return this.queue.accept(this.submission(mail));
  }

  /** Submits and goes on until the answer is there. */
  async accept(mail: Mail = {}): Promise<string> {
    const result = await this.answer(this.submit(mail));
    if (result.kind !== "accepted") throw new Error(`not accepted: ${JSON.stringify(result)}`);
    return result.queueId;
  }

  /** Many at once, in this order. */
  async acceptAll(mails: readonly Mail[]): Promise<string[]> {
    const results = await this.answer(Promise.all(mails.map((mail) => this.submit(mail))));
    return results.map((result) => {
      if (result.kind !== "accepted") throw new Error(`not accepted: ${JSON.stringify(result)}`);
      return result.queueId;
    });
  }

  /** Moves time until the promise settles, at most a minute. */
  async answer<Value>(promise: Promise<Value>, maxMs: Millis = minuteMs): Promise<Value> {
    let isSettled = false;
    promise.then(
      () => (isSettled = true),
      () => (isSettled = true),
    );
    for (let waited = 0; waited < maxMs && !isSettled; waited++) await this.clock.advance(1);
    if (!isSettled) throw new Error(`no answer within ${maxMs} ms`);
    return promise;
  }

  /** The process ends at once (`crash`) or in good order, and another one starts on the same disk. */
  async restart(how: "crash" | "stop", afterMs: Millis = secondMs): Promise<void> {
    if (how === "stop") {
      await this.answer(this.queue.stop(), 10 * minuteMs);
      this.spool = await this.spool.reopen();
    } else this.spool = this.spool.crash();
    this.#process.dead = true;
    for (const host of this.hosts.values()) host.open = 0;
    await this.clock.advance(afterMs);
    this.#process = new ProcessClock(this.clock);
    this.queue = this.#make();
    this.queue.start();
  }

  reconfigure(parts: WorldParts): void {
    this.config = configOf(parts);
    this.queue.reconfigure(this.config);
  }

  /** Events written so far, repeats included. */
  events(...kinds: readonly string[]): DeliveryEvent[] {
    return this.lines
      .join("")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as DeliveryEvent)
      .filter(({ kind }) => kinds.length === 0 || kinds.includes(kind));
  }

  /** Kinds of a message's events in order. */
  story(queueId: string): string[] {
    return this.events()
      .filter((event) => event.queueId === queueId)
      .map(({ kind }) => kind);
  }

  /** States of a message's recipients, those it still has on the disk. */
  states(queueId: string): string[] {
    return this.spool
      .readEntries(queueId)
      .flatMap((entry) => entry.recipients.map(({ forwardPath, state }) => `${forwardPath} ${state.kind}`));
  }

  attempts(queueId: string, entryNo = 0): number | undefined {
    return this.spool.readEntry(queueId, entryNo)?.attempts;
  }

  /** Milliseconds until the entry is due. */
  dueInMs(queueId: string, entryNo = 0): Millis {
    return (this.spool.readEntry(queueId, entryNo)?.dueAt ?? Number.NaN) - this.clock.now();
  }

  sentIds(host?: string): string[] {
    return this.sent.filter((sent) => host === undefined || sent.host === host).map(({ queueId }) => queueId);
  }

  get isEmpty(): boolean {
    return this.spool.messageIds.length === 0 && [...this.spool.queues()].length === 0;
  }

  #make(): MailQueue {
    const clock = this.#process;
    const ports: QueuePorts = {
      clock,
      random: this.random,
      spool: this.spool,
      signer: { signs: (domain) => this.signer.signs(domain), sign: (request) => this.signer.sign(request) },
      planResolver: this.#resolver(clock),
      openConnection: (spec, feed) =>
        new ScriptedConnection(
          {
            clock,
            hostOf: (name) => this.host(name),
            sent: (sent, answer) => this.sent.push({ ...sent, answer }),
            idleMs: this.#parts.idleMs ?? 5 * secondMs,
          },
          spec,
          feed,
        ),
      sink: { append: (lines) => this.append(lines) },
      classifier: { classify: () => "other" },
      dsnWriter: createDsnWriter({ hostname: "mta.example", returnPath: "bounces@mta.example", random: this.random }),
      dsnDue: isDsnDue,
      formatEvent,
      observer: {
        ingestMessage: () => undefined,
        acceptToDelivery: () => undefined,
        deliveryAttempt: () => undefined,
        deliveryConnections: () => undefined,
        suspension: () => undefined,
        bounce: () => undefined,
      },
      log: silentLog,
      node: "test",
      shard: this.#parts.shard ?? 0,
      laneTable: this.#laneTable(),
      overload: () => this.overload,
      fatal: (error) => this.fatal.push(error),
    };
    return new MailQueue(ports, this.config);
  }

  #laneTable(): LaneTable {
    const { process, shard = 0 } = this.#parts;
    if (process === undefined) return new LaneTable(newLaneMemory(1, 1, 1_000), 0, 1);
    return new LaneTable(process.laneMemory, shard, process.shards);
  }

  #resolver(clock: Clock): PlanResolver {
    return {
      resolve: (domain) =>
        new Promise((resolve) => {
          clock.after(2, () => {
            const { site, host } = this.#parts.domains?.[domain] ?? { site: `mx.${domain}`, host: `mx.${domain}` };
            resolve(
              this.dns.get(domain) ?? {
                kind: "plan",
                plan: {
                  domain,
                  site,
                  exchangers: [{ host, preference: 10, addresses: ["192.0.2.1"] }],
                  until: clock.now() + 5 * minuteMs,
                },
              },
            );
          });
        }),
    };
  }
}
