// The real network: outgoing TCP connections with TLS, over node:net and node:tls.

import { connect as connectTcp, isIP, type Socket } from "node:net";
import {
  type ConnectionOptions,
  connect as connectTls,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from "node:tls";
import { assert } from "../core/assert.ts";
import type { TlsInfo } from "../core/attempt.ts";
import { type Connection, type ConnectOptions, type Network, NetworkError, type TlsOptions } from "../core/network.ts";
import type { Millis } from "../core/time.ts";

/** TLS sessions kept for resumption, over all exchangers. */
const tlsSessionsMax = 5_000;
/** How long `end()` waits for the peer to close too, and for the rest of what was written to go out. */
const endTimeoutMs: Millis = 10_000;

export interface TcpNetworkOptions {
  /** Trust anchors in PEM; undefined: those that come with Node. */
  readonly ca?: readonly string[] | undefined;
}

/**
 * One per shard: it holds the TLS context and the sessions for resumption. A fault of our own side keeps the system's
 * code in NetworkError.code: EADDRNOTAVAIL (the source's address is not on this machine, or it has no port left),
 * EADDRINUSE, EMFILE, ENETUNREACH.
 */
export class TcpNetwork implements Network {
  readonly #tls: TlsClient;

  constructor(options: TcpNetworkOptions = {}) {
    this.#tls = new TlsClient(options.ca);
  }

  connect(options: ConnectOptions): Promise<Connection> {
    assert(isIP(options.address) !== 0, `not an IP address: ${options.address}`);
    const { promise, resolve, reject } = Promise.withResolvers<Connection>();
    const socket = connectTcp({
      host: options.address,
      port: options.port,
      noDelay: true,
      ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
    });
    // Octets that come before there is an onData wait in the socket.
    socket.pause();
    const timer = setTimeout(() => {
      fail(new NetworkError("ETIMEDOUT", `no connection to ${options.address} within ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    const onError = (error: Error) => fail(asNetworkError(error));
    const settle = () => {
      clearTimeout(timer);
      socket.off("error", onError);
      socket.off("connect", onConnect);
    };
    const fail = (error: NetworkError) => {
      settle();
      socket.on("error", ignore);
      socket.destroy();
      reject(error);
    };
    const onConnect = () => {
      settle();
      resolve(new TcpConnection(socket, this.#tls));
    };
    socket.on("error", onError);
    socket.on("connect", onConnect);
    return promise;
  }
}

class TcpConnection implements Connection {
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly #tls: TlsClient;
  #socket: Socket;
  #onData: ((chunk: Buffer) => void) | undefined;
  #onClose: ((error: NetworkError | undefined) => void) | undefined;
  #error: NetworkError | undefined;
  /** "ended": the end is known but there is no onClose yet to tell it to. */
  #state: "open" | "upgrading" | "ended" | "closed" = "open";
  #endTimer: NodeJS.Timeout | undefined;
  #drained: PromiseWithResolvers<void> | undefined;

  // Listeners as fields, so that the upgrade to TLS can move them from one socket to the other.
  readonly #dataListener = (chunk: Buffer): void => this.#onData?.(chunk);
  readonly #drainListener = (): void => this.#resolveDrained();
  readonly #endListener = (): void => this.#finish(undefined);
  readonly #closeListener = (): void => this.#finish(this.#error);
  readonly #errorListener = (error: Error): void => {
    this.#error ??= asNetworkError(error);
  };

  constructor(socket: Socket, tls: TlsClient) {
    this.remoteAddress = socket.remoteAddress ?? "";
    this.localAddress = socket.localAddress ?? "";
    this.#socket = socket;
    this.#tls = tls;
    this.#listen();
  }

  get onData(): (chunk: Buffer) => void {
    return this.#onData ?? ignore;
  }

  set onData(listener: (chunk: Buffer) => void) {
    const isFirst = this.#onData === undefined;
    this.#onData = listener;
    if (isFirst && this.#state === "open") this.#startReading();
  }

  get onClose(): (error: NetworkError | undefined) => void {
    return this.#onClose ?? ignore;
  }

  set onClose(listener: (error: NetworkError | undefined) => void) {
    this.#onClose = listener;
    if (this.#state !== "ended") return;
    queueMicrotask(() => {
      if (this.#state !== "ended") return;
      this.#state = "closed";
      this.#onClose?.(this.#error);
    });
  }

  write(chunks: readonly Uint8Array[]): Promise<void> | undefined {
    assert(this.#state !== "upgrading", "write() during startTls()");
    const socket = this.#socket;
    if (this.#state !== "open" || socket.writableEnded) return undefined;
    if (chunks.length === 1) {
      socket.write(chunks[0] as Uint8Array);
    } else {
      // Node hands what was written while corked to the kernel in one writev, or to TLS in one go.
      socket.cork();
      for (const chunk of chunks) socket.write(chunk);
      socket.uncork();
    }
    // What the kernel took at once is not counted any more, so a big write into an empty socket need not wait.
    if (socket.writableLength < socket.writableHighWaterMark) return undefined;
    this.#drained ??= Promise.withResolvers<void>();
    return this.#drained.promise;
  }

  async startTls(options: TlsOptions): Promise<TlsInfo> {
    assert(this.#state !== "upgrading", "startTls() is already under way");
    if (this.#state !== "open") throw this.#error ?? new NetworkError("ECLOSED", "the connection is closed");
    this.#state = "upgrading";
    const plain = this.#socket;
    this.#unlisten();
    plain.pause();
    // RFC 3207 section 4.2: nothing that came in clear may be taken for a part of the protected session.
    while (plain.read() !== null) {}
    plain.on("error", ignore);
    try {
      const { socket, info } = await this.#tls.upgrade(plain, options);
      if (this.#isClosed()) {
        socket.destroy();
        throw new NetworkError("ECLOSED", "the connection was closed during the TLS handshake");
      }
      this.#state = "open";
      this.#socket = socket;
      this.#listen();
      if (this.#onData !== undefined) this.#startReading();
      return info;
    } catch (error) {
      plain.destroy();
      this.#state = "closed";
      throw asNetworkError(error as Error);
    }
  }

  end(): void {
    if (this.#state !== "open") {
      if (this.#state === "upgrading") this.destroy();
      return;
    }
    this.#endTimer ??= setTimeout(() => this.#finish(undefined), endTimeoutMs).unref();
    this.#socket.end();
    // Without a reader the peer's end would never be seen.
    this.#socket.resume();
  }

  destroy(): void {
    this.#state = "closed";
    this.#release();
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #listen(): void {
    this.#socket.on("drain", this.#drainListener);
    this.#socket.on("end", this.#endListener);
    this.#socket.on("error", this.#errorListener);
    this.#socket.on("close", this.#closeListener);
    // It may have ended between the handshake and now.
    if (this.#socket.destroyed || this.#socket.readableEnded) queueMicrotask(this.#closeListener);
  }

  #unlisten(): void {
    this.#socket.off("data", this.#dataListener);
    this.#socket.off("drain", this.#drainListener);
    this.#socket.off("end", this.#endListener);
    this.#socket.off("error", this.#errorListener);
    this.#socket.off("close", this.#closeListener);
  }

  #startReading(): void {
    this.#socket.on("data", this.#dataListener);
    this.#socket.resume();
  }

  /** The end, told once: the peer closed, or the connection broke. A peer that only half closes gets no more either. */
  #finish(error: NetworkError | undefined): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    this.#error = error;
    this.#release();
    if (this.#onClose === undefined) return;
    this.#state = "closed";
    this.#onClose(error);
  }

  #release(): void {
    clearTimeout(this.#endTimer);
    this.#unlisten();
    // A socket may still fail while it goes; that is nobody's business now.
    this.#socket.on("error", ignore);
    this.#socket.destroy();
    this.#resolveDrained();
  }

  #resolveDrained(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }
}

interface KeptSession {
  readonly session: Buffer;
  /** What the full handshake found: a resumed one does not look at the certificate's names again. */
  readonly verified: boolean;
}

/** The client's side of TLS: one context for all connections, and the sessions for resumption. */
class TlsClient {
  readonly #context: SecureContext;
  /** Least recently kept first. */
  readonly #sessions = new Map<string, KeptSession>();

  constructor(ca: readonly string[] | undefined) {
    this.#context = createSecureContext({ minVersion: "TLSv1.2", ...(ca === undefined ? {} : { ca: [...ca] }) });
  }

  /** Rejects with what went wrong; `plain` is then of no more use. */
  upgrade(plain: Socket, options: TlsOptions): Promise<{ readonly socket: TLSSocket; readonly info: TlsInfo }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ socket: TLSSocket; info: TlsInfo }>();
    const key = `${options.sessionKey} ${options.serverName}`;
    const kept = this.#sessions.get(key);
    const resumable = kept !== undefined && (kept.verified || !options.verify) ? kept : undefined;
    const socket = connectTls(this.#connectionOptions(plain, options, resumable));
    let isSecure = false;
    let early: Buffer | undefined;
    // The verdict is ours to draw: an opportunistic session goes on without a valid certificate.
    const isVerified = () =>
      socket.authorized && (!socket.isSessionReused() || resumable === undefined || resumable.verified);
    const timer = setTimeout(() => {
      fail(new NetworkError("ETIMEDOUT", `no TLS session within ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    const settle = () => {
      clearTimeout(timer);
      socket.off("error", onError);
      socket.off("close", onClose);
      socket.off("secureConnect", onSecure);
    };
    const fail = (error: Error) => {
      settle();
      // A session that leads to a failure is not tried again.
      if (resumable !== undefined) this.#sessions.delete(key);
      socket.on("error", ignore);
      socket.destroy();
      reject(asNetworkError(error));
    };
    const onError = (error: Error) => fail(error);
    const onClose = () => fail(new NetworkError("ECLOSED", "the peer closed during the TLS handshake"));
    const onSecure = () => {
      const verified = isVerified();
      if (options.verify && !verified) {
        fail(certificateError(socket));
        return;
      }
      settle();
      socket.on("error", ignore);
      isSecure = true;
      if (early !== undefined) this.#keep(key, { session: early, verified });
      resolve({ socket, info: tlsInfo(socket, verified) });
    };
    socket.on("error", onError);
    socket.on("close", onClose);
    socket.on("secureConnect", onSecure);
    // In TLS 1.3 tickets come after the handshake, each in an event of its own, and the last one counts. In TLS 1.2 the
    // session comes before its end, when it is not yet known whether the certificate verifies.
    socket.on("session", (session) => {
      if (isSecure) this.#keep(key, { session, verified: isVerified() });
      else early = session;
    });
    return promise;
  }

  #connectionOptions(plain: Socket, options: TlsOptions, resumable: KeptSession | undefined): ConnectionOptions {
    return {
      socket: plain,
      secureContext: this.#context,
      rejectUnauthorized: false,
      // The name that the certificate is checked against.
      host: options.serverName,
      // RFC 6066 section 3: an address is no server name.
      ...(isIP(options.serverName) === 0 ? { servername: options.serverName } : {}),
      ...(resumable === undefined ? {} : { session: resumable.session }),
    };
  }

  #keep(key: string, kept: KeptSession): void {
    this.#sessions.delete(key);
    this.#sessions.set(key, kept);
    if (this.#sessions.size <= tlsSessionsMax) return;
    const oldest = this.#sessions.keys().next();
    if (!oldest.done) this.#sessions.delete(oldest.value);
  }
}

function tlsInfo(socket: TLSSocket, verified: boolean): TlsInfo {
  const cipher = socket.getCipher();
  return { version: socket.getProtocol() ?? "unknown", cipher: cipher.standardName ?? cipher.name, verified };
}

function certificateError(socket: TLSSocket): NetworkError {
  const reason = socket.authorizationError as Error | string | null | undefined;
  const code = typeof reason === "string" ? reason : "ECERTIFICATE";
  return new NetworkError(code, `the certificate does not verify: ${reason ?? "unknown reason"}`);
}

function asNetworkError(error: Error): NetworkError {
  if (error instanceof NetworkError) return error;
  const code = "code" in error && typeof error.code === "string" ? error.code : "ECLOSED";
  return new NetworkError(code, error.message, { cause: error });
}

function ignore(): void {}
