// The ingest room's door: takes mail from the programs that submit it and hands it to the queue.
//
// A listener accepts connections (listener.ts). A session (session.ts) speaks SMTP: its command stream cuts octets
// into lines (command-stream.ts), a content reader checks and unstuffs what follows DATA (content-reader.ts). Who may
// do what is decided in submission-policy.ts. intake.ts turns a content into a submission: stream, labels, Received,
// Date, Message-ID. The queue's `accept` puts it on the disk, and only then the client hears 250.

import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { Config, HostPort, SmtpListenerConfig } from "../config/config.ts";
import type { Random } from "../core/random.ts";
import { type Clock, type Millis, minuteMs, secondMs, type Timer } from "../core/time.ts";
import type { Intake } from "../queue/queue.ts";
import type { Log } from "../telemetry/log.ts";
import { AuthGuard } from "./auth-guard.ts";
import { type IngestShared, listenerSettings, SubmissionListener, type TlsMaterial } from "./listener.ts";
import { MemoryBudget } from "./memory-budget.ts";
import { type IngestMeter, silentMeter } from "./meter.ts";
import { NoteLimit } from "./note-limit.ts";

export type { IngestMeter } from "./meter.ts";
export { hashPassword } from "./password.ts";

export interface IngestDeps {
  readonly config: Config;
  readonly intake: Intake;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meter?: IngestMeter | undefined;
  /** Several shards listen on the same addresses. */
  readonly reusePort?: boolean | undefined;
  /** How long the answer to a wrong password waits. */
  readonly authFailureDelayMs?: Millis | undefined;
}

export interface Ingest {
  /** Where it listens, in the order of the config, with the real ports. */
  readonly addresses: readonly HostPort[];
  /** Open sockets, and octets of content that are not committed yet. */
  stats(): { readonly sockets: number; readonly heldBytes: number };
  /**
   * Takes a new config: limits, users, trust, certificates at once and without dropping a session; listeners that
   * changed their address are opened and closed. Rejects, and changes nothing, when a certificate cannot be read or
   * an address cannot be listened on.
   */
  reconfigure(config: Config): Promise<void>;
  /**
   * Accepts no more connections; sessions without a transaction hear 421, the others after their transaction.
   * Resolves when no session is left. Waits for ever: the caller sets the limit and then calls `close`.
   */
  drain(): Promise<void>;
  /** Ends all sessions now. */
  close(): Promise<void>;
}

const authFailureDelayMs: Millis = secondMs;
/** Sessions are looked at this often for what has taken too long. */
const sweepMsMax: Millis = secondMs;
const sweepMsMin: Millis = 20;
/** How often certificate files are looked at: whoever renews them need not tell us. */
const certificateLookMs: Millis = minuteMs;

/**
 * Opens all listeners of the config, or none. Rejects with an `Error` that names the address or file and its place in
 * the config.
 */
export async function openIngest(deps: IngestDeps): Promise<Ingest> {
  const room = new IngestRoom(deps);
  await room.reconfigure(deps.config);
  return room;
}

interface OpenListener {
  /** Address and kind; the same key in a new config is the same listener. */
  readonly key: string;
  readonly listener: SubmissionListener;
}

class IngestRoom implements Ingest {
  readonly #clock: Clock;
  readonly #reusePort: boolean;
  readonly #shared: IngestShared;
  #open: readonly OpenListener[] = [];
  /** Closed by a reload or a drain; their sessions may still run. */
  #leaving: readonly SubmissionListener[] = [];
  #sweepMs: Millis = sweepMsMax;
  #sweep: Timer | undefined;
  #certificateLook: Timer | undefined;
  #draining = false;
  #whenEmpty: (() => void)[] = [];

