// Runs one simulated world: the real rooms from the queue down, over simulated ports, crashes included.

import { createHash } from "node:crypto";
import type { EventSink } from "../../src/core/event.ts";
import { addressFilter } from "../../src/core/ip-address.ts";
import type { Random } from "../../src/core/random.ts";
import { type Clock, dayMs, hourMs, type Instant, type Millis, secondMs, type Timer } from "../../src/core/time.ts";
import { newQuirks, openConnection } from "../../src/delivery/delivery.ts";
import { createDsnWriter, formatEvent, isDsnDue, type ReplyClassifier } from "../../src/outcome/outcome.ts";
import type { OpenConnection } from "../../src/queue/lane.ts";
import { MailQueue } from "../../src/queue/mail-queue.ts";
import type { Submission } from "../../src/queue/queue.ts";
import { makePlanResolver } from "../../src/resolve/resolve.ts";
import { LaneTable, newLaneMemory } from "../../src/shaping/shaping.ts";
import type { Signer } from "../../src/signing/signing.ts";
import type { Spool } from "../../src/spool/spool.ts";
import { silentLog } from "../../src/telemetry/log.ts";
import { MemorySpool } from "../support/memory-spool.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SimClock, simStart } from "../support/sim-clock.ts";
import { type Accepted, type Copy, checkers, type History, type LoggedEvent } from "./checkers.ts";
import { SimExchanger, type Taken } from "./sim-exchanger.ts";
import { SimNetwork } from "./sim-network.ts";
import { SimResolver } from "./sim-resolver.ts";
import { drawWorld, isKnown, type World, type WorldSubmission } from "./world.ts";

export interface WorldResult {
  readonly seed: number;
  /** Names of broken checkers with what broke. Empty: all is well. */
  readonly violations: readonly string[];
  /** Equal for two runs of one seed. */
  readonly history: string;
  readonly accepted: number;
  readonly copies: number;
  readonly crashes: number;
  readonly simulatedMs: Millis;
}

const addedHeader = "DKIM-Signature: v=1; a=simulated\r\n";
const namePattern = /^DKIM-Signature: [^\r]*\r\nX-Queue-Id: ([0-9a-z]{16})\r\n/;
const nameBytesMax = 200;
/** What is checked of acknowledgements, beside the checkers of the history. */
export const lostName = "what was acknowledged is there";
const restartMs: Millis = 10 * secondMs;
/** After the world is healthy everything must be gone within the longest life of a message and its DSN. */
const drainMaxMs: Millis = 9 * dayMs;

/** Parts of a world that are broken on purpose, to show that the checkers see it. */
export interface Sabotage {
  readonly spool?: (spool: MemorySpool) => Spool;
  readonly openConnection?: (open: OpenConnection) => OpenConnection;
  readonly sink?: (sink: EventSink) => EventSink;
  /** What exchangers take for the limit of connections. */
  readonly connectionsMax?: number;
}

