// The simulated network: octets travel late and cut at random places, connections are refused, hang and break.

import type { TlsInfo } from "../../src/core/attempt.ts";
import { type Connection, type ConnectOptions, type Network, NetworkError } from "../../src/core/network.ts";
import type { Random } from "../../src/core/random.ts";
import type { Clock, Millis } from "../../src/core/time.ts";

/** The far side of one connection. */
export interface SimPeer {
  /** Octets from the client, in pieces. */
  receive(octets: Buffer): void;
  /** The client closed or broke the connection. */
  ended(): void;
}

/** What a peer may do to its connection. */
export interface SimPeerSide {
  readonly source: string;
  /** Sends octets to the client after `delayMs`. Order is kept. */
  send(octets: Buffer, delayMs: Millis): void;
  /** Ends the connection behind what was sent; "reset" loses what is still on its way. */
  close(how: "fin" | "reset", delayMs: Millis): void;
}

export type Answer =
  | { readonly kind: "refuse" }
  | { readonly kind: "hang" }
  | { readonly kind: "accept"; readonly attach: (side: SimPeerSide) => SimPeer };

export interface SimNetworkOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Decides about a new connection. */
  readonly answer: (address: string, source: string) => Answer;
  readonly record: (line: string) => void;
}

export class SimNetwork implements Network {
  readonly #options: SimNetworkOptions;
  #severed = false;
  readonly #connections = new Set<SimConnection>();

  constructor(options: SimNetworkOptions) {
    this.#options = options;
  }

  /** The process died: peers see their connections end, and nothing reaches the dead process any more. */
  sever(): void {
    this.#severed = true;
    for (const connection of this.#connections) connection.die();
  }

  connect(options: ConnectOptions): Promise<Connection> {
    const { clock, random, answer, record } = this.#options;
    const source = options.localAddress ?? "127.0.0.1";
    return new Promise((resolve, reject) => {
      const decided = answer(options.address, source);
      record(`connect ${source} ${options.address} ${decided.kind}`);
      const roundTripMs = 1 + random.integer(60);
      if (decided.kind === "hang") {
        clock.after(options.timeoutMs, () => reject(new NetworkError("ETIMEDOUT", "connection timed out")));
        return;
      }
      clock.after(roundTripMs, () => {
        if (this.#severed) return;
        if (decided.kind === "refuse") {
          reject(new NetworkError("ECONNREFUSED", "connection refused"));
          return;
        }
        const connection = new SimConnection(options.address, source, clock, random, roundTripMs / 2, record, () =>
          this.#connections.delete(connection),
        );
        this.#connections.add(connection);
        connection.attach(decided.attach(connection.side));
        resolve(connection);
      });
    });
  }
}

class SimConnection implements Connection {
  readonly remoteAddress: string;
  readonly localAddress: string;
  onData: (chunk: Buffer) => void = () => undefined;
  onClose: (error: NetworkError | undefined) => void = () => undefined;
  readonly side: SimPeerSide;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #oneWayMs: Millis;
  readonly #record: (line: string) => void;
  readonly #gone: () => void;
  #peer: SimPeer | undefined;
  #closed = false;
  #peerClosed = false;
  /** Nothing arrives before what was sent earlier. */
  #toPeerAtMs = 0;
  #toClientAtMs = 0;

  constructor(
    remoteAddress: string,
    localAddress: string,
    clock: Clock,
    random: Random,
    oneWayMs: Millis,
    record: (line: string) => void,
    gone: () => void,
  ) {
    this.remoteAddress = remoteAddress;
    this.localAddress = localAddress;
    this.#clock = clock;
    this.#random = random;
    this.#oneWayMs = oneWayMs;
    this.#record = record;
    this.#gone = gone;
    this.side = {
      source: localAddress,
      send: (octets, delayMs) => this.#toClient(octets, delayMs),
      close: (how, delayMs) => this.#closeByPeer(how, delayMs),
    };
  }

  attach(peer: SimPeer): void {
    this.#peer = peer;
  }

  write(chunks: readonly Uint8Array[]): Promise<void> | undefined {
    if (this.#closed) return undefined;
    const octets = Buffer.concat(chunks);
    for (const piece of this.#cut(octets)) {
      this.#toPeerAtMs = Math.max(
        this.#toPeerAtMs,
        this.#clock.monotonicMs() + this.#oneWayMs + this.#random.integer(3),
      );
      this.#at(this.#toPeerAtMs, () => {
        if (!this.#peerClosed) this.#peer?.receive(piece);
      });
    }
    if (octets.length < 64 * 1024) return undefined;
    return new Promise((resolve) => this.#at(this.#toPeerAtMs, resolve));
  }

  startTls(): Promise<TlsInfo> {
    return new Promise((resolve, reject) => {
      this.#clock.after(2 * this.#oneWayMs, () => {
        if (this.#closed) reject(new NetworkError("ECONNRESET", "connection reset in the handshake"));
        else resolve({ version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", verified: false });
      });
    });
  }

  end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#at(this.#toPeerAtMs + this.#oneWayMs, () => this.#endPeer());
    this.#clock.after(2 * this.#oneWayMs, () => this.onClose(undefined));
  }

  destroy(): void {
    if (this.#closed) return;
    this.die();
  }

  /** Ends without a word to the client side. */
  die(): void {
    this.#closed = true;
    this.#clock.after(this.#oneWayMs, () => this.#endPeer());
  }

  #endPeer(): void {
    this.#gone();
    if (this.#peerClosed) return;
    this.#peerClosed = true;
    this.#peer?.ended();
  }

  #toClient(octets: Buffer, delayMs: Millis): void {
    if (this.#peerClosed) return;
    for (const piece of this.#cut(octets)) {
      const at = this.#clock.monotonicMs() + delayMs + this.#oneWayMs + this.#random.integer(3);
      this.#toClientAtMs = Math.max(this.#toClientAtMs, at);
      this.#at(this.#toClientAtMs, () => {
        if (this.#closed) return;
        this.#record(`< ${this.remoteAddress} ${piece.toString("latin1")}`);
        this.onData(piece);
      });
    }
  }

  #closeByPeer(how: "fin" | "reset", delayMs: Millis): void {
    this.#peerClosed = true;
    this.#gone();
    const at = this.#clock.monotonicMs() + delayMs + this.#oneWayMs;
    if (how === "fin") this.#toClientAtMs = Math.max(this.#toClientAtMs, at);
    this.#at(how === "fin" ? this.#toClientAtMs : at, () => {
      if (this.#closed) return;
      this.#closed = true;
      this.#record(`closed ${this.remoteAddress} ${how}`);
      this.onClose(how === "fin" ? undefined : new NetworkError("ECONNRESET", "connection reset by peer"));
    });
  }

  /** At most four pieces, at random places. */
  #cut(octets: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    let rest = octets;
    while (pieces.length < 3 && rest.length > 1 && this.#random.next() < 0.4) {
      const at = 1 + this.#random.integer(rest.length - 1);
      pieces.push(rest.subarray(0, at));
      rest = rest.subarray(at);
    }
    pieces.push(rest);
    return pieces;
  }

  #at(atMs: Millis, callback: () => void): void {
    this.#clock.after(Math.max(0, atMs - this.#clock.monotonicMs()), callback);
  }
}
