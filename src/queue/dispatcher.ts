// The dispatcher: from "due" to "handed to a lane". It resolves domains to sites, lets queues take turns at their site,
// picks the source, and prepares the work (signature included).
//
// Nothing here runs on a clock of its own: new mail, a due time, a free slot or the end of a suspension set it going.

import { type Config, type StreamConfig, streamOf } from "../config/config.ts";
import { assert, assertNever } from "../core/assert.ts";
import type { AttemptInfo } from "../core/attempt.ts";
import { rfc3339 } from "../core/civil-date.ts";
import type { SourceName, StreamName } from "../core/ids.ts";
import { heldInstant, type Message, type QueueEntry, type QueueName, type QueuePosition } from "../core/message.ts";
import { describeFault, type Fault, type Outcome } from "../core/outcome.ts";
import type { MxPlan } from "../core/plan.ts";
import type { Instant, Millis, Timer } from "../core/time.ts";
import type { ConnectionSpec, LaneConnection, LaneFeed, WorkResult } from "../delivery/delivery.ts";
import { type OpenMembers, PoolRouter, WeightedPick } from "../routing/routing.ts";
import { lanesMax, limitsFor, suspensionMs } from "../shaping/shaping.ts";
import { DamagedRecordError } from "../spool/spool.ts";
import { outcomeWithoutSession } from "./blame.ts";
import { placeKey } from "./due-queue.ts";
import type { EventWriter } from "./event-writer.ts";
import type { Loaded } from "./fresh-mail.ts";
import type { Holds } from "./holds.ts";
import { Lane, type LaneOwner } from "./lane.ts";
import type { StreamClass } from "./lane-room.ts";
import type { QueuePorts } from "./ports.ts";
import { Routes } from "./routes.ts";
import { pendingIndexes } from "./settle.ts";
import type { Settlements } from "./settlements.ts";
import { Site } from "./site.ts";
import { idle, type Waiting } from "./waiting.ts";
import { WakeList } from "./wake-list.ts";
import type { QueuedWork } from "./work.ts";

/** Messages of a refused domain that are settled at once before others have their turn. */
const refusalsAtOnceMax = 50;
const noHeaders = Buffer.alloc(0);
/** How often lanes and sites that nothing happens in are forgotten. */
const sweepMs: Millis = 60_000;

export interface DispatcherOwner {
  readonly config: Config;
  /** The spool failed: what is sent now could not be recorded any more. */
  readonly failed: boolean;
  readonly settlements: Settlements;
  readonly events: EventWriter;
  readonly holds: Holds;
  /** Events were committed that belong to no message. */
  noted(): void;
  /** The message and the entry of a claimed place. Throws DamagedRecordError. */
  load(position: QueuePosition): Loaded | undefined;
  /** What was loaded for this place is not sent now; the place is free again. */
  unloaded(position: QueuePosition): void;
  /** Nothing waits in the queue any more. */
  emptied(queue: Waiting): void;
}

export class Dispatcher implements LaneOwner {
  readonly #ports: QueuePorts;
  readonly #owner: DispatcherOwner;
  readonly #wakeList: WakeList;
  readonly #sites = new Map<string, Site>();
  readonly #routes: Routes;
  /** Work on its way, by place: for `cancel` and `explain`. */
  readonly #inFlight = new Map<string, QueuedWork>();
  readonly #touched = new Set<Lane>();
  #router: PoolRouter;
  #turns: ReadonlyMap<StreamClass, WeightedPick<StreamName>>;
  #sweep: Timer | undefined;
  #stopping = false;
  #noPlaceToldMs = Number.NEGATIVE_INFINITY;
  #sessions = 0;
  #sessionCount = 0;
  #stopped: (() => void) | undefined;

