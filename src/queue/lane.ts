// A lane: source x site. It holds what is ready for a slot, opens connections as there is work for them, and lets its
// governors decide when the next message and the next connection may go.
//
// Connections ask (`next`); nothing polls. Where a governor says wait, one timer of the lane wakes it at that instant.
// Other shards have the same lane, and one governor with it: what they hold is missing here, and comes when it is our turn.

import type { SourceConfig } from "../config/config.ts";
import { assertNever } from "../core/assert.ts";
import { describeFault, type Fault, type Outcome } from "../core/outcome.ts";
import type { Exchanger, Lane as LaneName } from "../core/plan.ts";
import type { Clock, Instant, Millis, Timer } from "../core/time.ts";
import type { ConnectionSpec, LaneConnection, LaneFeed, Work, WorkResult } from "../delivery/delivery.ts";
import { type EffectiveLimits, LaneGovernor, type LaneTable, suspensionMs } from "../shaping/shaping.ts";
import { closingFault, endsSessionOnly, isClosing, scopeOf } from "./blame.ts";
import { LaneRoom, type StreamClass } from "./lane-room.ts";
import type { LaneSummary } from "./queue.ts";
import type { QueuedWork } from "./work.ts";

/** A connection that a peer refused beside others that it keeps is not asked for again within this time. */
const ceilingMs: Millis = 60_000;
/** Failures in a row are forgotten when nothing was tried for this long after the last suspension. */
const forgetMs: Millis = 600_000;
/** Connections opened at once to exchangers that were not reached of late: dead ones are not to take all slots. */
const probesMax = 2;
const lastRepliesMax = 10;
/** Work that connections gave back this often is counted as an attempt after all. */
const returnsMax = 3;
/** A connection is kept for at least this long, though another shard waits for it: a new one has its price, too. */
const holdMinMs: Millis = 1_000;

export type OpenConnection = (spec: ConnectionSpec, feed: LaneFeed) => LaneConnection;

/** What a lane needs from the dispatcher. */
export interface LaneOwner {
  readonly clock: Clock;
  readonly openConnection: OpenConnection;
  readonly deliveryPort: number;
  readonly tls: "off" | "opportunistic" | "required";
  sessionId(): string;
  /** True while no further message may be started: stopping, or too many outcomes wait for the disk. */
  readonly halted: boolean;
  /** Offers work for the lane's site; what can be had at once is pushed before it returns. */
  fill(lane: Lane): void;
  /** Whether work that waited for its slot may still go: it may have expired, or an operator stopped it. */
  mayStart(work: QueuedWork): boolean;
  /** Takes work back that may not start any more. */
  turnBack(work: QueuedWork): void;
  settled(lane: Lane, work: QueuedWork, result: Extract<WorkResult, { kind: "attempted" }>): void;
  /** One attempt was made for `work` and reached no session. */
  unreachable(lane: Lane, work: QueuedWork, fault: Fault, remote: Remote | undefined): void;
  /** Nothing happened to these: back to their queues. */
  giveBack(works: readonly QueuedWork[]): void;
  suspended(lane: Lane, fault: Fault, forMs: Millis): void;
  resumed(lane: Lane): void;
  /** No exchanger of the route could be reached: nobody tries it for a while. Ready work for it is taken back. */
  restRoute(lane: Lane, routeKey: string, fault: Fault): void;
  /** A session was opened with an exchanger of the route. */
  reachedRoute(lane: Lane, routeKey: string): void;
  /** Whether the route was reached of late, so that several connections may be opened at once. */
  isReachedRoute(routeKey: string): boolean;
  connectionsChanged(lane: Lane, change: 1 | -1): void;
  /** Room for a class of streams began or ended; a new lane has room for all. */
  roomChanged(lane: Lane, streamClass: StreamClass, hasRoom: boolean): void;
  /** More lanes are in use than can be governed, so that this one waits. */
  noPlace(lane: Lane): void;
  /** The lane has nothing to do any more. */
  quiet(lane: Lane): void;
}

