// The internet in a box as a harness uses it: receivers, DNS, a load source, Postern, and the audit of all of them.

import { mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { Audit } from "./audit.ts";
import { Remote } from "./control.ts";
import type { ZoneEntry } from "./dns/zone.ts";
import { EventLogReader, type LoggedEvent } from "./event-log.ts";
import { lockFolder } from "./folder-lock.ts";
import { PosternProcess } from "./postern-process.ts";
import { freePort, type Override, type RunPlaces, readPorts, writeRunConfig } from "./run-config.ts";
import type { InternetApi, InternetCounts, InternetTotals } from "./sink/internet-process.ts";
import type { Receipt } from "./sink/ledger.ts";
import type { OperatorSetup } from "./sink/sink-server.ts";
import type { LoadPlan, SourceCounts } from "./source/load-plan.ts";
import type { SourceApi } from "./source/source-process.ts";

export interface BoxPlan {
  /** Absolute: spool, events, logs and the run's config are in it. */
  readonly folder: string;
  /** The config file that the run's own is made from. */
  readonly template: string;
  /** A function may write files into the folder first. */
  readonly overrides?: readonly Override[] | (() => Promise<readonly Override[]>) | undefined;
  readonly operators: readonly OperatorSetup[];
  readonly zone: Readonly<Record<string, ZoneEntry>>;
  readonly seed: number;
  /** Takes the ports that the template names, where they are free; otherwise any. */
  readonly usualPorts?: boolean | undefined;
  readonly samplesMax?: number | undefined;
  /** Takes away at its end, whatever that is, what the run wrote. */
  readonly isTemporary?: boolean | undefined;
}

/** What one `poll` brought. */
export interface News {
  readonly receipts: readonly Receipt[];
  readonly events: readonly LoggedEvent[];
}

const stopTimeoutMs = 15_000;
const startTriesMax = 3;
/** What a run may leave in the folder; other files there are not ours. */
const leftovers = [
  ...["spool", "events", "postern.log", "postern.yaml", "bench.pem", "cert.pem", "key.pem"],
  ...["postfix", "exim", "haraka"],
] as const;

/** Processes that were killed a moment ago may still have written: such a folder is tried again. */
function removeLeftovers(folder: string): void {
  for (const name of leftovers) {
    rmSync(join(folder, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 20 });
  }
}

export class Box implements AsyncDisposable {
  readonly audit = new Audit();
  readonly folder: string;
  readonly configFile: string;
  readonly logFile: string;
  places: RunPlaces;
  readonly #plan: BoxPlan;
  readonly #overrides: readonly Override[];
  readonly #lock: Server;
  readonly #internet: Remote<InternetApi>;
  readonly #source: Remote<SourceApi>;
  readonly #events: EventLogReader;
  readonly #acknowledgementsRead = new Map<string, number>();
  #receiptsRead = 0;
  /** Bounces whose 250 has not been seen here yet. */
  #bouncesAhead: LoggedEvent[] = [];
  #postern: PosternProcess | undefined;
  readonly #killAll = (): void => {
    this.#postern?.kill("SIGKILL");
    this.#internet.kill();
    this.#source.kill();
    if (this.#plan.isTemporary === true) removeLeftovers(this.folder);
  };

  private constructor(
    plan: BoxPlan,
    lock: Server,
    places: RunPlaces,
    internet: Remote<InternetApi>,
    source: Remote<SourceApi>,
    overrides: readonly Override[],
  ) {
    this.#plan = plan;
    this.#overrides = overrides;
    this.#lock = lock;
    this.places = places;
    this.folder = plan.folder;
    this.configFile = join(plan.folder, "postern.yaml");
    this.logFile = join(plan.folder, "postern.log");
    this.#internet = internet;
    this.#source = source;
    this.#events = new EventLogReader(places.events);
    this.#writeConfig();
    process.on("exit", this.#killAll);
  }

  /** Starts everything but Postern, in an empty folder. */
  static async open(plan: BoxPlan): Promise<Box> {
    mkdirSync(plan.folder, { recursive: true });
    const lock = await lockFolder(plan.folder);
    removeLeftovers(plan.folder);
    const ports = readPorts(plan.template);
    const internet = new Remote<InternetApi>(new URL("sink/internet-process.ts", import.meta.url), "the receivers");
    const source = new Remote<SourceApi>(new URL("source/source-process.ts", import.meta.url), "the load source");
    try {
      const bound = await internet.call("start", {
        operators: plan.operators,
        smtpPort: plan.usualPorts === true ? ports.delivery : 0,
        dnsHost: "127.0.0.1",
        dnsPort: plan.usualPorts === true ? ports.dns : 0,
        zone: plan.zone,
        seed: plan.seed,
        samplesMax: plan.samplesMax,
      });
      const preferred = plan.usualPorts === true ? ports : undefined;
      const places: RunPlaces = {
        submission: `127.0.0.1:${await freePort(preferred?.submission)}`,
        admin: `127.0.0.1:${await freePort(preferred?.admin)}`,
        dns: `127.0.0.1:${bound.dnsPort}`,
        // Without receivers of ours somebody else will listen there.
        deliveryPort: bound.smtpPort === 0 ? await freePort(undefined) : bound.smtpPort,
        spool: join(plan.folder, "spool"),
        events: join(plan.folder, "events"),
      };
      const overrides = typeof plan.overrides === "function" ? await plan.overrides() : plan.overrides;
      return new Box(plan, lock, places, internet, source, overrides ?? []);
    } catch (error) {
      internet.kill();
      source.kill();
      lock.close();
      throw error;
    }
  }

  #writeConfig(): void {
    writeRunConfig(this.#plan.template, this.configFile, this.places, this.#overrides);
  }

  /**
   * Starts Postern and waits until it is ready. A program that takes one of our ports between the choice and the start
   * makes us choose again. Throws when it cannot be started.
   */
  async startPosternReady(timeoutMs: number): Promise<PosternProcess> {
    for (let i = 0; ; i++) {
      const postern = this.startPostern();
      if (await postern.ready(timeoutMs)) return postern;
      const tail = postern.logTail();
      if (i >= startTriesMax || !tail.includes("in use")) throw new Error(`Postern ended at its start\n${tail}`);
      const [submission, admin] = [await freePort(undefined), await freePort(undefined)];
      this.places = { ...this.places, submission: `127.0.0.1:${submission}`, admin: `127.0.0.1:${admin}` };
      this.#writeConfig();
    }
  }

  /** Where the load source submits to. */
  get submission(): { readonly host: string; readonly port: number } {
    const { submission } = this.places;
    const at = submission.lastIndexOf(":");
    return { host: submission.slice(0, at), port: Number(submission.slice(at + 1)) };
  }

  /** Starts Postern on the box's spool. Wait for its `ready`. */
  startPostern(wrapper?: readonly string[]): PosternProcess {
    const { configFile, logFile } = this;
    this.#postern = new PosternProcess({ configFile, admin: this.places.admin, logFile, wrapper });
    return this.#postern;
  }

  /** Submits by a plan; resolves at its end. */
  load(plan: LoadPlan): Promise<SourceCounts> {
    this.#acknowledgementsRead.set(plan.runId, 0);
    return this.#source.call("run", plan);
  }

  stopLoad(runId: string): Promise<void> {
    return this.#source.call("stop", runId);
  }

  sourceCounts(runId: string): Promise<SourceCounts> {
    return this.#source.call("counts", runId);
  }

  uncertain(runId: string): Promise<readonly string[]> {
    return this.#source.call("uncertain", runId);
  }

  change(operator: string, patch: Partial<OperatorSetup["profile"]>): Promise<void> {
    return this.#internet.call("change", { operator, patch });
  }

  /** The processes of the load source and of the receivers. */
  get pids(): { readonly source: number; readonly receivers: number } {
    return { source: this.#source.pid, receivers: this.#internet.pid };
  }

  totals(): Promise<InternetTotals> {
    return this.#internet.call("totals");
  }

  counts(): Promise<InternetCounts> {
    return this.#internet.call("counts");
  }

  samples(): Promise<readonly Uint8Array[]> {
    return this.#internet.call("samples");
  }

  get eventRepeats(): number {
    return this.#events.repeats;
  }

  get eventsDamaged(): number {
    return this.#events.damaged;
  }

  /** Brings the audit up to date but for bounces, and leaves the delivery log alone: for much mail that nobody refuses. */
  async pollCopies(): Promise<readonly Receipt[]> {
    for (const runId of this.#acknowledgementsRead.keys()) await this.#readAcknowledgements(runId);
    return this.#readReceipts();
  }

  /** Brings the audit up to date. */
  async poll(): Promise<News> {
    const receipts = await this.pollCopies();
    const events = this.#events.poll();
    const ends = events.filter(({ kind }) => kind === "bounce" || kind === "expiration");
    this.#bouncesAhead = [...this.#bouncesAhead, ...ends].filter(
      ({ queueId = "", forwardPath = "" }) => !this.audit.addBounce(queueId, forwardPath),
    );
    return { receipts, events };
  }

  async #readAcknowledgements(runId: string): Promise<void> {
    for (;;) {
      const from = this.#acknowledgementsRead.get(runId) ?? 0;
      const acknowledgements = await this.#source.call("acknowledgements", { runId, from });
      if (acknowledgements.length === 0) return;
      this.#acknowledgementsRead.set(runId, from + acknowledgements.length);
      this.audit.addAcknowledgements(acknowledgements);
    }
  }

  async #readReceipts(): Promise<Receipt[]> {
    const all: Receipt[] = [];
    for (;;) {
      const receipts = await this.#internet.call("receipts", this.#receiptsRead);
      if (receipts.length === 0) return all;
      this.#receiptsRead += receipts.length;
      this.audit.addReceipts(receipts);
      for (const receipt of receipts) all.push(receipt);
    }
  }

  /** Ends every process that the box started. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#postern?.running === true) await this.#postern.stop(stopTimeoutMs);
    await Promise.all([this.#source.stop(), this.#internet.stop()]);
    process.off("exit", this.#killAll);
    if (this.#plan.isTemporary === true) removeLeftovers(this.folder);
    this.#lock.close();
  }
}

/** Ctrl-C and SIGTERM end the program; what the box started ends with it (see `process.on("exit")` above). */
export function endOnSignals(): void {
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.once(signal, () => process.exit(status));
  }
}
