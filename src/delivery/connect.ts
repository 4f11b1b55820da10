// From the exchangers of a plan to a session that is ready to take mail (RFC 5321 sections 3.1, 3.2 and 5.1; RFC 3207).

import type { DeliveryTimeouts } from "../config/config.ts";
import { assertNever } from "../core/assert.ts";
import type { TlsInfo } from "../core/attempt.ts";
import { type Connection, type Network, NetworkError } from "../core/network.ts";
import type { Fault, Stage } from "../core/outcome.ts";
import type { Exchanger } from "../core/plan.ts";
import { type Random, shuffled } from "../core/random.ts";
import type { Reply } from "../core/reply.ts";
import type { Clock } from "../core/time.ts";
import { ClientSession } from "../smtp/client-session.ts";
import { type Extensions, noExtensions, parseExtensions } from "../smtp/extensions.ts";
import type { Log } from "../telemetry/log.ts";
import type { ConnectionSpec } from "./delivery.ts";
import { sessionTimeouts } from "./timeouts.ts";
import type { Peer } from "./workload.ts";

/** Addresses tried before a plan counts as out of reach. RFC 5321 section 5.1 asks for at least two. */
const addressesTriedMax = 8;

export interface ConnectParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly log: Log;
  readonly timeouts: DeliveryTimeouts;
  readonly isAllowedAddress: (address: string) => boolean;
  readonly spec: ConnectionSpec;
}

/** Lets the owner end an attempt that is under way. */
export class ConnectControl {
  #isCancelled = false;
  #session: ClientSession | undefined;

  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  /** The session that is being set up, so that `cancel` can close it. */
  holds(session: ClientSession): void {
    this.#session = session;
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#session?.close();
  }
}

export interface Remote {
  readonly name: string;
  readonly address: string;
}

export type ConnectResult =
  | { readonly kind: "ready"; readonly session: ClientSession; readonly peer: Peer }
  | { readonly kind: "failed"; readonly fault: Fault; readonly remote: Remote | undefined }
  | { readonly kind: "cancelled" };

/** Tries the exchangers, best preference first, and each of their addresses, until a session is ready. */
export async function connect(parts: ConnectParts, control: ConnectControl): Promise<ConnectResult> {
  let worst: { readonly fault: Fault; readonly remote: Remote } | undefined;
  let tried = 0;
  for (const exchanger of inOrder(parts.spec.exchangers, parts.random)) {
    for (const address of exchanger.addresses) {
      if (++tried > addressesTriedMax) break;
      const remote = { name: exchanger.host, address };
      const result = await greet(parts, remote, control);
      if (control.isCancelled) {
        if (result.kind === "ready") result.session.close();
        return { kind: "cancelled" };
      }
      if (result.kind === "ready") return result;
      if (worst === undefined || tellingOf(result.fault) > tellingOf(worst.fault))
        worst = { fault: result.fault, remote };
      // RFC 7504 section 3: this host takes no mail, whatever the address.
      if (result.fault.kind === "reply" && result.fault.reply.code === 521) break;
    }
  }
  const none: Fault = { kind: "network", stage: "connect", message: "the plan has no address to connect to" };
  return { kind: "failed", fault: worst?.fault ?? none, remote: worst?.remote };
}

/** RFC 5321 section 5.1: by rising preference, and at random among equals, drawn anew for each connection. */
export function inOrder(exchangers: readonly Exchanger[], random: Random): Exchanger[] {
  return shuffled(exchangers, random).sort((left, right) => left.preference - right.preference);
}

/**
 * How much a fault tells of why the site cannot be had. What a peer said stands before what the network did, a 4yz before
 * a 5yz (one exchanger that may take mail later is reason enough to try again), and a later stage before an earlier.
 */
function tellingOf(fault: Fault): number {
  switch (fault.kind) {
    case "reply":
      return fault.reply.code < 500 ? 30 : 20;
    case "policy":
      return fault.rule === "internal-address" ? 1 : 15;
    case "network":
      return 2 + setUpStages.indexOf(fault.stage);
    case "dns":
      return 0;
    default:
      return assertNever(fault);
  }
}

const setUpStages: readonly Stage[] = ["connect", "banner", "ehlo", "starttls"];

/** The outcome for one address. */
type Greeted =
  | { readonly kind: "ready"; readonly session: ClientSession; readonly peer: Peer }
  | {
      readonly kind: "failed";
      readonly fault: Fault;
      /** The TLS handshake failed, and the policy lets mail go in clear. */
      readonly mayGoInClear?: boolean;
    };

async function greet(parts: ConnectParts, remote: Remote, control: ConnectControl): Promise<Greeted> {
  const withTls = parts.spec.tls !== "off";
  const first = await greetOnce(parts, remote, control, withTls);
  if (first.kind === "ready" || !first.mayGoInClear || control.isCancelled) return first;
  const { name, address } = remote;
  parts.log.warn({ exchanger: name, address, fault: first.fault }, "TLS failed: going on in clear");
  // RFC 7435: opportunistic security goes on without what cannot be had, in a fresh connection.
  return await greetOnce(parts, remote, control, false);
}