  constructor(ports: QueuePorts, owner: DispatcherOwner) {
    this.#ports = ports;
    this.#owner = owner;
    this.#wakeList = new WakeList(ports.clock, (queue) => this.schedule(queue));
    this.#routes = new Routes(ports.clock);
    this.#router = new PoolRouter(owner.config);
    this.#turns = turnsOf(owner.config);
    this.#armSweep();
  }

  /** Takes a new config: limits, pools and shares change at once, connections end by themselves. */
  reconfigure(config: Config): void {
    this.#router = new PoolRouter(config);
    this.#turns = turnsOf(config);
    // Of all sites first: what a lane gives back is dealt out at once, and by the new pools.
    for (const site of this.#sites.values()) site.open.clear();
    for (const site of this.#sites.values()) {
      site.limits = limitsFor(site.name, config.sites);
      for (const [source, lane] of site.lanes) {
        lane.setLimits(site.limits);
        lane.setSource(config.sources.get(source));
        if (!config.sources.has(source)) this.quiet(lane);
      }
      for (const queue of site.clear()) site.enlist(queue, this.#stream(queue.name.stream).name);
      this.#fillSite(site);
      for (const lane of site.lanes.values()) lane.kick();
    }
  }

  /** Ends all connections after their transactions; resolves when they are gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wakeList.stop();
    this.#sweep?.cancel();
    for (const site of this.#sites.values()) for (const lane of site.lanes.values()) lane.stop();
    if (this.#sessions > 0) await new Promise<void>((resolve) => (this.#stopped = resolve));
  }

  /** Breaks off all connections at once; returns how many there were. Follows `stop`. */
  breakOff(): number {
    const count = this.#sessions;
    for (const site of this.#sites.values()) for (const lane of [...site.lanes.values()]) lane.breakOff();
    return count;
  }

  /** Looks at a queue again after something was put into it, its due time came, or a hold was lifted. */
  schedule(queue: Waiting): void {
    if (this.#stopping) return;
    switch (queue.phase.kind) {
      case "resolving":
      case "contending":
        return;
      case "backoff":
        if (this.#ports.clock.now() < queue.phase.until) {
          this.#wakeList.set(queue, queue.phase.until);
          return;
        }
        break;
      case "idle":
      case "held":
        break;
      default:
        assertNever(queue.phase);
    }
    const hold = this.#owner.holds.ofQueue(queue.name);
    if (hold !== undefined) {
      queue.phase = { kind: "held", holdId: hold.id };
      this.#wakeList.set(queue, undefined);
      return;
    }
    const head = queue.due.headDueAt();
    if (head === undefined) {
      if (queue.phase.kind !== "backoff") queue.phase = idle;
      this.#wakeList.set(queue, undefined);
      if (queue.due.isEmpty) this.#owner.emptied(queue);
      return;
    }
    if (head > this.#ports.clock.now()) {
      if (queue.phase.kind !== "backoff") queue.phase = idle;
      this.#wakeList.set(queue, head);
      return;
    }
    this.#wakeList.set(queue, undefined);
    this.#enlist(queue);
  }

  /** Takes a queue out of its site's ring, for a hold that covers it. */
  withdraw(queue: Waiting): void {
    if (queue.phase.kind === "contending") this.#siteOf(queue.plan)?.remove(queue);
    if (queue.phase.kind !== "resolving") queue.phase = idle;
    this.schedule(queue);
  }

  /** Ends the suspensions that keep a queue waiting, for an operator's `retry`. */
  resume(queue: Waiting): void {
    if (queue.phase.kind === "backoff") queue.phase = idle;
    if (queue.route !== undefined) this.#routes.wake(queue.route.key);
    const site = this.#siteOf(queue.plan);
    if (site !== undefined) {
      for (const lane of site.lanes.values()) lane.resume();
      this.#fillSite(site);
    }
    this.schedule(queue);
  }

  inFlight(queueId: string, entryNo: number): QueuedWork | undefined {
    return this.#inFlight.get(placeKey(queueId, entryNo));
  }

  *lanes(): Iterable<Lane> {
    for (const site of this.#sites.values()) yield* site.lanes.values();
  }

  siteNamed(name: string): Site | undefined {
    return this.#sites.get(name);
  }

  /** Starts what waited while too many settlements did. */
  uncongested(): void {
    for (const site of this.#sites.values()) {
      this.#fillSite(site);
      for (const lane of site.lanes.values()) lane.kick();
    }
  }

  // ---- resolving

  #enlist(queue: Waiting): void {
    if (queue.plan !== undefined && queue.plan.until > this.#ports.clock.now()) {
      this.#contend(queue, queue.plan);
      return;
    }
    const failures = queue.phase.kind === "backoff" ? queue.phase.failures : 0;
    queue.phase = { kind: "resolving" };
    this.#ports.planResolver.resolve(queue.name.domain).then((resolution) => {
      queue.phase = idle;
      if (this.#stopping) return;
      switch (resolution.kind) {
        case "plan":
          queue.plan = resolution.plan;
          queue.route = {
            key: resolution.plan.exchangers.map(({ host, preference }) => `${preference} ${host}`).join(","),
            exchangers: resolution.plan.exchangers,
          };
          this.schedule(queue);
          return;
        case "transient":
          this.#backOff(queue, resolution.fault, failures + 1);
          return;
        case "permanent":
          this.#refuse(queue, resolution.fault);
          return;
        default:
          assertNever(resolution);
      }
    });
  }

  /** The domain cannot be resolved now: its first message is charged with an attempt, the others wait with it. */
  #backOff(queue: Waiting, fault: Fault, failures: number): void {
    const now = this.#ports.clock.now();
    const until = now + suspensionMs(failures);
    queue.phase = { kind: "backoff", until, failures, because: describeFault(fault) };
    this.#wakeList.set(queue, until);
    for (let ended = 0; ended < refusalsAtOnceMax; ended++) {
      const head = queue.due.takeDue(now);
      if (head === undefined) return;
      if (this.#settleWithoutSession(queue, head, { kind: "transient", at: now, fault }) !== "expired") return;
    }
    // There may be more that has expired: it is not to wait for as many lookups.
    queue.phase = { kind: "backoff", until: now, failures: failures - 1, because: describeFault(fault) };
    this.#wakeList.set(queue, now);
  }

  /** The domain takes no mail: what is due for it fails. */
  #refuse(queue: Waiting, fault: Fault): void {
    const now = this.#ports.clock.now();
    for (let refused = 0; refused < refusalsAtOnceMax; refused++) {
      const head = queue.due.takeDue(now);
      if (head === undefined) break;
      this.#settleWithoutSession(queue, head, { kind: "permanent", at: now, fault });
    }
    // What is left asks again, and gets the cached answer. Woken by the list, so that others have their turn.
    if (queue.due.headDueAt() !== undefined) this.#wakeList.set(queue, now);
  }

  #settleWithoutSession(queue: Waiting, position: QueuePosition, outcome: Outcome): "charged" | "expired" | "damaged" {
    const loaded = this.#load(queue, position);
    if (loaded === undefined) return "damaged";
    const { message, entry } = loaded;
    if (this.#endIfExpired(queue, position, message, entry)) return "expired";
    const pending = pendingIndexes(entry);
    this.#owner.settlements.attempted({
      queue,
      position,
      message,
      entry,
      pending,
      outcomes: pending.map(() => outcome),
      context: {
        site: undefined,
        source: undefined,
        pool: this.#stream(queue.name.stream).pool,
        info: undefined,
        signedBy: [],
      },
      cancelledBy: undefined,
    });
    return "charged";
  }

