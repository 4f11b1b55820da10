// The delivery log on disk: JSON Lines in an active file that is rotated by size and removed by age.

import { type FileHandle, mkdir, open, readdir, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { EventSink } from "../core/event.ts";
import { type Clock, hourMs, type Millis, minuteMs, secondMs, type Timer } from "../core/time.ts";
import { compactUtc, parseCompactUtc } from "./utc-time.ts";

export interface EventLogOptions {
  /** The folder, which is made when it is not there. One EventLog owns the files of its stem in it. */
  readonly path: string;
  /** The active file is `<stem>.jsonl`, rotated ones are `<stem>-<UTC time>-<n>.jsonl`. Default `events`. */
  readonly stem?: string | undefined;
  readonly rotateBytes: number;
  /** Rotated files are removed this long after their rotation. */
  readonly keepMs: Millis;
  readonly clock: Clock;
}

/** What may wait for the disk: beyond it `append` refuses, and the caller keeps the events in its outbox. */
export const pendingBytesMax = 64 * 1024 * 1024;
/** How often the active file is compared with what its name leads to, so that a removal from outside is noticed. */
const identityCheckMs: Millis = secondMs;
const rotationRetryMs: Millis = minuteMs;
const newline = 0x0a;

interface Waiting {
  readonly lines: Buffer;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Appends in the order of the calls. Calls that come while a write is under way share the next write and its
 * fdatasync. When a write fails, everything that waits is rejected, so that the caller can offer it again in order.
 */
export class EventLog implements EventSink {
  readonly #options: EventLogOptions;
  readonly #stem: string;
  readonly #active: string;
  #handle: FileHandle | undefined;
  /** Octets of the active file that are known to be whole lines. */
  #bytes = 0;
  #inode = 0n;
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #pump: Promise<void> | undefined;
  #sweeping: Promise<void> | undefined;
  #reopenAsked = false;
  #closed = false;
  #identityCheckedAtMs = 0;
  #rotateNotBeforeMs = 0;
  #sweepTimer: Timer | undefined;

  /** Opens lazily: nothing is touched before the first `append` or `open`. */
  constructor(options: EventLogOptions) {
    this.#options = options;
    this.#stem = options.stem ?? "events";
    this.#active = join(options.path, `${this.#stem}.jsonl`);
  }

  /** Makes the folder and opens the active file now, so that a mistake in the config shows at start. Rejects with Error. */
  async open(): Promise<void> {
    try {
      await this.#ready();
    } catch (cause) {
      throw new Error(`the delivery log cannot be opened in ${this.#options.path}: ${(cause as Error).message}`, {
        cause,
      });
    }
    this.#armSweep(0);
  }

  /** See EventSink. Rejects also when `pendingBytesMax` is reached and after `close`. */
  append(lines: Buffer): Promise<void> {
    if (this.#closed) return Promise.reject(new Error("the event log is closed"));
    if (lines.length === 0) return Promise.resolve();
    if (this.#waitingBytes + lines.length > pendingBytesMax)
      return Promise.reject(new Error(`more than ${pendingBytesMax} octets of events wait for the disk`));
    const appended = new Promise<void>((resolve, reject) => this.#waiting.push({ lines, resolve, reject }));
    this.#waitingBytes += lines.length;
    this.#run();
    return appended;
  }

  /** Opens the active file anew before the next write: for a file that was moved from outside (SIGHUP). */
  reopen(): void {
    this.#reopenAsked = true;
  }

  /** Writes what waits, then closes the file. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#sweepTimer?.cancel();
    while (this.#pump !== undefined) await this.#pump;
    await this.#sweeping;
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #run(): void {
    this.#pump ??= this.#drain().finally(() => {
      this.#pump = undefined;
      if (this.#waiting.length > 0) this.#run();
    });
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(batch.map((item) => item.lines));
        for (const item of batch) this.#waitingBytes -= item.lines.length;
        for (const item of batch) item.resolve();
      } catch (cause) {
        const refused = [...batch, ...this.#waiting];
        this.#waiting = [];
        this.#waitingBytes = 0;
        const error = new Error(`events cannot be written to ${this.#active}: ${(cause as Error).message}`, { cause });
        for (const item of refused) item.reject(error);
        await this.#forget();
      }
    }
    this.#armSweep(hourMs);
  }

  async #write(buffers: readonly Buffer[]): Promise<void> {
    const lines = buffers.length === 1 ? (buffers[0] as Buffer) : Buffer.concat(buffers);
    let handle = await this.#ready();
    if (this.#bytes > 0 && this.#bytes + lines.length > this.#options.rotateBytes) handle = await this.#rotate(handle);
    try {
      for (let at = 0; at < lines.length; ) at += (await handle.write(lines, at, lines.length - at)).bytesWritten;
      await handle.datasync();
    } catch (error) {
      // Take back what was written, whole lines or not: the batch is offered again. Where that fails too, the next
      // opening ends a torn line.
      await handle.truncate(this.#bytes).catch(() => undefined);
      throw error;
    }
    this.#bytes += lines.length;
  }

  /** The open active file. A new one is opened when asked to, or when the name leads elsewhere by now. */
  async #ready(): Promise<FileHandle> {
    const now = this.#options.clock.monotonicMs();
    if (this.#handle !== undefined && !this.#reopenAsked) {
      if (now - this.#identityCheckedAtMs < identityCheckMs) return this.#handle;
      this.#identityCheckedAtMs = now;
      const found = await stat(this.#active, { bigint: true }).catch(() => undefined);
      if (found?.ino === this.#inode) return this.#handle;
    }
    this.#reopenAsked = false;
    await this.#forget();
    this.#identityCheckedAtMs = now;

    await mkdir(this.#options.path, { recursive: true });
    const handle = await open(this.#active, "a+", 0o640);
    try {
      const { size, ino } = await handle.stat({ bigint: true });
      this.#bytes = Number(size);
      this.#inode = ino;
      if (this.#bytes === 0) await this.#syncFolder();
      else if (!(await endsWithNewline(handle, this.#bytes))) {
        await handle.write("\n");
        this.#bytes++;
      }
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
    this.#handle = handle;
    return handle;
  }

  /** Gives the active file its final name and opens a new one. When that fails, the old file goes on growing for now. */
  async #rotate(handle: FileHandle): Promise<FileHandle> {
    const { clock } = this.#options;
    if (clock.monotonicMs() < this.#rotateNotBeforeMs) return handle;
    try {
      const stamp = compactUtc(clock.now());
      let number = 1;
      const target = () => join(this.#options.path, `${this.#stem}-${stamp}-${number}.jsonl`);
      while (await exists(target())) number++;
      await rename(this.#active, target());
    } catch {
      this.#rotateNotBeforeMs = clock.monotonicMs() + rotationRetryMs;
      return handle;
    }
    await this.#forget();
    return this.#ready();
  }

  async #forget(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close().catch(() => undefined);
  }

  /** Makes the new name itself durable. */
  async #syncFolder(): Promise<void> {
    const folder = await open(this.#options.path, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  #armSweep(delayMs: Millis): void {
    if (this.#closed || this.#sweepTimer !== undefined) return;
    this.#sweepTimer = this.#options.clock.after(delayMs, () => {
      this.#sweeping = this.#sweep().then(() => {
        this.#sweepTimer = undefined;
        this.#armSweep(hourMs);
      });
    });
  }

  /** Removes rotated files that are old enough, by the time in their names. What cannot be removed is tried again. */
  async #sweep(): Promise<void> {
    const before = this.#options.clock.now() - this.#options.keepMs;
    const names = await readdir(this.#options.path).catch(() => []);
    for (const name of names) {
      const rotatedAt = this.#rotationTime(name);
      if (rotatedAt === undefined || rotatedAt >= before) continue;
      await unlink(join(this.#options.path, name)).catch(() => undefined);
    }
  }

  #rotationTime(name: string): number | undefined {
    if (!name.startsWith(`${this.#stem}-`)) return undefined;
    const match = /^(\d{8}T\d{6}Z)-\d{1,9}\.jsonl$/.exec(name.slice(this.#stem.length + 1));
    return match === null ? undefined : parseCompactUtc(match[1] as string);
  }
}

async function endsWithNewline(handle: FileHandle, size: number): Promise<boolean> {
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
  return bytesRead === 1 && buffer[0] === newline;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
