// The receivers' side of the internet in a box: operators on many loopback addresses, all on one port.

import { createServer, type Server, Socket, type SocketConstructorOpts } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import { epochMs } from "../clock.ts";
import type { Ledger } from "./ledger.ts";
import { createOperator, deferralRules, type Operator, type OperatorProfile, type Rule } from "./operator.ts";
import { selfSigned } from "./self-signed.ts";
import { allExtensions, type SessionHost, SinkSession } from "./sink-session.ts";

export interface OperatorSetup {
  readonly profile: OperatorProfile;
  /** The host name that it shows, and the addresses that it listens on. */
  readonly hostName: string;
  readonly addresses: readonly string[];
  readonly startTls?: boolean | undefined;
  /** EHLO keywords with parameters; all that we know when left out. */
  readonly extensions?: readonly string[] | undefined;
}

export interface OperatorCounts {
  readonly name: string;
  readonly connectionsOpen: number;
  readonly connectionsPeakPerAddress: number;
  readonly verdicts: Readonly<Partial<Record<Rule, number>>>;
}

const backlog = 1_024;
/** Larger than most messages with their envelope, so that one read brings them whole. */
const readBytes = 262_144;
/** A session that stays silent for this long is closed (RFC 5321 section 4.5.3.2.7). */
const idleTimeoutMs = 300_000;
const idleCheckMs = 30_000;
const portTriesMax = 50;

interface Station {
  readonly host: SessionHost;
  readonly operator: Operator;
  readonly addresses: readonly string[];
  readonly hostName: string;
}

export class SinkServer {
  readonly #ledger: Ledger;
  readonly #stations: readonly Station[];
  readonly #servers: Server[] = [];
  readonly #sessions = new Set<SinkSession>();
  readonly #readBuffer = Buffer.allocUnsafeSlow(readBytes);
  readonly #idleTimer: NodeJS.Timeout;
  #messageNo = 0;
  #port = 0;

  constructor(operators: readonly OperatorSetup[], ledger: Ledger, seed: number) {
    this.#ledger = ledger;
    this.#idleTimer = setInterval(() => this.#closeIdle(), idleCheckMs);
    this.#idleTimer.unref();
    const startedAt = epochMs();
    const withTls = operators.filter((setup) => setup.startTls === true).map((setup) => setup.hostName);
    const secureContext = withTls.length === 0 ? undefined : newSecureContext(withTls);
    this.#stations = operators.map((setup, i) => {
      const operator = createOperator(setup.profile, seed + i, startedAt);
      const host: SessionHost = {
        operator,
        ledger,
        hostName: setup.hostName,
        secureContext: setup.startTls === true ? secureContext : undefined,
        extensions: setup.extensions ?? allExtensions,
        now: epochMs,
        nextMessageNo: () => ++this.#messageNo,
      };
      return { host, operator, addresses: setup.addresses, hostName: setup.hostName };
    });
  }

  get port(): number {
    return this.#port;
  }

  /** Listens on every address with the same port: the preferred one (0: any), or another where that one is taken. */
  async listen(preferredPort: number): Promise<number> {
    let port = preferredPort;
    for (let i = 0; i < portTriesMax; i++) {
      try {
        return await this.#listenOn(port);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
        await this.#closeServers();
        port = 0;
      }
    }
    throw new Error(`no port was free on all addresses after ${portTriesMax} tries`);
  }

  async #listenOn(port: number): Promise<number> {
    let shared = port;
    for (const { host, addresses } of this.#stations) {
      for (const address of addresses) {
        const server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => this.#serve(socket, host));
        this.#servers.push(server);
        await listenOnce(server, address, shared);
        const bound = server.address();
        if (typeof bound === "object" && bound !== null) shared = bound.port;
      }
    }
    this.#port = shared;
    return shared;
  }

  #serve(accepted: Socket, host: SessionHost): void {
    let session: SinkSession | undefined;
    const onRead = (count: number): void => session?.onData(this.#readBuffer, count);
    // TLS takes a socket over only while it reads by events.
    const socket = host.secureContext === undefined ? readInto(accepted, this.#readBuffer, onRead) : accepted;
    session = new SinkSession(socket, host, (ended) => this.#sessions.delete(ended));
    this.#sessions.add(session);
    socket.resume();
  }

  #closeIdle(): void {
    const oldest = epochMs() - idleTimeoutMs;
    for (const session of [...this.#sessions]) if (session.activeAt < oldest) session.destroy();
  }

  /** Changes what an operator is like from now on. */
  change(name: string, patch: Partial<OperatorProfile>): void {
    const station = this.#stations.find(({ operator }) => operator.profile.name === name);
    if (station === undefined) throw new Error(`no operator ${name}`);
    station.operator.profile = { ...station.operator.profile, ...patch };
  }

  totals(): { readonly deferrals: number; readonly connectionsOpen: number } {
    let deferrals = 0;
    for (const { operator } of this.#stations) {
      for (const [rule, count] of operator.verdicts) if (deferralRules.includes(rule)) deferrals += count;
    }
    return { deferrals, connectionsOpen: this.#sessions.size };
  }

  counts(): OperatorCounts[] {
    return this.#stations.map(({ operator }) => {
      const addresses = [...operator.addresses.values()];
      return {
        name: operator.profile.name,
        connectionsOpen: addresses.reduce((sum, address) => sum + address.connections, 0),
        connectionsPeakPerAddress: addresses.reduce((peak, address) => Math.max(peak, address.connectionsPeak), 0),
        verdicts: Object.fromEntries(operator.verdicts),
      };
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#idleTimer);
    const closing = this.#closeServers();
    for (const session of [...this.#sessions]) session.destroy();
    await closing;
    await this.#ledger.close();
  }

  async #closeServers(): Promise<void> {
    const servers = this.#servers.splice(0);
    await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }
}

/**
 * The accepted connection as a socket that reads into `buffer`. Node has `onread` for sockets that it is told to open, not
 * for those that a server accepts, so the handle (TCP, not read from yet) is passed on. Where there is none, events do.
 */
function readInto(accepted: AcceptedSocket, buffer: Buffer, onRead: (count: number) => void): Socket {
  const { _handle: handle } = accepted;
  if (handle === undefined || handle === null) return accepted;
  accepted._handle = null;
  const callback = (count: number): boolean => {
    onRead(count);
    return true;
  };
  const options = { handle, onread: { buffer, callback }, readable: true, writable: true };
  // The types know handles of sockets that are bound by name only.
  const socket = new Socket(options as unknown as SocketConstructorOpts);
  socket.setNoDelay(true);
  // The server counts it until it is gone.
  socket.once("close", () => accepted.destroy());
  return socket;
}

interface AcceptedSocket extends Socket {
  _handle?: object | null;
}

function listenOnce(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, backlog }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function newSecureContext(hostNames: readonly string[]): SecureContext {
  const { keyPem, certPem } = selfSigned(hostNames, new Date());
  return createSecureContext({ key: keyPem, cert: certPem });
}
