// How much more work a lane can take, by class of stream. It says when room for a class begins and ends, so that nobody
// has to ask every lane for each message.

import type { StreamConfig } from "../config/config.ts";
import type { EffectiveLimits } from "../shaping/shaping.ts";

export type StreamClass = StreamConfig["class"];

const streamClasses = ["realtime", "batch"] as const satisfies readonly StreamClass[];

export class LaneRoom {
  readonly #changed: (streamClass: StreamClass, hasRoom: boolean) => void;
  readonly #max: Record<StreamClass, number>;
  readonly #hasRoom: Record<StreamClass, boolean> = { realtime: true, batch: true };
  #ready = 0;
  #preparing = 0;
  #isShut = false;

  constructor(limits: EffectiveLimits, changed: (streamClass: StreamClass, hasRoom: boolean) => void) {
    this.#max = readyMax(limits);
    this.#changed = changed;
  }

  /** Works that may be prepared beyond those that are ready or being prepared; never more than 0 while it is shut. */
  of(streamClass: StreamClass): number {
    return this.#isShut ? 0 : this.#max[streamClass] - this.#ready - this.#preparing;
  }

  get ready(): number {
    return this.#ready;
  }

  get preparing(): number {
    return this.#preparing;
  }

  /** Less than half of what batch mail may fill is ready: time to prepare more. */
  get isLow(): boolean {
    return this.#ready < this.#max.batch / 2;
  }

  setLimits(limits: EffectiveLimits): void {
    Object.assign(this.#max, readyMax(limits));
    this.#tell();
  }

  /** While it is shut there is no room. */
  setShut(isShut: boolean): void {
    this.#isShut = isShut;
    this.#tell();
  }

  reserve(): void {
    this.#preparing++;
    this.#tell();
  }

  unreserve(): void {
    this.#preparing--;
    this.#tell();
  }

  /** What was reserved is ready: the room is the same. */
  prepared(): void {
    this.#preparing--;
    this.#ready++;
  }

  /** A connection gave ready work back. */
  returned(): void {
    this.#ready++;
    this.#tell();
  }

  /** Ready works left. */
  taken(count: number): void {
    this.#ready -= count;
    this.#tell();
  }

  #tell(): void {
    for (const streamClass of streamClasses) {
      const hasRoom = this.of(streamClass) > 0;
      if (hasRoom === this.#hasRoom[streamClass]) continue;
      this.#hasRoom[streamClass] = hasRoom;
      this.#changed(streamClass, hasRoom);
    }
  }
}

/**
 * Ready work that a lane holds at most: enough to keep its connections busy while signatures are made. Batch leaves a part
 * free, so that real-time mail always fits.
 */
function readyMax({ connectionsMax }: EffectiveLimits): Record<StreamClass, number> {
  const batch = Math.min(256, Math.max(2, 2 * connectionsMax));
  return { batch, realtime: batch + Math.max(4, connectionsMax) };
}