  // ---- taking turns

  #contend(queue: Waiting, plan: MxPlan): void {
    const rest = queue.route === undefined ? undefined : this.#routes.restOf(queue.route.key);
    if (rest !== undefined) {
      queue.phase = { kind: "backoff", until: rest.until, failures: 0, because: rest.because };
      this.#wakeList.set(queue, rest.until);
      return;
    }
    queue.phase = { kind: "contending" };
    let site = this.#sites.get(plan.site);
    if (site === undefined) {
      site = new Site(plan.site, limitsFor(plan.site, this.#owner.config.sites));
      this.#sites.set(plan.site, site);
    }
    site.enlist(queue, this.#stream(queue.name.stream).name);
    this.#fillSite(site);
  }

  /** Hands due work to the lanes of a site until nothing is due or no lane has room. */
  #fillSite(site: Site): void {
    if (site.filling || this.halted) return;
    site.filling = true;
    // Real-time streams first: batch mail gets what they leave.
    for (const streamClass of ["realtime", "batch"] as const) {
      // Halted may come true on the way: what expired is settled here. A turn is only given to who can use it, so that
      // nobody's share is lost to a full lane.
      while (!this.halted) {
        const turn = this.#turns.get(streamClass)?.next((name) => site.rings.has(name) && this.#hasRoom(site, name));
        if (turn === undefined) break;
        this.#dispatchOne(site, turn);
      }
    }
    site.filling = false;
    this.#kickTouched();
  }

  /** One message of the stream's next queue to a lane; a lane of its pool has room. */
  #dispatchOne(site: Site, streamName: StreamName): void {
    const queue = site.turn(streamName);
    assert(queue !== undefined, "a stream that has its turn has a queue");
    const now = this.#ports.clock.now();
    const head = queue.due.headDueAt();
    if (head === undefined || head > now || queue.plan === undefined || queue.plan.until <= now) {
      site.remove(queue);
      queue.phase = idle;
      this.schedule(queue);
      return;
    }
    const stream = this.#stream(streamName);
    const source = this.#open(site, stream).next();
    assert(source !== undefined, "a lane of the stream's pool has room");
    const lane = this.#lane(site, source);
    assert(lane.room(stream.class) > 0, "a lane that is open has room");
    const position = queue.due.takeDue(now);
    if (position !== undefined) this.#prepare(queue, position, lane);
  }

