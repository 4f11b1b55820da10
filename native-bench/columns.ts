// Records kept by column, outside of V8's heap: a million of them cost no collection of garbage and little memory.

const roomFirst = 1_024;
const textBytesFirst = 32_768;
const asciiMax = 0x7f;

/** Numbers by index. It only grows. */
export class NumberColumn {
  #values = new Float64Array(roomFirst);
  #count = 0;

  get length(): number {
    return this.#count;
  }

  /** Returns its index. */
  push(value: number): number {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(2 * this.#values.length);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#count] = value;
    return this.#count++;
  }

  at(index: number): number {
    return this.#values[index] as number;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }
}

/** Short texts by index, kept as UTF-8. It only grows. */
export class TextColumn {
  #bytes = Buffer.allocUnsafeSlow(textBytesFirst);
  #used = 0;
  /** Where the text of an index begins; where it ends is where the next one begins. */
  readonly #starts = new NumberColumn();

  push(text: string): void {
    this.#makeRoom(text.length);
    const start = this.#used;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > asciiMax) {
        const encoded = Buffer.from(text);
        this.pushBytes(encoded, 0, encoded.length);
        return;
      }
      this.#bytes[start + i] = code;
    }
    this.#starts.push(start);
    this.#used = start + text.length;
  }

  /** The octets of `bytes` in [from, end). */
  pushBytes(bytes: Uint8Array, from: number, end: number): void {
    this.#makeRoom(end - from);
    const start = this.#used;
    for (let i = from; i < end; i++) this.#bytes[start + i - from] = bytes[i] as number;
    this.#starts.push(start);
    this.#used = start + end - from;
  }

  at(index: number): string {
    const end = index + 1 < this.#starts.length ? this.#starts.at(index + 1) : this.#used;
    return this.#bytes.toString("utf8", this.#starts.at(index), end);
  }

  #makeRoom(count: number): void {
    if (this.#used + count <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(2 * this.#bytes.length + count);
    this.#bytes.copy(grown, 0, 0, this.#used);
    this.#bytes = grown;
  }
}