async function greetOnce(
  parts: ConnectParts,
  remote: Remote,
  control: ConnectControl,
  withTls: boolean,
): Promise<Greeted> {
  if (!parts.isAllowedAddress(remote.address)) return internalAddress(remote.address);
  const connection = await openTcp(parts, remote.address);
  if (connection instanceof NetworkError) {
    return { kind: "failed", fault: { kind: "network", stage: "connect", message: describe(connection) } };
  }
  if (control.isCancelled || !parts.isAllowedAddress(connection.remoteAddress)) {
    connection.destroy();
    return internalAddress(connection.remoteAddress);
  }
  const session = new ClientSession(connection, parts.clock, sessionTimeouts(parts.timeouts));
  control.holds(session);
  const result = await introduce(parts, session, remote, withTls);
  if (result.kind === "failed") leave(session);
  return result;
}

async function openTcp(parts: ConnectParts, address: string): Promise<Connection | NetworkError> {
  try {
    return await parts.network.connect({
      address,
      port: parts.spec.port,
      localAddress: parts.spec.source.address,
      timeoutMs: parts.timeouts.connectMs,
    });
  } catch (error) {
    if (error instanceof NetworkError) return error;
    throw error;
  }
}

/** Banner, EHLO, STARTTLS, EHLO. */
async function introduce(
  parts: ConnectParts,
  session: ClientSession,
  remote: Remote,
  withTls: boolean,
): Promise<Greeted> {
  const { spec } = parts;
  const banner = await session.ask("banner", "");
  if (banner?.code !== 220) return refused(session, "banner", banner);
  const inClear = await hello(session, spec.source.ehlo);
  if (inClear.kind === "failed") return inClear;
  if (!withTls || !inClear.extensions.startTls) {
    if (spec.tls === "required") return tlsRequired("the peer does not offer STARTTLS");
    return ready(session, remote, inClear.extensions, undefined);
  }
  const go = await session.ask("starttls", "STARTTLS");
  if (go?.code !== 220) {
    if (session.fault !== undefined || spec.tls === "required") return refused(session, "starttls", go);
    return ready(session, remote, inClear.extensions, undefined);
  }
  const injected = session.fault;
  if (injected !== undefined) return { kind: "failed", fault: injected };
  const tls = await session.startTls({
    serverName: remote.name,
    verify: spec.tls === "required",
    sessionKey: `${spec.source.name} ${remote.name} ${remote.address}`,
    timeoutMs: parts.timeouts.startTlsMs,
  });
  if (tls === undefined) {
    const failed = refused(session, "starttls", undefined);
    return { ...failed, mayGoInClear: spec.tls === "opportunistic" && isHandshakeFault(failed.fault) };
  }
  // RFC 3207 section 4.2: what the peer said before counts no more.
  const secured = await hello(session, spec.source.ehlo);
  return secured.kind === "failed" ? secured : ready(session, remote, secured.extensions, tls);
}

type Failed = Extract<Greeted, { kind: "failed" }>;

/** EHLO, and HELO for a peer that does not know it (RFC 5321 section 3.2). */
async function hello(
  session: ClientSession,
  name: string,
): Promise<{ readonly kind: "greeted"; readonly extensions: Extensions } | Failed> {
  const ehlo = await session.ask("ehlo", `EHLO ${name}`);
  if (ehlo?.code === 250) return { kind: "greeted", extensions: parseExtensions(session.lastLines) };
  if (session.fault !== undefined || ehlo === undefined || ehlo.code < 500) return refused(session, "ehlo", ehlo);
  const helo = await session.ask("ehlo", `HELO ${name}`);
  if (helo?.code === 250) return { kind: "greeted", extensions: noExtensions };
  return refused(session, "ehlo", helo);
}

function ready(session: ClientSession, remote: Remote, extensions: Extensions, tls: TlsInfo | undefined): Greeted {
  // Something may have come behind the last reply, and ended the session.
  if (session.fault !== undefined) return { kind: "failed", fault: session.fault };
  const peer = { name: remote.name, address: session.remoteAddress, extensions, tls };
  return { kind: "ready", session, peer };
}

/** A reply that is not the one hoped for, or none. */
function refused(session: ClientSession, stage: Stage, reply: Reply | undefined): Failed {
  if (reply !== undefined && reply.code >= 400) return { kind: "failed", fault: { kind: "reply", stage, reply } };
  if (session.fault !== undefined) return { kind: "failed", fault: session.fault };
  const message = reply === undefined ? "no reply" : `protocol error: unexpected ${reply.code}`;
  return { kind: "failed", fault: { kind: "network", stage, message } };
}

function tlsRequired(message: string): Failed {
  return { kind: "failed", fault: { kind: "policy", rule: "require-tls", message } };
}

function internalAddress(address: string): Failed {
  const message = `the exchanger's address ${address} is internal`;
  return { kind: "failed", fault: { kind: "policy", rule: "internal-address", message } };
}

function isHandshakeFault(fault: Fault): boolean {
  return fault.kind === "network" && fault.message.startsWith("TLS: ");
}

/** Ends a session that is of no use: with QUIT where the peer still listens. Nobody waits for that. */
function leave(session: ClientSession): void {
  if (session.fault !== undefined) session.close();
  else void session.quit();
}

/** The code is told, too, for those who look for faults of our own host. */
function describe(error: NetworkError): string {
  return error.message.includes(error.code) ? error.message : `${error.code}: ${error.message}`;
}
