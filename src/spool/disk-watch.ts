// Free space on the spool's file system: below the floor no new mail is taken, and a ballast keeps the way out open.
//
// Dropping a delivered message also writes: LMDB copies each page it changes, and on a full disk that commit fails,
// which is fatal. New mail stops at the floor, long before; what fills the disk after that is somebody else. So a file
// of real blocks is held back and given up when almost nothing is left: deliveries go on for a while, and above all a
// spool that has failed for want of space can be opened again, since opening comes past here first. It is taken back
// once there is room. This is a reserve, not a guarantee: the other writer may take those blocks too.

import { type FileHandle, open, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Millis, Timer } from "../core/time.ts";
import type { Log } from "../telemetry/log.ts";

const checkIntervalMs: Millis = 1_000;
export const ballastBytes = 16 * 1024 * 1024;
/** The ballast is given up below this. */
const ballastReleaseBytes = 2 * ballastBytes;
const ballastFile = "ballast";
const stepBytes = 1024 * 1024;

export interface DiskWatchOptions {
  readonly path: string;
  readonly freeSpaceMinBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after each look. */
  readonly onCheck?: () => void;
  /** Octets free for us; the system's answer by default. */
  readonly readFreeBytes?: (path: string) => Promise<number>;
}

export class DiskWatch {
  readonly #options: DiskWatchOptions;
  readonly #readFreeBytes: (path: string) => Promise<number>;
  #freeBytes = 0;
  #timer: Timer | undefined;
  #closed = false;
  #checking: Promise<void> = Promise.resolve();

  constructor(options: DiskWatchOptions) {
    this.#options = options;
    this.#readFreeBytes = options.readFreeBytes ?? systemFreeBytes;
  }

  /** As of the last look, at most about a second ago. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  get isLow(): boolean {
    return this.#freeBytes < this.#options.freeSpaceMinBytes;
  }

  /** Looks once, then every second until `close`. */
  async start(): Promise<void> {
    await this.check();
    this.#schedule();
  }

  /** Waits for a look under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#checking;
  }

  /** One look; keeps the last figure when the system gives none. */
  async check(): Promise<void> {
    try {
      const wasLow = this.isLow;
      this.#freeBytes = await this.#readFreeBytes(this.#options.path);
      if (this.isLow && !wasLow) {
        this.#options.log.warn({ freeBytes: this.#freeBytes }, "spool is low on space: no new mail is taken");
      }
      await this.#tendBallast();
    } catch (error) {
      this.#options.log.error({ err: error }, "free space of the spool is not known");
    }
    this.#options.onCheck?.();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.after(checkIntervalMs, () => {
      this.#checking = this.check().then(() => this.#schedule());
    });
  }

  async #tendBallast(): Promise<void> {
    // With so low a floor the operator does not want space to be held back.
    if (this.#options.freeSpaceMinBytes < 2 * ballastReleaseBytes) return;
    const file = join(this.#options.path, ballastFile);
    if (this.#freeBytes < ballastReleaseBytes) {
      await rm(file, { force: true });
    } else if (this.#freeBytes > this.#options.freeSpaceMinBytes + ballastBytes) {
      const size = await stat(file).then(
        (found) => found.size,
        () => 0,
      );
      if (size !== ballastBytes) await writeBallast(file);
    }
  }
}

async function systemFreeBytes(path: string): Promise<number> {
  const found = await statfs(path);
  return found.bavail * found.bsize;
}

async function writeBallast(path: string): Promise<void> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "w", 0o600);
    const zeros = Buffer.alloc(stepBytes);
    for (let written = 0; written < ballastBytes; written += stepBytes) await file.write(zeros);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file?.close();
  }
}
