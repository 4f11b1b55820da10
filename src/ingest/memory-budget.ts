// The octets of content that all sessions of a shard may hold before they are committed.

export class MemoryBudget {
  #maxBytes: number;
  #heldBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Whether `bytes` more would fit now. Nothing is reserved. */
  fits(bytes: number): boolean {
    return this.#heldBytes + bytes <= this.#maxBytes;
  }

  /** Takes `bytes`, or nothing and returns false. */
  take(bytes: number): boolean {
    if (!this.fits(bytes)) return false;
    this.#heldBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#heldBytes -= bytes;
  }

  /** What is held beyond a smaller limit stays held; nothing new fits until it is given back. */
  resize(maxBytes: number): void {
    this.#maxBytes = maxBytes;
  }
}