  constructor(deps: IngestDeps) {
    this.#clock = deps.clock;
    this.#reusePort = deps.reusePort ?? false;
    this.#shared = {
      intake: deps.intake,
      clock: deps.clock,
      log: deps.log,
      meter: deps.meter ?? silentMeter,
      budget: new MemoryBudget(deps.config.ingest.memoryMaxBytes),
      guard: new AuthGuard(deps.clock, deps.random, deps.authFailureDelayMs ?? authFailureDelayMs),
      strangerNotes: new NoteLimit(),
      onSessionEnd: () => this.#onSessionEnd(),
    };
  }

  get addresses(): readonly HostPort[] {
    return this.#open.map(({ listener }) => listener.address);
  }

  stats(): { sockets: number; heldBytes: number } {
    return { sockets: this.#socketCount(), heldBytes: this.#shared.budget.heldBytes };
  }

  async reconfigure(config: Config): Promise<void> {
    if (this.#draining) return;
    const wanted = await Promise.all(
      config.ingest.smtp.map(async (listener, index) => {
        const where = `ingest.smtp[${index}]`;
        const tls = await readTls(listener, where);
        return { key: keyOf(listener, index), where, settings: listenerSettings(config, listener), tls };
      }),
    );
    const kept = new Map(this.#open.map((open) => [open.key, open.listener]));
    const next: OpenListener[] = [];
    const opened: SubmissionListener[] = [];
    try {
      for (const { key, where, settings, tls } of wanted) {
        const known = kept.get(key);
        if (known !== undefined) {
          next.push({ key, listener: known });
          continue;
        }
        const listener = new SubmissionListener(this.#shared, settings, tls);
        await this.#openOne(listener, where, kept, wanted);
        opened.push(listener);
        next.push({ key, listener });
      }
    } catch (error) {
      for (const listener of opened) listener.abort();
      throw error;
    }
    for (const { key, settings, tls } of wanted) kept.get(key)?.apply(settings, tls);
    const stays = new Set(next.map(({ listener }) => listener));
    const gone = this.#open.map(({ listener }) => listener).filter((listener) => !stays.has(listener));
    this.#leaving = [...this.#leaving, ...gone];
    for (const listener of gone) listener.drain();
    this.#open = next;
    this.#shared.budget.resize(config.ingest.memoryMaxBytes);
    this.#shared.guard.setUsers(config.users.values());
    this.#planSweep();
    this.#planCertificateLook();
  }

  async drain(): Promise<void> {
    this.#draining = true;
    this.#leaving = [...this.#leaving, ...this.#open.map(({ listener }) => listener)];
    for (const { listener } of this.#open) listener.drain();
    await this.#empty();
  }

  async close(): Promise<void> {
    this.#draining = true;
    for (const { listener } of this.#open) listener.abort();
    for (const listener of this.#leaving) listener.abort();
    this.#leaving = [...this.#leaving, ...this.#open.map(({ listener }) => listener)];
    this.#open = [];
    await this.#empty();
    this.#sweep?.cancel();
    this.#certificateLook?.cancel();
  }

  /** A listener that changed between STARTTLS and implicit TLS leaves its address to its successor. */
  async #openOne(
    listener: SubmissionListener,
    where: string,
    kept: ReadonlyMap<string, SubmissionListener>,
    wanted: readonly { readonly key: string }[],
  ): Promise<void> {
    const { host, port } = listener.settings.listener.listen;
    for (const [key, old] of kept) {
      const { listen } = old.settings.listener;
      const leaves = !wanted.some((one) => one.key === key);
      if (leaves && port !== 0 && listen.host === host && listen.port === port) old.drain();
    }
    await listener.open(where, this.#reusePort);
  }

  #planSweep(): void {
    const shortest = Math.min(...this.#open.map(({ listener }) => listener.settings.listener.idleTimeoutMs));
    this.#sweepMs = Math.max(sweepMsMin, Math.min(sweepMsMax, shortest / 4));
    this.#sweep?.cancel();
    this.#sweep = this.#clock.after(this.#sweepMs, () => this.#sweepSessions());
  }

  /** One timer for all sessions instead of one for each. */
  #sweepSessions(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const { listener } of this.#open) listener.checkTime(nowMs);
    for (const listener of this.#leaving) listener.checkTime(nowMs);
    this.#sweep = this.#clock.after(this.#sweepMs, () => this.#sweepSessions());
  }

  #planCertificateLook(): void {
    this.#certificateLook?.cancel();
    this.#certificateLook = this.#clock.after(certificateLookMs, () => {
      void this.#lookAtCertificates().then(() => {
        if (!this.#draining) this.#planCertificateLook();
      });
    });
  }

  /** A certificate that cannot be used leaves the old one in place; the log says so each time. */
  async #lookAtCertificates(): Promise<void> {
    for (const [index, { listener }] of this.#open.entries()) {
      const settings = listener.settings;
      try {
        const tls = await readTls(settings.listener, `ingest.smtp[${index}]`);
        // A reload that came meanwhile has read the files itself.
        if (listener.settings === settings && tls !== undefined) listener.apply(settings, tls);
      } catch (error) {
        this.#shared.log.error({ err: error }, "the certificate stays the old one");
      }
    }
  }

  #socketCount(): number {
    let count = 0;
    for (const { listener } of this.#open) count += listener.socketCount;
    for (const listener of this.#leaving) if (!this.#isOpen(listener)) count += listener.socketCount;
    return count;
  }

  #isOpen(listener: SubmissionListener): boolean {
    return this.#open.some((open) => open.listener === listener);
  }

  #onSessionEnd(): void {
    this.#leaving = this.#leaving.filter((listener) => listener.socketCount > 0);
    if (!this.#draining || this.#socketCount() > 0) return;
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }

  async #empty(): Promise<void> {
    if (this.#socketCount() === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#whenEmpty.push(resolve);
    await promise;
  }
}

/** Port 0 is a new port for each listener, so there the place in the list counts too. */
function keyOf(listener: SmtpListenerConfig, index: number): string {
  const { host, port } = listener.listen;
  return `${host} ${port} ${listener.tls?.mode === "implicit"} ${port === 0 ? index : ""}`;
}

async function readTls(listener: SmtpListenerConfig, where: string): Promise<TlsMaterial | undefined> {
  if (listener.tls === undefined) return undefined;
  const { certFile, keyFile } = listener.tls;
  const cert = await readPem(certFile, "certificate", `${where}.tls.cert`);
  const key = await readPem(keyFile, "key", `${where}.tls.key`);
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${certFile} and ${keyFile} cannot be used together: ${why} (${where}.tls)`, { cause: error });
  }
  return { cert, key };
}

async function readPem(file: string, what: string, where: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    const why =
      code === "ENOENT" ? "does not exist" : code === "EACCES" ? "may not be read" : `cannot be read (${code})`;
    throw new Error(`the ${what} ${file} ${why} (${where})`, { cause: error });
  }
}