export async function runWorld(
  seed: number,
  classifier: ReplyClassifier,
  sabotage: Sabotage = {},
): Promise<WorldResult> {
  const clock = new SimClock(simStart);
  const world = drawWorld(seed, new SeededRandom(seed), clock.now());
  const run = new Run(world, clock, new SeededRandom(seed ^ 0x5bd1e995), classifier, sabotage);
  return run.run();
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

interface Process {
  readonly clock: ProcessClock;
  readonly network: SimNetwork;
  readonly queue: MailQueue;
}

class Run {
  readonly #world: World;
  readonly #clock: SimClock;
  readonly #random: Random;
  readonly #classifier: ReplyClassifier;
  readonly #sabotage: Sabotage;
  readonly #digest = createHash("sha256");
  readonly #exchangers = new Map<string, SimExchanger>();
  readonly #contents = new Map<string, string>();
  readonly #accepted = new Map<string, Accepted>();
  readonly #acked: string[] = [];
  readonly #copies: Copy[] = [];
  readonly #lines: string[] = [];
  readonly #breaches: string[] = [];
  readonly #interrupted: string[] = [];
  readonly #fatal: string[] = [];
  #spool: MemorySpool;
  #process: Process | undefined;

  constructor(world: World, clock: SimClock, random: Random, classifier: ReplyClassifier, sabotage: Sabotage) {
    this.#world = world;
    this.#clock = clock;
    this.#random = random;
    this.#classifier = classifier;
    this.#sabotage = sabotage;
    this.#spool = new MemorySpool({ clock, random });
    const limits = world.config.sites.defaults;
    for (const { name, address, moods } of world.hosts) {
      const options = {
        host: name,
        clock,
        random,
        moods,
        healthyAt: world.healthyAt,
        knows: isKnown,
        connectionsMax: sabotage.connectionsMax ?? this.#connectionsMaxOf(address),
        messagesPerConnectionMax: limits.messagesPerConnectionMax,
        taken: (taken: Taken) => this.#take(taken),
        breach: (text: string) => this.#breaches.push(text),
      };
      this.#exchangers.set(address, new SimExchanger(options));
    }
  }

  async run(): Promise<WorldResult> {
    const { submissions, crashes, start, healthyAt } = this.#world;
    this.#start();
    for (const submission of submissions) this.#clock.after(submission.at - start, () => this.#submit(submission));
    for (const crash of crashes) this.#clock.after(crash - start, () => this.#crash());
    await this.#clock.advance(healthyAt - start);
    const deadline = healthyAt + drainMaxMs;
    while (this.#clock.now() < deadline && !this.#isDrained()) await this.#clock.advance(hourMs);
    await this.#clock.advance(hourMs);
    return this.#result();
  }

  #start(): void {
    const world = this.#world;
    const clock = new ProcessClock(this.#clock);
    const random = this.#random;
    const network = new SimNetwork({
      clock: this.#clock,
      random,
      answer: (address) => this.#exchangers.get(address)?.answer() ?? { kind: "refuse" },
      record: (line) => this.#record(line),
    });
    const planResolver = makePlanResolver(
      { resolver: new SimResolver(world, clock), clock, log: silentLog },
      {
        ownNames: [world.config.hostname],
        ownAddresses: [],
        sites: world.config.sites,
        ip: world.config.delivery.ip,
        internalNetworksAllowed: world.config.delivery.internalNetworksAllowed,
      },
    );
    const quirks = newQuirks(clock);
    const isAllowedAddress = addressFilter(world.config.delivery.internalNetworksAllowed);
    const unbroken = <Part>(part: Part): Part => part;
    const { spool = unbroken, openConnection: breakConnection = unbroken, sink = unbroken } = this.#sabotage;
    const open: OpenConnection = (spec, feed) =>
      openConnection(
        { clock, random, network, log: silentLog },
        { timeouts: world.config.delivery.timeouts, isAllowedAddress, quirks },
        spec,
        feed,
      );
    const queue = new MailQueue(
      {
        clock,
        random,
        spool: spool(this.#spool),
        signer: this.#signer(clock),
        planResolver,
        openConnection: breakConnection(open),
        sink: sink(this.#sink(clock)),
        classifier: this.#classifier,
        dsnWriter: createDsnWriter({
          hostname: world.config.hostname,
          returnPath: world.config.bounces.returnPath,
          random,
        }),
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
        node: "sim",
        shard: 0,
        laneTable: new LaneTable(newLaneMemory(1, 1, 1_000), 0, 1),
        overload: () => undefined,
        fatal: (error) => this.#fatal.push(`fatal: ${error.message}`),
      },
      world.config,
    );
    queue.start();
    this.#process = { clock, network, queue };
  }

  #submit(submission: WorldSubmission): void {
    const process = this.#process;
    if (process === undefined) {
      this.#clock.after(restartMs, () => this.#submit(submission));
      return;
    }
    const queueId = process.queue.reserveId();
    const header = Buffer.from(`X-Queue-Id: ${queueId}\r\nFrom: app@sender.example\r\n\r\n`);
    const content = Buffer.concat([header, submission.body]);
    const message: Submission = {
      stream: submission.stream,
      tenant: undefined,
      job: undefined,
      envelope: {
        reversePath: submission.reversePath,
        envid: undefined,
        ret: undefined,
        body: "7bit",
        smtpUtf8: false,
        requireTls: false,
      },
      recipients: submission.forwardPaths.map((forwardPath) => ({ forwardPath, orcpt: undefined, notify: undefined })),
      content: [content],
      contentBytes: content.length,
      headerBytes: header.length,
      hasDotLines: content.includes("\r\n."),
      fromDomain: "sender.example",
      messageIdHeader: undefined,
      loggedHeaders: {},
      user: undefined,
      queueId,
      receivedAt: this.#clock.now(),
      sessionId: "sim",
      remote: { name: "app", address: "127.0.0.1" },
      idempotencyKey: undefined,
    };
    this.#expect(queueId, submission.forwardPaths, content);
    process.queue.accept(message).then(
      (result) => {
        this.#record(`accept ${queueId} ${result.kind}`);
        if (result.kind === "accepted" && !process.clock.dead) this.#acked.push(queueId);
      },
      () => undefined,
    );
  }

  #expect(queueId: string, forwardPaths: readonly string[], content: Buffer): void {
    this.#accepted.set(queueId, { queueId, forwardPaths, content });
    this.#contents.set(createHash("sha256").update(addedHeader).update(content).digest("hex"), queueId);
  }

  #crash(): void {
    const process = this.#process;
    if (process === undefined) return;
    this.#record("crash");
    process.clock.dead = true;
    process.network.sever();
    this.#spool = this.#spool.crash();
    this.#process = undefined;
    this.#clock.after(restartMs, () => {
      this.#noteInterrupted();
      this.#start();
    });
  }

  /** What was taken and is still pending on the disk will rightly be sent again. */
  #noteInterrupted(): void {
    this.#learnDsns();
    for (const { queueId, forwardPath } of this.#copies) {
      for (const entry of this.#spool.readEntries(queueId)) {
        const recipient = entry.recipients.find((candidate) => candidate.forwardPath === forwardPath);
        if (recipient?.state.kind === "pending") this.#interrupted.push(`${queueId} ${forwardPath}`);
      }
    }
  }

  #take(taken: Taken): void {
    this.#learnDsns();
    // By its name first, so that content which arrives changed is seen as that; DSNs, which have none, by their octets.
    const named = namePattern.exec(taken.content.toString("latin1", 0, nameBytesMax))?.[1];
    const queueId = named ?? this.#contents.get(createHash("sha256").update(taken.content).digest("hex"));
    if (queueId === undefined) {
      this.#breaches.push(`${taken.exchanger} took content that nobody submitted`);
      return;
    }
    for (const forwardPath of taken.forwardPaths) this.#copies.push({ queueId, forwardPath, taken });
  }

  /** DSNs are made inside: what they are is read from the spool. */
  #learnDsns(): void {
    for (const name of this.#spool.queues()) {
      for (const { queueId } of this.#spool.scanQueue(name, undefined, 1_000)) {
        if (this.#accepted.has(queueId)) continue;
        const forwardPaths = this.#spool
          .readEntries(queueId)
          .flatMap((entry) => entry.recipients.map((r) => r.forwardPath));
        this.#expect(queueId, forwardPaths, Buffer.concat([...this.#spool.readContent(queueId)]));
      }
    }
  }

  #signer(clock: Clock): Signer {
    const headers = Buffer.from(addedHeader);
    return {
      signs: () => true,
      sign: () =>
        new Promise((resolve) =>
          clock.after(1 + this.#random.integer(3), () => resolve({ headers, signedBy: ["sim"] })),
        ),
    };
  }

  #sink(clock: Clock): EventSink {
    return {
      append: (lines) =>
        new Promise((resolve, reject) => {
          clock.after(1, () => {
            if (this.#random.next() < 0.02) {
              reject(new Error("disk full"));
              return;
            }
            this.#lines.push(lines.toString());
            resolve();
          });
        }),
    };
  }

  #isDrained(): boolean {
    return this.#process !== undefined && [...this.#spool.queues()].length === 0;
  }

  #connectionsMaxOf(address: string): number {
    // A host may stand behind several sites, and each site has its own limit.
    const host = this.#world.hosts.find((candidate) => candidate.address === address)?.name;
    const sites = new Set(
      this.#world.domains.flatMap((domain) =>
        domain.kind === "mail" && domain.mx.some((mx) => mx.host === host)
          ? [
              domain.mx
                .map((mx) => mx.host)
                .sort()
                .join(),
            ]
          : [],
      ),
    );
    return Math.max(1, sites.size) * this.#world.config.sites.defaults.connectionsMax;
  }

  #record(line: string): void {
    this.#digest.update(`${this.#clock.monotonicMs()} ${line}\n`);
  }

  #result(): WorldResult {
    const events = new Map<string, LoggedEvent>();
    for (const line of this.#lines.join("").split("\n")) {
      if (line === "") continue;
      const event = JSON.parse(line) as LoggedEvent;
      events.set(event.id, event);
    }
    const received = new Set(
      [...events.values()].filter(({ kind }) => kind === "reception").map(({ queueId }) => queueId),
    );
    const history: History = {
      accepted: [...this.#accepted.values()].filter(({ queueId }) => received.has(queueId)),
      copies: this.#copies,
      events: [...events.values()],
      interrupted: this.#interrupted,
      breaches: this.#breaches,
      left: [...this.#spool.queues()].map(({ stream, domain }) => `${stream} ${domain}`),
      addedHeader,
    };
    this.#record(this.#lines.join(""));
    const lost = this.#acked
      .filter((queueId) => !received.has(queueId))
      .map((queueId) => `${queueId} was acknowledged and is not there`);
    return {
      seed: this.#world.seed,
      violations: [
        ...this.#fatal,
        ...lost.map((text) => `${lostName}: ${text}`),
        ...checkers.flatMap((checker) => checker.check(history).map((text) => `${checker.name}: ${text}`)),
      ],
      history: this.#digest.digest("hex"),
      accepted: history.accepted.length,
      copies: this.#copies.length,
      crashes: this.#world.crashes.length,
      simulatedMs: this.#clock.now() - this.#world.start,
    };
  }
}