  #hasRoom(site: Site, streamName: StreamName): boolean {
    return this.#open(site, this.#stream(streamName)).count > 0;
  }

  /** The sources of the stream's pool that have room at the site. */
  #open(site: Site, { name, pool, class: streamClass }: StreamConfig): OpenMembers {
    const known = site.open.get(name);
    if (known !== undefined) return known.members;
    const members = this.#router.open(pool);
    for (const [source, lane] of site.lanes) members.set(source, lane.room(streamClass) > 0);
    site.open.set(name, { streamClass, members });
    return members;
  }

  #lane(site: Site, source: SourceName): Lane {
    let lane = site.lanes.get(source);
    if (lane === undefined) {
      const config = this.#owner.config.sources.get(source);
      assert(config !== undefined, `source ${source} is in the config`);
      lane = new Lane({ source, site: site.name }, config, site.limits, this.#ports.laneTable, this);
      site.lanes.set(source, lane);
    }
    return lane;
  }

  // ---- preparing

  #prepare(queue: Waiting, position: QueuePosition, lane: Lane): void {
    const loaded = this.#load(queue, position);
    if (loaded === undefined) return;
    const { message, entry } = loaded;
    if (this.#endIfExpired(queue, position, message, entry)) return;
    if (this.#owner.holds.ofMessage(message, entry) !== undefined) {
      void this.#owner.settlements.moved(queue, position, { ...entry, dueAt: heldInstant });
      return;
    }
    lane.reserve();
    const { signer } = this.#ports;
    if (!signer.signs(message.fromDomain)) {
      this.#ready(queue, position, loaded, lane, noHeaders, []);
      this.#touched.add(lane);
      return;
    }
    signer.sign({ queueId: message.queueId, fromDomain: message.fromDomain, signedAt: message.receivedAt }).then(
      ({ headers, signedBy }) => {
        this.#ready(queue, position, loaded, lane, headers, signedBy);
        lane.kick();
      },
      (error: unknown) => {
        lane.unreserve();
        if (error instanceof DamagedRecordError) {
          this.#owner.settlements.quarantine(queue, position, message.queueId, error.message);
          this.fill(lane);
          return;
        }
        this.#ports.log.error(
          { err: error, queueId: message.queueId },
          "not signed, so not sent: it is tried again later",
        );
        const fault: Fault = { kind: "policy", rule: "signing", message: `cannot be signed: ${String(error)}` };
        this.#settleWithoutSession(queue, position, { kind: "transient", at: this.#ports.clock.now(), fault });
        // The room that it had is free again, and no connection may be there to ask.
        this.fill(lane);
      },
    );
  }

  #ready(
    queue: Waiting,
    position: QueuePosition,
    { message, entry, content }: Loaded,
    lane: Lane,
    addedHeaders: Buffer,
    signedBy: readonly string[],
  ): void {
    assert(queue.route !== undefined, "a contending queue has a route");
    const { spool } = this.#ports;
    const work: QueuedWork = {
      message,
      entry,
      pending: pendingIndexes(entry),
      addedHeaders,
      content: () => content ?? spool.readContent(message.queueId),
      queue,
      position,
      route: queue.route,
      realtime: this.#stream(queue.name.stream).class === "realtime",
      signedBy,
      returns: 0,
      cancelledBy: undefined,
    };
    this.#inFlight.set(placeKey(position.queueId, position.entryNo), work);
    lane.push(work);
  }

  #load(queue: Waiting, position: QueuePosition): Loaded | undefined {
    try {
      const loaded = this.#owner.load(position);
      if (loaded !== undefined && standsAt(loaded.entry, queue.name, position)) return loaded;
      if (loaded !== undefined) {
        // What becomes of it could not be recorded here, so it would be sent again and again.
        throw new DamagedRecordError(position.queueId, "its place in the queue is not the one that its entry names");
      }
      this.#ports.log.error(
        { queueId: position.queueId, ...queue.name },
        "a place in the queue has no entry; see `postern spool check`",
      );
      queue.due.release(position.queueId, position.entryNo);
    } catch (error) {
      if (!(error instanceof DamagedRecordError)) throw error;
      this.#owner.settlements.quarantine(queue, position, position.queueId, error.message);
    }
    return undefined;
  }

  #endIfExpired(queue: Waiting, position: QueuePosition, message: Message, entry: QueueEntry): boolean {
    if (this.#ports.clock.now() < message.expiresAt) return false;
    void this.#owner.settlements.ended(queue, position, message, entry, { kind: "expired" });
    return true;
  }

  #kickTouched(): void {
    if (this.#touched.size === 0) return;
    queueMicrotask(() => {
      for (const lane of this.#touched) {
        this.#touched.delete(lane);
        lane.kick();
      }
    });
  }

  // ---- what lanes call

  get clock() {
    return this.#ports.clock;
  }

  get openConnection(): (spec: ConnectionSpec, feed: LaneFeed) => LaneConnection {
    return this.#ports.openConnection;
  }

  get deliveryPort(): number {
    return this.#owner.config.delivery.port;
  }

  get tls() {
    return this.#owner.config.delivery.tls;
  }

  get halted(): boolean {
    return this.#stopping || this.#owner.failed || this.#owner.settlements.congested;
  }

  sessionId(): string {
    this.#sessionCount++;
    return `${this.#ports.shard}-${this.#ports.clock.now().toString(36)}-${this.#sessionCount.toString(36)}`;
  }

  fill(lane: Lane): void {
    const site = this.#sites.get(lane.name.site);
    if (site !== undefined) this.#fillSite(site);
  }

  mayStart({ cancelledBy, message, entry, queue }: QueuedWork): boolean {
    if (cancelledBy !== undefined || this.#ports.clock.now() >= message.expiresAt) return false;
    const { holds } = this.#owner;
    return holds.isEmpty || (holds.ofQueue(queue.name) === undefined && holds.ofMessage(message, entry) === undefined);
  }

  turnBack(work: QueuedWork): void {
    const { queue, position, message, entry, cancelledBy } = work;
    const { settlements, holds } = this.#owner;
    if (cancelledBy === undefined && holds.ofQueue(queue.name) !== undefined) {
      this.giveBack([work]);
      return;
    }
    this.#inFlight.delete(placeKey(position.queueId, position.entryNo));
    if (cancelledBy !== undefined) {
      void settlements.ended(queue, position, message, entry, { kind: "cancelled", by: cancelledBy });
    } else if (!this.#endIfExpired(queue, position, message, entry)) {
      void settlements.moved(queue, position, { ...entry, dueAt: heldInstant });
    }
  }

  settled(lane: Lane, work: QueuedWork, { outcomes, info }: Extract<WorkResult, { kind: "attempted" }>): void {
    this.#settle(lane, work, outcomes, info);
  }

  unreachable(
    lane: Lane,
    work: QueuedWork,
    fault: Fault,
    remote: { readonly name: string; readonly address: string } | undefined,
  ): void {
    const now = this.#ports.clock.now();
    const outcome = outcomeWithoutSession(fault, now);
    const info: AttemptInfo | undefined = remote && {
      source: lane.name.source,
      remote,
      tls: undefined,
      peerDsn: false,
      sessionId: "",
      startedAt: now,
      transactionMs: 0,
    };
    this.#settle(
      lane,
      work,
      work.pending.map(() => outcome),
      info,
    );
  }

  giveBack(works: readonly QueuedWork[]): void {
    for (const work of works) {
      this.#inFlight.delete(placeKey(work.position.queueId, work.position.entryNo));
      this.#owner.unloaded(work.position);
      work.queue.due.putBack(work.position);
    }
    for (const queue of new Set(works.map((work) => work.queue))) {
      // In its site's ring already: another lane may have room for it, and need not be busy to ask.
      const site = queue.phase.kind === "contending" ? this.#siteOf(queue.plan) : undefined;
      if (site === undefined) this.schedule(queue);
      else this.#fillSite(site);
    }
  }

  suspended(lane: Lane, fault: Fault, forMs: Millis): void {
    const { source, site } = lane.name;
    this.#ports.log.warn({ source, site, forMs, because: describeFault(fault) }, "lane suspended");
    this.#ports.observer.suspension(site, source);
    this.#note("suspension", lane, { reason: describeFault(fault), until: this.#ports.clock.now() + forMs });
  }

  resumed(lane: Lane): void {
    this.#ports.log.info({ ...lane.name }, "lane resumed");
    this.#note("resumption", lane, {});
  }

  restRoute(lane: Lane, routeKey: string, fault: Fault): void {
    const site = this.#sites.get(lane.name.site);
    if (site === undefined || this.#routes.restOf(routeKey) !== undefined) return;
    const because = describeFault(fault);
    const { until } = this.#routes.rest(routeKey, because);
    const about = { ...lane.name, exchangers: routeKey, until: rfc3339(until), because };
    this.#ports.log.warn(about, "exchangers not reachable: they rest");
    this.#note("suspension", lane, { reason: `exchangers ${routeKey}: ${because}`, until });
    for (const queue of site.queues()) {
      if (queue.route?.key !== routeKey) continue;
      site.remove(queue);
      queue.phase = idle;
      this.schedule(queue);
    }
    for (const other of site.lanes.values()) other.takeBackRoute(routeKey);
  }

  reachedRoute(lane: Lane, routeKey: string): void {
    if (!this.#routes.reached(routeKey)) return;
    this.#ports.log.info({ ...lane.name, exchangers: routeKey }, "exchangers reached again");
    this.#note("resumption", lane, { reason: `exchangers ${routeKey}` });
  }

  isReachedRoute(routeKey: string): boolean {
    return this.#routes.isReached(routeKey);
  }

  roomChanged({ name }: Lane, streamClass: StreamClass, hasRoom: boolean): void {
    const site = this.#sites.get(name.site);
    if (site === undefined) return;
    for (const open of site.open.values()) {
      if (open.streamClass === streamClass) open.members.set(name.source, hasRoom);
    }
  }

  connectionsChanged(lane: Lane, change: 1 | -1): void {
    this.#ports.observer.deliveryConnections(lane.name.site, lane.name.source, lane.sessionCount);
    this.#sessions += change;
    if (this.#sessions === 0) this.#stopped?.();
  }

  noPlace(lane: Lane): void {
    const nowMs = this.#ports.clock.monotonicMs();
    if (nowMs < this.#noPlaceToldMs + sweepMs) return;
    this.#noPlaceToldMs = nowMs;
    this.#ports.log.error({ ...lane.name, lanesMax }, "more lanes are in use than can be governed: some wait");
  }

  quiet(lane: Lane): void {
    const site = this.#sites.get(lane.name.site);
    if (site === undefined || !lane.isQuiet || site.lanes.get(lane.name.source) !== lane) return;
    site.lanes.delete(lane.name.source);
    lane.close();
    if (site.lanes.size === 0 && site.rings.size === 0) this.#sites.delete(site.name);
  }

  // ---- inside

  /** The attempt at the work is over, and nobody has it any more. */
  #settle(lane: Lane, work: QueuedWork, outcomes: readonly Outcome[], info: AttemptInfo | undefined): void {
    const { queue, position, message, entry, pending, signedBy, cancelledBy } = work;
    this.#inFlight.delete(placeKey(position.queueId, position.entryNo));
    const { site, source } = lane.name;
    const { pool } = this.#stream(queue.name.stream);
    const context = { site, source, pool, signedBy, info };
    this.#owner.settlements.attempted({ queue, position, message, entry, pending, outcomes, context, cancelledBy });
  }

  #note(
    kind: "suspension" | "resumption",
    lane: Lane,
    fields: { readonly reason?: string; readonly until?: Instant },
  ): void {
    const line = this.#owner.events.line(kind, { ...lane.name, ...fields });
    this.#ports.spool.commit([{ kind: "events", lines: line }]).then(
      () => this.#owner.noted(),
      (error: Error) => this.#ports.fatal(error),
    );
  }

  #siteOf(plan: MxPlan | undefined): Site | undefined {
    return plan === undefined ? undefined : this.#sites.get(plan.site);
  }

  #stream(name: StreamName): StreamConfig {
    return streamOf(this.#owner.config, name);
  }

  #armSweep(): void {
    this.#sweep = this.#ports.clock.after(sweepMs, () => {
      this.#routes.sweep();
      for (const site of this.#sites.values()) {
        for (const lane of site.lanes.values()) this.quiet(lane);
        if (site.lanes.size === 0 && site.rings.size === 0) this.#sites.delete(site.name);
      }
      this.#armSweep();
    });
  }
}

function turnsOf(config: Config): ReadonlyMap<StreamClass, WeightedPick<StreamName>> {
  const members = (streamClass: StreamClass) =>
    [...config.streams.values()]
      .filter((stream) => stream.class === streamClass)
      .map((stream) => ({ item: stream.name, weight: stream.share }));
  return new Map([
    ["realtime", new WeightedPick(members("realtime"))],
    ["batch", new WeightedPick(members("batch"))],
  ]);
}

function standsAt(entry: QueueEntry, { stream, domain }: QueueName, { dueAt }: QueuePosition): boolean {
  return entry.dueAt === dueAt && entry.stream === stream && entry.domain === domain;
}