interface Remote {
  readonly name: string;
  readonly address: string;
}

/** What goes to one set of exchangers. A named site may have several; they share the lane's limits. */
interface Group {
  readonly key: string;
  exchangers: readonly Exchanger[];
  /** Real-time work first, then batch, each in order. */
  readonly ready: QueuedWork[];
  readonly sessions: Set<Session>;
}

interface Session {
  readonly group: Group;
  connection: LaneConnection | undefined;
  open: boolean;
  /** Whether the peer took a message for anybody over it. */
  carried: boolean;
  readonly sinceMs: Millis;
  /** When it last found nothing to do. */
  restsSinceMs: Millis;
  /** It ends because another shard waits for it. */
  returned: boolean;
}

export class Lane {
  readonly name: LaneName;
  readonly #owner: LaneOwner;
  #source: SourceConfig;
  /** The config knows the source no longer: what is under way is finished, and nothing is begun. */
  #ended = false;
  readonly #groups = new Map<string, Group>();
  readonly #governor: LaneGovernor;
  #limits: EffectiveLimits;
  readonly #room: LaneRoom;
  #sessions = 0;
  #suspension: { readonly untilMs: Millis; readonly until: Instant; readonly because: string } | undefined;
  #failures = 0;
  /** Until then the count of failures is worth keeping though nothing is going on. */
  #forgetAtMs = 0;
  #wake: Timer | undefined;
  #wakeAtMs = Number.POSITIVE_INFINITY;
  readonly #lastReplies: { at: Instant; text: string }[] = [];

  constructor(name: LaneName, source: SourceConfig, limits: EffectiveLimits, table: LaneTable, owner: LaneOwner) {
    this.name = name;
    this.#source = source;
    this.#limits = limits;
    this.#owner = owner;
    this.#governor = new LaneGovernor(table, name, limits, owner.clock.monotonicMs(), () => this.#shareChanged());
    this.#room = new LaneRoom(limits, (streamClass, hasRoom) => owner.roomChanged(this, streamClass, hasRoom));
  }

  setLimits(limits: EffectiveLimits): void {
    this.#limits = limits;
    this.#room.setLimits(limits);
    this.#governor.setLimits(limits, this.#owner.clock.monotonicMs());
  }

