// What a server took responsibility for, message by message. It only grows.

import { NumberColumn, TextColumn } from "../columns.ts";
import type { Acknowledgement } from "./load-plan.ts";
import type { MessageMaker } from "./message-template.ts";

export class AcknowledgementLog {
  readonly #maker: MessageMaker;
  readonly #stream: string | undefined;
  readonly #numbers = new NumberColumn();
  readonly #instants = new NumberColumn();
  readonly #queueIds = new TextColumn();
  /** Recipients that were refused, by index, of the few messages that have such. */
  readonly #refused = new Map<number, ReadonlySet<number>>();

  constructor(maker: MessageMaker, stream: string | undefined) {
    this.#maker = maker;
    this.#stream = stream;
  }

  get length(): number {
    return this.#numbers.length;
  }

  get firstAt(): number | undefined {
    return this.length === 0 ? undefined : this.#instants.at(0);
  }

  get lastAt(): number | undefined {
    return this.length === 0 ? undefined : this.#instants.at(this.length - 1);
  }

  add(no: number, queueId: string, at: number, refusedRecipients: ReadonlySet<number> | undefined): void {
    this.#numbers.push(no);
    this.#instants.push(at);
    this.#queueIds.push(queueId);
    if (refusedRecipients !== undefined) this.#refused.set(no, refusedRecipients);
  }

  /** At most `max` from an index on. */
  slice(from: number, max: number): Acknowledgement[] {
    const part: Acknowledgement[] = [];
    for (let i = from; i < Math.min(this.length, from + max); i++) {
      const no = this.#numbers.at(i);
      const refused = this.#refused.get(no);
      const recipients = this.#maker.recipientsOf(no);
      part.push({
        benchId: this.#maker.benchIdOf(no),
        queueId: this.#queueIds.at(i),
        stream: this.#stream,
        recipients: refused === undefined ? recipients : recipients.filter((_, r) => !refused.has(r)),
        at: this.#instants.at(i),
      });
    }
    return part;
  }
}
