// What the receivers accepted, by message and recipient, and which of their limits were broken. It only grows.

import { createWriteStream, type WriteStream } from "node:fs";
import type { Instant } from "../../src/core/time.ts";
import { NumberColumn, TextColumn } from "../columns.ts";
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

/** What the copies of one message, one for each recipient, have in common. */
export interface TakenMessage extends Omit<Receipt, "recipient" | "repliedAt"> {
  readonly recipients: readonly string[];
}

const intactCodes: readonly Receipt["bodyIntact"][] = [undefined, false, true];

/** The receivers' record, kept by column. Readers take what is new by its index. */
export class Ledger {
  /** Copies in the order of their final dots. */
  readonly #benchIds = new TextColumn();
  readonly #queueIds = new TextColumn();
  readonly #recipients = new TextColumn();
  readonly #reversePaths = new NumberColumn();
  readonly #operators = new NumberColumn();
  readonly #addresses = new NumberColumn();
  readonly #dots = new NumberColumn();
  readonly #replies = new NumberColumn();
  readonly #sizes = new NumberColumn();
  readonly #intact = new NumberColumn();
  /** Copies in the order in which they were answered or given up. */
  readonly #settled = new NumberColumn();
  readonly #names = new NameTable();

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

  /** Notes a message whose final dot was taken. Returns the number of its first copy; the others follow it. */
  take(message: TakenMessage): number {
    const first = this.#dots.length;
    const operator = this.#names.indexOf(message.operator);
    const reversePath = this.#names.indexOf(message.reversePath);
    const address = this.#names.indexOf(message.sourceAddress);
    for (let i = 0; i < message.recipients.length; i++) {
      this.#benchIds.push(message.benchId);
      this.#queueIds.push(message.queueId);
      this.#recipients.push(message.recipients[i] as string);
      this.#reversePaths.push(reversePath);
      this.#operators.push(operator);
      this.#addresses.push(address);
      this.#dots.push(message.dotAt);
      this.#replies.push(Number.NaN);
      this.#sizes.push(message.contentBytes);
      this.#intact.push(message.bodyIntact === undefined ? 0 : message.bodyIntact ? 2 : 1);
    }
    return first;
  }

  /** Copies become receipts once their 250 has left (`repliedAt`), or nobody was there to get it any more (undefined). */
  settle(first: number, count: number, repliedAt: Instant | undefined): void {
    for (let copy = first; copy < first + count; copy++) {
      if (repliedAt !== undefined) this.#replies.set(copy, repliedAt);
      this.#settled.push(copy);
      this.#file?.write(`${JSON.stringify(this.#receipt(copy))}\n`);
    }
  }

  get receiptCount(): number {
    return this.#settled.length;
  }

  /** At most `max` from an index on. */
  receipts(from = 0, max = Number.POSITIVE_INFINITY): Receipt[] {
    const part: Receipt[] = [];
    const end = Math.min(this.#settled.length, from + max);
    for (let i = from; i < end; i++) part.push(this.#receipt(this.#settled.at(i)));
    return part;
  }

  #receipt(copy: number): Receipt {
    const repliedAt = this.#replies.at(copy);
    return {
      operator: this.#names.at(this.#operators.at(copy)),
      benchId: this.#benchIds.at(copy),
      queueId: this.#queueIds.at(copy),
      reversePath: this.#names.at(this.#reversePaths.at(copy)),
      recipient: this.#recipients.at(copy),
      sourceAddress: this.#names.at(this.#addresses.at(copy)),
      dotAt: this.#dots.at(copy),
      repliedAt: Number.isNaN(repliedAt) ? undefined : repliedAt,
      contentBytes: this.#sizes.at(copy),
      bodyIntact: intactCodes[this.#intact.at(copy)],
    };
  }

  addBreach(breach: Breach): void {
    this.breachCount++;
    if (this.breaches.length < breachesKeptMax) this.breaches.push(breach);
    this.#file?.write(`${JSON.stringify(breach)}\n`);
  }

  get wantsSamples(): boolean {
    return this.samples.length < this.#samplesMax;
  }

  /** Keeps a copy of the content while there is room for samples. */
  offerSample(content: Uint8Array): void {
    if (this.wantsSamples) this.samples.push(Buffer.from(content));
  }

  async close(): Promise<void> {
    const file = this.#file;
    if (file !== undefined) await new Promise<void>((resolve) => file.end(() => resolve()));
  }
}

/** Texts of which there are few, each kept once. */
class NameTable {
  readonly #names: string[] = [];
  readonly #indexes = new Map<string, number>();

  indexOf(name: string): number {
    const known = this.#indexes.get(name);
    if (known !== undefined) return known;
    this.#indexes.set(name, this.#names.length);
    return this.#names.push(name) - 1;
  }

  at(index: number): string {
    return this.#names[index] as string;
  }
}