  /** The source as the config has it now; undefined when it has it no longer. */
  setSource(source: SourceConfig | undefined): void {
    this.#ended = source === undefined;
    if (source === undefined) this.#suspension = undefined;
    this.#room.setShut(this.#isShut);
    if (source !== undefined && source.address === this.#source.address && source.ehlo === this.#source.ehlo) return;
    if (source === undefined) this.#owner.giveBack(this.#takeReady());
    else this.#source = source;
    this.#drainSessions();
  }

  /** How many more works may be prepared for this lane. */
  room(streamClass: StreamClass): number {
    return this.#room.of(streamClass);
  }

  reserve(): void {
    this.#room.reserve();
  }

  unreserve(): void {
    this.#room.unreserve();
  }

  /** Adds prepared work behind others of its class. Follow with `kick` when the connections may start. */
  push(work: QueuedWork): void {
    if (this.#isShut || this.#owner.halted) {
      this.#room.unreserve();
      this.#owner.giveBack([work]);
      return;
    }
    this.#room.prepared();
    const group = this.#group(work);
    if (work.realtime) {
      const firstBatch = group.ready.findIndex((ready) => !ready.realtime);
      group.ready.splice(firstBatch === -1 ? group.ready.length : firstBatch, 0, work);
    } else group.ready.push(work);
  }

  /** Wakes connections that wait and opens more, as far as there is work for them. */
  kick(): void {
    let isShort = false;
    for (const group of this.#groups.values()) {
      let wanted = group.ready.length;
      if (wanted === 0) continue;
      for (const session of group.sessions) {
        if (wanted <= 0) break;
        if (session.connection === undefined || session.connection.state === "connecting") wanted--;
        else if (session.connection.state === "idle") {
          wanted--;
          session.connection.wake();
        }
      }
      if (!this.#open(group, Math.min(wanted, group.ready.length))) isShort = true;
    }
    if (!isShort) this.#governor.withdraw();
  }

  /** Takes back what is ready: the lane's connections finish what they have, and end. */
  stop(): void {
    this.#owner.giveBack(this.#takeReady());
    this.#wake?.cancel();
    this.#drainSessions();
  }

  /** Ends the connections at once, in the midst of what they do. */
  breakOff(): void {
    for (const group of [...this.#groups.values()]) {
      for (const session of [...group.sessions]) session.connection?.breakOff();
    }
  }

  /** Rests the lane. What is ready goes back to its queues, and nothing is lost by it. */
  suspend(fault: Fault): void {
    if (this.#suspension !== undefined) return;
    this.#failures++;
    const forMs = suspensionMs(this.#failures);
    const { clock } = this.#owner;
    this.#suspension = {
      untilMs: clock.monotonicMs() + forMs,
      until: clock.now() + forMs,
      because: describeFault(fault),
    };
    this.#forgetAtMs = this.#suspension.untilMs + forgetMs;
    this.#room.setShut(true);
    this.#owner.giveBack(this.#takeReady());
    this.#owner.suspended(this, fault, forMs);
    this.#wakeAt(this.#suspension.untilMs);
  }

  /** Gives back what is ready for a route that rests. */
  takeBackRoute(routeKey: string): void {
    const group = this.#groups.get(routeKey);
    if (group === undefined) return;
    const works = group.ready.splice(0);
    this.#took(works.length);
    this.#owner.giveBack(works);
  }

  /** An operator's `retry` ends a suspension early. */
  resume(): void {
    if (this.#suspension === undefined) return;
    this.#suspension = undefined;
    this.#room.setShut(this.#ended);
    this.#owner.fill(this);
    this.kick();
  }

  get suspendedUntil(): Instant | undefined {
    return this.#suspension?.until;
  }

  get suspendedBecause(): string | undefined {
    return this.#suspension?.because;
  }

  get sessionCount(): number {
    return this.#sessions;
  }

  /** Nothing is ready, open or remembered here that a new lane would not start with. */
  get isQuiet(): boolean {
    if (!this.#isEmpty) return false;
    const nowMs = this.#owner.clock.monotonicMs();
    return this.#ended || (nowMs >= this.#forgetAtMs && this.#governor.isRested(nowMs));
  }

  close(): void {
    this.#wake?.cancel();
    this.#governor.close();
  }

  summary(): LaneSummary {
    const counts = { connecting: 0, busy: 0, idle: 0 };
    for (const group of this.#groups.values()) {
      for (const { connection } of group.sessions) {
        const state = connection?.state ?? "connecting";
        if (state !== "closed") counts[state]++;
      }
    }
    const nowMs = this.#owner.clock.monotonicMs();
    const tokens = this.#governor.tokens(nowMs);
    return {
      source: this.name.source,
      site: this.name.site,
      ready: this.#room.ready,
      connections: { max: this.#governor.connectionsMax(nowMs), ...counts },
      rate: describeRate(this.#limits.rate, tokens.messages),
      connectionRate: describeRate(this.#limits.connectionRate, tokens.connections),
      messagesPerConnectionMax: this.#limits.messagesPerConnectionMax,
      suspendedUntil: this.#suspension?.until,
      suspendedBecause: this.#suspension?.because,
      lastReplies: this.#lastReplies.slice(),
      where: this.#limits.where,
    };
  }

  // ---- what connections call

  #next(session: Session): QueuedWork | undefined {
    const { group } = session;
    if (this.#owner.halted || this.#isShut) return undefined;
    if (this.#governor.isWanted && this.#leaves(session)) return undefined;
    this.#turnBackStale(group);
    if (group.ready.length === 0) this.#owner.fill(this);
    if (group.ready.length === 0) return this.#rests(session);
    const admission = this.#governor.admitMessage(this.#owner.clock.monotonicMs());
    if (admission.kind === "wait") {
      this.#wakeAt(admission.untilMs);
      return this.#rests(session);
    }
    const work = group.ready.shift();
    if (work === undefined) return undefined;
    this.#took(1);
    // Refill ahead, so that signatures are ready by the time a connection asks.
    if (this.#room.isLow) this.#owner.fill(this);
    return work;
  }

  #settled(session: Session, work: QueuedWork, result: WorkResult): void {
    switch (result.kind) {
      case "attempted": {
        const failure = result.outcomes.find((outcome) => outcome.kind !== "delivered");
        if (failure !== undefined) this.#note(describeFault(failure.fault));
        if (result.outcomes.some((outcome) => outcome.kind === "delivered")) session.carried = true;
        // After some mail a 421 to the envelope only ends the session (RFC 5321 section 3.8): many operators limit the
        // messages of a connection so. The message is not to blame: it goes out on the next connection.
        if (session.carried && result.outcomes.every(endsSessionOnly)) {
          this.#takeBack(session, work, (result.outcomes[0] as FailedOutcome).fault);
          return;
        }
        this.#owner.settled(this, work, result);
        // A 421 to a session that has not carried anything yet means: not now.
        const refusal = result.outcomes.map(closingFault).find((fault) => fault !== undefined);
        if (refusal === undefined) this.#recovered();
        else if (!session.carried) this.suspend(refusal);
        return;
      }
      case "returned":
        this.#takeBack(session, work, result.fault);
        return;
      default:
        assertNever(result);
    }
  }

  /** Nothing happened to the work: it goes first with the next connection, but not for ever. */
  #takeBack(session: Session, work: QueuedWork, fault: Fault): void {
    work.returns++;
    if (work.returns > returnsMax) {
      this.#owner.unreachable(this, work, fault, undefined);
      // It may be this message that the peer cannot bear, or any: a rest does no harm to the one and spares the other.
      if (!session.carried) this.suspend(fault);
    } else if (this.#isShut || this.#owner.halted) this.#owner.giveBack([work]);
    else {
      session.group.ready.unshift(work);
      this.#room.returned();
      this.#kickSoon();
    }
  }

  #opened(session: Session): void {
    session.open = true;
    this.#governor.established();
    this.#owner.reachedRoute(this, session.group.key);
    this.#kickSoon();
  }

  /** The peer answered a transaction. A greeting alone does not count: some peers greet, and then refuse everything. */
  #recovered(): void {
    if (this.#failures === 0) return;
    this.#failures = 0;
    this.#owner.resumed(this);
  }

  #failed(session: Session, fault: Fault, remote: Remote | undefined): void {
    this.#note(describeFault(fault));
    if (this.#suspension !== undefined) return;
    const { group } = session;
    const scope = scopeOf(fault);
    const elsewhere = this.#governor.establishedCount - [...this.#groups.values()].reduce(sumOpen, 0);
    if (openSessions(group) > 0 || (scope === "lane" && elsewhere > 0)) {
      // The peer serves our other connections: it wants no more of them, and nothing is wrong with the mail.
      this.#governor.setCeiling(this.#owner.clock.monotonicMs() + ceilingMs);
      return;
    }
    const head = scope === "source" ? undefined : group.ready.shift();
    if (head !== undefined) {
      this.#took(1);
      this.#owner.unreachable(this, head, fault, remote);
    }
    if (scope === "route") this.#owner.restRoute(this, group.key, fault);
    else this.suspend(fault);
  }

  #closedByPeer(session: Session, fault: Fault): void {
    this.#note(describeFault(fault));
    if (isClosing(fault) && !session.carried) this.suspend(fault);
  }

  #closed(session: Session): void {
    const { group } = session;
    if (!group.sessions.delete(session)) return;
    this.#sessions--;
    this.#governor.closed(session.open, session.returned);
    this.#owner.connectionsChanged(this, -1);
    if (group.sessions.size === 0 && group.ready.length === 0) this.#groups.delete(group.key);
    this.#kickSoon();
    if (this.#isEmpty) this.#owner.quiet(this);
  }

  // ---- inside

  /** Nothing may be begun: it rests, or the config knows its source no longer. */
  get #isShut(): boolean {
    return this.#suspension !== undefined || this.#ended;
  }

  get #isEmpty(): boolean {
    return this.#room.ready === 0 && this.#room.preparing === 0 && this.#sessions === 0;
  }

  #group(work: QueuedWork): Group {
    let group = this.#groups.get(work.route.key);
    if (group === undefined) {
      group = { key: work.route.key, exchangers: work.route.exchangers, ready: [], sessions: new Set() };
      this.#groups.set(work.route.key, group);
    }
    group.exchangers = work.route.exchangers;
    return group;
  }

  /** Returns false when more would be opened if they could be had. */
  #open(group: Group, wanted: number): boolean {
    if (this.#isShut || this.#owner.halted) return true;
    const nowMs = this.#owner.clock.monotonicMs();
    const groupMax = this.#owner.isReachedRoute(group.key) ? Number.POSITIVE_INFINITY : probesMax;
    for (let opened = 0; opened < wanted && group.sessions.size < groupMax; opened++) {
      const admission = this.#governor.admitConnection(nowMs);
      switch (admission.kind) {
        case "go":
          this.#connect(group, nowMs);
          break;
        case "full":
          if (group.sessions.size === 0) this.#makeWay(group);
          if (admission.untilMs !== undefined) this.#wakeAt(admission.untilMs);
          return false;
        case "wait":
          if (this.#governor.hasNoPlace) this.#owner.noPlace(this);
          this.#wakeAt(admission.untilMs);
          return false;
        default:
          assertNever(admission);
      }
    }
    return true;
  }

  #connect(group: Group, nowMs: Millis): void {
    const session: Session = {
      group,
      connection: undefined,
      open: false,
      carried: false,
      sinceMs: nowMs,
      restsSinceMs: nowMs,
      returned: false,
    };
    group.sessions.add(session);
    this.#sessions++;
    const feed: LaneFeed = {
      next: () => this.#next(session),
      settled: (work: Work, result: WorkResult) => this.#settled(session, work as QueuedWork, result),
      opened: () => this.#opened(session),
      failed: (fault, remote) => this.#failed(session, fault, remote),
      closedByPeer: (fault) => this.#closedByPeer(session, fault),
      closed: () => this.#closed(session),
    };
    this.#owner.connectionsChanged(this, 1);
    session.connection = this.#owner.openConnection(
      {
        sessionId: this.#owner.sessionId(),
        source: this.#source,
        exchangers: group.exchangers,
        port: this.#owner.deliveryPort,
        tls: this.#limits.tls ?? this.#owner.tls,
        messagesMax: this.#limits.messagesPerConnectionMax,
        recipientsPerMessageMax: this.#limits.recipientsPerMessageMax,
      },
      feed,
    );
  }

  /** All slots are taken by connections to other exchangers of the site: one that idles gives way. */
  #makeWay(group: Group): void {
    for (const other of this.#groups.values()) {
      if (other === group) continue;
      for (const session of other.sessions) {
        if (session.connection?.state !== "idle") continue;
        session.connection.drain();
        return;
      }
    }
  }

  // ---- shared with other shards

  /** Another shard begins to wait for a connection, or one may be had that was waited for here. */
  #shareChanged(): void {
    if (this.#room.ready > 0) this.kick();
    this.#giveBackIdle();
  }

  /** Whether the session ends before its next message, because another shard needs it more. */
  #leaves(session: Session): boolean {
    if (session.returned) return true;
    const nowMs = this.#owner.clock.monotonicMs();
    if (nowMs - session.sinceMs < holdMinMs || !this.#governor.givesBack("busy", nowMs)) return false;
    this.#return(session);
    return true;
  }

  /** The session has nothing to do now. */
  #rests(session: Session): undefined {
    session.restsSinceMs = this.#owner.clock.monotonicMs();
    if (this.#governor.isWanted) this.#giveBackResting(session, session.restsSinceMs);
    return undefined;
  }

  #giveBackIdle(): void {
    if (!this.#governor.isWanted) return;
    const nowMs = this.#owner.clock.monotonicMs();
    for (const group of this.#groups.values()) {
      for (const session of [...group.sessions]) {
        if (session.connection?.state === "idle") this.#giveBackResting(session, nowMs);
      }
    }
  }

  /** At once where the other shard has fewer connections; else when it has rested for so long that it seems not needed. */
  #giveBackResting(session: Session, nowMs: Millis): void {
    if (session.returned) return;
    const restedAtMs = session.restsSinceMs + holdMinMs;
    if (this.#governor.givesBack(nowMs < restedAtMs ? "idle" : "rested", nowMs)) this.#return(session);
    else if (nowMs < restedAtMs) this.#wakeAt(restedAtMs);
  }

  #return(session: Session): void {
    session.returned = true;
    session.connection?.drain();
  }

  /** Work may have waited long for its slot. */
  #turnBackStale(group: Group): void {
    for (;;) {
      const head = group.ready[0];
      if (head === undefined || this.#owner.mayStart(head)) return;
      group.ready.shift();
      this.#took(1);
      this.#owner.turnBack(head);
    }
  }

  #drainSessions(): void {
    for (const group of this.#groups.values()) {
      for (const session of [...group.sessions]) session.connection?.drain();
    }
  }

  #takeReady(): QueuedWork[] {
    const taken: QueuedWork[] = [];
    for (const group of this.#groups.values()) taken.push(...group.ready.splice(0));
    this.#took(this.#room.ready);
    return taken;
  }

  /** So much of what was ready is so no more. */
  #took(count: number): void {
    this.#room.taken(count);
    if (this.#room.ready === 0) this.#governor.withdraw();
  }

  #note(text: string): void {
    this.#lastReplies.push({ at: this.#owner.clock.now(), text });
    if (this.#lastReplies.length > lastRepliesMax) this.#lastReplies.shift();
  }

  #kickSoon(): void {
    if (this.#room.ready > 0) queueMicrotask(() => this.kick());
  }

  #wakeAt(atMs: Millis): void {
    if (atMs >= this.#wakeAtMs) return;
    this.#wake?.cancel();
    this.#wakeAtMs = atMs;
    this.#wake = this.#owner.clock.after(Math.max(0, atMs - this.#owner.clock.monotonicMs()), () => this.#awake());
  }

  #awake(): void {
    this.#wakeAtMs = Number.POSITIVE_INFINITY;
    if (this.#suspension !== undefined) {
      const left = this.#suspension.untilMs - this.#owner.clock.monotonicMs();
      if (left > 0) {
        this.#wakeAt(this.#suspension.untilMs);
        return;
      }
      this.#suspension = undefined;
      this.#room.setShut(this.#ended);
    }
    // Whoever is halted fills and kicks all lanes when it goes on; the suspension is over by then.
    if (this.#owner.halted) return;
    this.#owner.fill(this);
    this.kick();
    this.#giveBackIdle();
    if (this.#isEmpty) this.#owner.quiet(this);
  }
}

function sumOpen(sum: number, group: Group): number {
  return sum + openSessions(group);
}

function openSessions(group: Group): number {
  let open = 0;
  for (const session of group.sessions) if (session.open && session.connection?.state !== "closed") open++;
  return open;
}

type FailedOutcome = Exclude<Outcome, { kind: "delivered" }>;

function describeRate(rate: EffectiveLimits["rate"], tokens: number): string {
  if (rate === undefined) return "unlimited";
  return `${rate.count} per ${rate.perMs / 1000} s, ${tokens} left at this moment`;
}
