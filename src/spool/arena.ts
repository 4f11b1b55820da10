// Memory for the records of one transaction. lmdb keeps a pointer to each value until it is written, so the octets must
// rest until the commit has resolved; then the same slabs serve the next transaction. One address look-up a slab
// instead of one a record, and no garbage.

const slabBytes = 1024 * 1024;
/** Slabs kept between transactions. */
const slabsKeptMax = 4;

export class Arena {
  #slabs: Buffer[] = [Buffer.allocUnsafeSlow(slabBytes)];
  #slab = 0;
  #used = 0;

  /** Room for a record of at most `bytes`. Its contents are undefined. */
  take(bytes: number): Buffer {
    if (bytes > slabBytes / 2) return Buffer.allocUnsafeSlow(bytes);
    if (this.#used + bytes > slabBytes) {
      this.#slab++;
      this.#used = 0;
      if (this.#slab === this.#slabs.length) this.#slabs.push(Buffer.allocUnsafeSlow(slabBytes));
    }
    const slab = this.#slabs[this.#slab] as Buffer;
    const start = this.#used;
    this.#used += bytes;
    return slab.subarray(start, start + bytes);
  }

  /** Gives back the last `bytes` of the record that was taken last. */
  giveBack(record: Buffer, bytes: number): Buffer {
    if (record.length <= slabBytes / 2) this.#used -= bytes;
    return record.subarray(0, record.length - bytes);
  }

  /** Only when nothing refers to the records any more: after the commit has resolved. */
  reset(): void {
    if (this.#slabs.length > slabsKeptMax) this.#slabs.length = slabsKeptMax;
    this.#slab = 0;
    this.#used = 0;
  }
}
