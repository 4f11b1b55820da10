// The network as a port: outgoing TCP connections with TLS.

import type { TlsInfo } from "./attempt.ts";
import type { Millis } from "./time.ts";

export interface ConnectOptions {
  /** The IP address to connect to (not a name). */
  readonly address: string;
  readonly port: number;
  /** The source's address; undefined lets the system choose. */
  readonly localAddress: string | undefined;
  readonly timeoutMs: Millis;
}

export interface TlsOptions {
  /** The exchanger's host name: SNI, and what the certificate is checked against. */
  readonly serverName: string;
  /** false goes on with a certificate that does not verify (opportunistic) and reports `verified: false`. */
  readonly verify: boolean;
  /** Sessions are resumed between connections of the same key (RFC 8446 section 2.2). */
  readonly sessionKey: string;
  readonly timeoutMs: Millis;
}

/** What went wrong below SMTP. `code` is the system's where there is one (ECONNREFUSED), else ETIMEDOUT or ECLOSED. */
export class NetworkError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "NetworkError";
    this.code = code;
  }
}

/**
 * One connection. Octets arrive through `onData`; the end arrives exactly once through `onClose` (undefined: the peer
 * closed properly). Both must be set at once after connect; nothing is delivered before that.
 */
export interface Connection {
  readonly remoteAddress: string;
  readonly localAddress: string;
  onData: (chunk: Buffer) => void;
  onClose: (error: NetworkError | undefined) => void;
  /**
   * Writes the chunks in order with one system call where the system allows it. The buffers must not be changed
   * afterwards. Returns undefined when the next write may follow at once, else a promise that resolves when the
   * connection has drained; it also resolves when the connection ends (onClose tells why).
   */
  write(chunks: readonly Uint8Array[]): Promise<void> | undefined;
  /**
   * Upgrades to TLS. Octets that arrived in clear and were not yet delivered are dropped, or break the handshake
   * (RFC 3207 section 4.2). Rejects with NetworkError; the connection is then closed, and onClose is not called.
   */
  startTls(options: TlsOptions): Promise<TlsInfo>;
  /** Sends what is written, then closes. */
  end(): void;
  /** Closes at once. onClose is not called after it. */
  destroy(): void;
}

export interface Network {
  /** Rejects with NetworkError. */
  connect(options: ConnectOptions): Promise<Connection>;
}
