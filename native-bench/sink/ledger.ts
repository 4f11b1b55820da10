// What the receivers accepted, by message and recipient, and which of their limits were broken. It only grows.

import { createWriteStream, type WriteStream } from "node:fs";
import type { Instant } from "../../src/core/time.ts";
import type { Rule } from "./operator.ts";

/** One recipient of one message for which a final dot came and was taken. */
export interface Receipt {
  readonly operator: string;
  /** The X-Bench-Id field of the message; `""` for mail that we did not make, such as a DSN. */
  readonly benchId: string;
  /** The sender's queue id out of its Received field, or `""`. */
  readonly queueId: string;
  readonly reversePath: string;
  readonly recipient: string;
  readonly sourceAddress: string;
  readonly dotAt: Instant;
  /** When the 250 was handed to the kernel; undefined when the connection was gone before (RFC 1047). */
  readonly repliedAt: Instant | undefined;
  readonly contentBytes: number;
  /** Whether the body is the one its X-Bench-Body field describes; undefined without that field. */
  readonly bodyIntact: boolean | undefined;
}

export interface Breach {
  readonly operator: string;
  readonly rule: Rule;
  readonly sourceAddress: string;
  readonly at: Instant;
}

/** Breaches kept one by one; beyond it they are only counted. */
const breachesKeptMax = 100_000;

/** The receivers' record. Readers take what is new by its index. */
export class Ledger {
  readonly receipts: Receipt[] = [];
  readonly breaches: Breach[] = [];
  /** Whole messages kept for closer looks, such as a check of their signatures. */
  readonly samples: Buffer[] = [];
  breachCount = 0;
  readonly #file: WriteStream | undefined;
  readonly #samplesMax: number;

  /** `file` gets one JSON line for each receipt and breach, appended. */
  constructor(options: { readonly file?: string | undefined; readonly samplesMax?: number | undefined } = {}) {
    this.#file = options.file === undefined ? undefined : createWriteStream(options.file, { flags: "a" });
    this.#samplesMax = options.samplesMax ?? 0;
  }

  addReceipt(receipt: Receipt): void {
    this.receipts.push(receipt);
    this.#file?.write(`${JSON.stringify(receipt)}\n`);
  }

  addBreach(breach: Breach): void {
    this.breachCount++;
    if (this.breaches.length < breachesKeptMax) this.breaches.push(breach);
    this.#file?.write(`${JSON.stringify(breach)}\n`);
  }

  /** Keeps a copy of the content while there is room for samples. */
  offerSample(content: Buffer): void {
    if (this.samples.length < this.#samplesMax) this.samples.push(Buffer.from(content));
  }

  async close(): Promise<void> {
    const file = this.#file;
    if (file !== undefined) await new Promise<void>((resolve) => file.end(() => resolve()));
  }
}
