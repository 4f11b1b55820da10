// One listening address for submission: accepts connections within its limits and keeps its sessions.
//
// Extends smtp-server 3.21.6's server, which does the TLS handshakes (implicit TLS with a guard against peers that
// never finish one) and holds the secure contexts. Overridden: `connect` (our session), `_acceptSocket` (limits per
// address, counted from accept to close), `onConnect`, `onSecure`, `onAuth`. Not used: its `close`, which answers
// every command with 421 at once and so breaks off transactions.

import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { SMTPServer } from "smtp-server";
import type { SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import type { Config, HostPort, SmtpListenerConfig } from "../config/config.ts";
import { type IpNetwork, parseIpNetworks } from "../core/ip-address.ts";
import type { Clock, Millis } from "../core/time.ts";
import type { Intake } from "../queue/queue.ts";
import type { Log } from "../telemetry/log.ts";
import type { AuthGuard } from "./auth-guard.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import type { IngestMeter } from "./meter.ts";
import type { NoteLimit } from "./note-limit.ts";
import * as replies from "./replies.ts";
import { cleanText, replyLine, type SmtpReply } from "./replies.ts";
import { SubmissionSession } from "./session.ts";
import { addressGroup, isInNetworks, plainAddress } from "./submission-policy.ts";

/** What all listeners of a shard share. */
export interface IngestShared {
  readonly intake: Intake;
  readonly clock: Clock;
  readonly log: Log;
  readonly meter: IngestMeter;
  readonly budget: MemoryBudget;
  readonly guard: AuthGuard;
  readonly strangerNotes: NoteLimit;
  /** Called when a session or the wait for one has ended. */
  readonly onSessionEnd: () => void;
}

/** What a reload replaces, whole. */
export interface ListenerSettings {
  readonly config: Config;
  readonly listener: SmtpListenerConfig;
  readonly trust: readonly IpNetwork[];
  readonly hasStartTls: boolean;
}

export interface TlsMaterial {
  readonly key: Buffer;
  readonly cert: Buffer;
}

export function listenerSettings(config: Config, listener: SmtpListenerConfig): ListenerSettings {
  const trust = parseIpNetworks(listener.trust);
  return { config, listener, trust, hasStartTls: listener.tls?.mode === "starttls" };
}

/** Connections that wait to be accepted: apps may come a thousand at once, and one that is dropped knocks again only after a second. */
const backlogMax = 4_096;

type OnAuth = Parameters<SMTPServer["onAuth"]>;

export class SubmissionListener extends SMTPServer {
  readonly shared: IngestShared;
  settings: ListenerSettings;
  isDraining = false;
  #tls: TlsMaterial | undefined;
  /** What is open, with the address it is counted for. */
  readonly #sockets = new Map<Socket, string>();
  readonly #socketsOfAddress = new Map<string, number>();
  /** Accepted, in the TLS handshake of a listener with implicit TLS. */
  readonly #handshakes = new Map<Socket, Millis>();

  constructor(shared: IngestShared, settings: ListenerSettings, tls: TlsMaterial | undefined) {
    const { config, listener } = settings;
    super({
      name: config.hostname,
      secure: listener.tls?.mode === "implicit",
      ...(tls === undefined ? { hideSTARTTLS: true } : { key: tls.key, cert: tls.cert }),
      // RFC 8996: nothing below TLS 1.2.
      minVersion: "TLSv1.2",
      authMethods: ["PLAIN", "LOGIN"],
      // The session itself decides where a password may be sent.
      allowInsecureAuth: true,
      hideENHANCEDSTATUSCODES: false,
      disableReverseLookup: true,
      logger: false,
      maxClients: listener.connectionsMax,
      socketTimeout: listener.idleTimeoutMs,
    });
    this.shared = shared;
    this.settings = settings;
    this.#tls = tls;
    this.on("error", (error) => shared.log.debug({ err: error }, "ingest connection failed"));
  }

  /** Rejects with an error that says what is wrong and where. `where` is the config's path of the listener. */
  async open(where: string, reusePort: boolean): Promise<void> {
    const { host, port } = this.settings.listener.listen;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.server.once("error", reject);
    this.listen({ host, port, backlog: backlogMax, reusePort, exclusive: reusePort }, resolve);
    try {
      await promise;
    } catch (error) {
      throw listenError(error, { host, port }, where);
    } finally {
      this.server.off("error", reject);
    }
  }

  get address(): HostPort {
    const address = this.server.address();
    const { host, port } = this.settings.listener.listen;
    return address === null || typeof address === "string" ? { host, port } : { host, port: address.port };
  }

  /** Takes new settings; sessions go on and see them at their next command. */
  apply(settings: ListenerSettings, tls: TlsMaterial | undefined): void {
    this.settings = settings;
    const { config, listener } = settings;
    this.options.name = config.hostname;
    this.options.maxClients = listener.connectionsMax;
    this.options.socketTimeout = listener.idleTimeoutMs;
    if (tls === undefined) {
      this.options.hideSTARTTLS = true;
    } else if (this.#tls === undefined || !tls.key.equals(this.#tls.key) || !tls.cert.equals(this.#tls.cert)) {
      this.options.hideSTARTTLS = false;
      // New handshakes use it; sessions that run keep theirs.
      this.updateSecureContext({ key: tls.key, cert: tls.cert });
    }
    this.#tls = tls;
  }

  /** Accepts no more; idle sessions are sent away, others after their transaction. */
  drain(): void {
    this.isDraining = true;
    if (this.server.listening) this.server.close();
    for (const top of this._pendingSockets.values()) top.destroy();
    for (const session of this.#sessions()) session.drain();
  }

  /** Ends everything now. */
  abort(): void {
    this.drain();
    for (const session of this.#sessions()) session.abort();
  }

  /** Sockets that are open, those in a handshake and those half closed included. */
  get socketCount(): number {
    return this.#sockets.size;
  }

  checkTime(nowMs: Millis): void {
    for (const session of this.#sessions()) session.checkTime(nowMs);
    const limitMs = this.settings.listener.idleTimeoutMs;
    for (const [socket, sinceMs] of this.#handshakes) {
      // smtp-server's own timeout begins again with each octet. The topmost socket goes: see its `close`.
      if (nowMs - sinceMs > limitMs) (this._pendingSockets.get(socket) ?? socket).destroy();
    }
  }

  /** Also called at STARTTLS, where smtp-server takes all listeners off the accepted socket. */
  forgetWhenClosed(socket: Socket): void {
    socket.once("close", () => this.#forget(socket));
  }

  override connect(socket: Socket | TLSSocket, options?: SMTPConnectionOptions | null): void {
    // Gone already: no close would ever be heard of.
    if (socket.destroyed) return;
    const session = new SubmissionSession(this, socket, options);
    this.connections.add(session);
    session.on("error", (error) => this._onError(error));
    session.init();
  }

  /** Returns what undoes the guard of a handshake, or false when the socket was turned away. */
  override _acceptSocket(socket: Socket, handshake: boolean): (() => void) | false {
    const remoteAddress = socket.remoteAddress;
    if (remoteAddress === undefined) {
      socket.destroy();
      return false;
    }
    const group = addressGroup(plainAddress(remoteAddress));
    const ofAddress = this.#socketsOfAddress.get(group) ?? 0;
    const { connectionsMax, connectionsPerAddressMax } = this.settings.listener;
    const refusal = this.isDraining
      ? replies.shuttingDown
      : this.#sockets.size >= connectionsMax
        ? replies.tooManyConnections
        : ofAddress >= connectionsPerAddressMax
          ? replies.tooManyFromAddress
          : undefined;
    if (refusal !== undefined) {
      turnAway(socket, handshake, refusal);
      this.shared.meter.refused(refusal.code);
      return false;
    }
    this.#sockets.set(socket, group);
    this.#socketsOfAddress.set(group, ofAddress + 1);
    this.forgetWhenClosed(socket);
    // smtp-server listens for errors only a turn of the event loop later; a reset in between would end the process.
    socket.on("error", () => {});
    if (handshake) this.#handshakes.set(socket, this.shared.clock.monotonicMs());
    const release = super._acceptSocket(socket, handshake);
    if (release === false) return false;
    return () => {
      this.#handshakes.delete(socket);
      release();
    };
  }

  /** What must be said in words, and so only after an implicit TLS handshake. */
  override onConnect(session: { remoteAddress: string }, callback: (error?: Error | null) => void): void {
    if (this.isDraining) {
      callback(asError(replies.shuttingDown));
      return;
    }
    const pressure = this.shared.intake.pressure();
    if (pressure.kind === "refuse") {
      callback(asError(replies.reply(421, "4.3.1", pressure.text)));
      return;
    }
    const address = session.remoteAddress;
    const { listener, trust } = this.settings;
    const isBlocked = this.shared.guard.failures(addressGroup(address)) >= listener.authFailuresMax;
    // One app with a wrong password must not lock out the others of a trusted network.
    if (isBlocked && !isInNetworks(address, trust)) {
      callback(asError(replies.tooManyAuthFailures));
      return;
    }
    // smtp-server answers in the next turn of the event loop: what an early talker sent has been read by then.
    super.onConnect(session as Parameters<SMTPServer["onConnect"]>[0], callback);
  }

  override onSecure(...[, , callback]: Parameters<SMTPServer["onSecure"]>): void {
    callback();
  }

  override onAuth(auth: OnAuth[0], session: OnAuth[1], callback: OnAuth[2]): void {
    this.#checkAuth(auth, session).then(
      (answer) => callback(null, answer),
      (error: unknown) => {
        this.shared.log.error({ err: error }, "a password could not be checked");
        callback(null, { responseCode: 454, message: "4.7.0 Temporary authentication failure" });
      },
    );
  }

  async #checkAuth(auth: OnAuth[0], session: OnAuth[1]): Promise<AuthResponse> {
    const group = addressGroup(session.remoteAddress);
    const name = auth.username ?? "";
    // RFC 4616 section 2: nobody acts for another one here.
    const actsForOther = auth.authzid !== undefined && auth.authzid !== "" && auth.authzid !== name;
    const user = actsForOther ? undefined : this.settings.config.users.get(name);
    const answer = await this.shared.guard.check(user, auth.password ?? "", group);
    if (answer === "right" && user !== undefined) return { user: user.name };
    this.shared.meter.authFailed();
    if (answer === "busy") return { responseCode: 454, message: "4.7.0 Too many logins at the moment, try again" };
    this.shared.log.warn({ user: cleanText(name), address: session.remoteAddress }, "login failed");
    if (this.shared.guard.failures(group) >= this.settings.listener.authFailuresMax) {
      return { responseCode: 421, message: `4.7.0 ${replies.tooManyAuthFailures.text}` };
    }
    return { responseCode: 535, message: "5.7.8 Authentication credentials invalid" };
  }

  *#sessions(): Iterable<SubmissionSession> {
    for (const connection of this.connections) if (connection instanceof SubmissionSession) yield connection;
  }

  #forget(socket: Socket): void {
    const group = this.#sockets.get(socket);
    if (group === undefined) return;
    this.#sockets.delete(socket);
    this.#handshakes.delete(socket);
    const left = (this.#socketsOfAddress.get(group) ?? 1) - 1;
    if (left === 0) this.#socketsOfAddress.delete(group);
    else this.#socketsOfAddress.set(group, left);
    this.shared.onSessionEnd();
  }
}

interface AuthResponse {
  readonly user?: string;
  readonly responseCode?: number;
  readonly message?: string;
}

/** RFC 5321 section 3.1: a 421 in place of the greeting. In front of a handshake nothing can be said. */
function turnAway(socket: Socket, handshake: boolean, refusal: SmtpReply): void {
  socket.on("error", () => {});
  if (handshake) socket.destroy();
  else {
    socket.end(replyLine(refusal), "latin1");
    socket.destroySoon();
  }
}

/** smtp-server sends the message as it is, with the code. */
function asError(smtpReply: SmtpReply): Error {
  return Object.assign(new Error(`${smtpReply.enhanced} ${smtpReply.text}`), { responseCode: smtpReply.code });
}

function listenError(error: unknown, { host, port }: HostPort, where: string): Error {
  const code = (error as NodeJS.ErrnoException).code;
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const why =
    code === "EADDRINUSE"
      ? "is in use by another program"
      : code === "EACCES"
        ? "may not be listened on: ports below 1024 need CAP_NET_BIND_SERVICE"
        : code === "EADDRNOTAVAIL" || code === "ENOTFOUND"
          ? "is no address of this machine"
          : `cannot be listened on (${code ?? "unknown"})`;
  return new Error(`${address} ${why} (${where}.listen)`, { cause: error });
}
