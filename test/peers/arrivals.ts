// What arrived: waits for it, and holds it against what was submitted.

import { epochMs, pause } from "../../native-bench/clock.ts";
import { differenceOf, idOf, withChangedOctet } from "./compare.ts";
import { idField, type Message, pathsTo, plainForm, recipientCount } from "./corpus.ts";
import type { Copy, Receiver, RunningReceiver, Submitter } from "./peer.ts";
import type { Report } from "./report.ts";

const arrivalMs = 180_000;
/** No new copy for so long: the rest does not come. */
const standstillMs = 30_000;
const pollMs = 1_000;

/** By the receiver's name. */
export type Copies = ReadonlyMap<string, readonly Copy[]>;

/** Waits until as many copies are there as there are recipients, or no more come. */
export async function arrivals(
  messages: readonly Message[],
  started: readonly { readonly receiver: Receiver; readonly running: RunningReceiver }[],
  report: Report,
): Promise<Copies> {
  const from = epochMs();
  const wanted = recipientCount(messages);
  let progressAt = from;
  let count = -1;
  for (;;) {
    const copies = new Map<string, readonly Copy[]>();
    for (const { receiver, running } of started) copies.set(receiver.name, await running.copies());
    const now = [...copies.values()].flat().reduce((sum, { forwardPaths }) => sum + forwardPaths.length, 0);
    if (now !== count) progressAt = epochMs();
    count = now;
    if (count >= wanted || epochMs() - from > arrivalMs || epochMs() - progressAt > standstillMs) {
      const seconds = ((epochMs() - from) / 1_000).toFixed(1);
      report.comment(`${count} of ${wanted} copies, ${seconds} s after the last submission`);
      return copies;
    }
    await pause(pollMs);
  }
}

/** One check for each way from a submitter to a receiver. */
export function compareAll(
  messages: readonly Message[],
  submitters: readonly Submitter[],
  started: readonly { readonly receiver: Receiver }[],
  copies: Copies,
  byPostern: boolean,
  report: Report,
): void {
  for (const { receiver } of started) {
    const byId = new Map<number, Copy[]>();
    const strangers: string[] = [];
    for (const copy of copies.get(receiver.name) ?? []) {
      const id = idOf(copy.content, idField);
      if (id === undefined) strangers.push(copy.content.toString("latin1", 0, 300));
      else byId.set(id, [...(byId.get(id) ?? []), copy]);
    }
    report.check(`${receiver.name} got nothing that was not sent`, strangers);
    for (const submitter of submitters) {
      const own = messages.filter(
        (message) => message.submitter === submitter.name && pathsTo(message, receiver).length > 0,
      );
      const problems = own.flatMap((message) => problemsOf(message, receiver, byId.get(message.id) ?? [], byPostern));
      report.check(`${own.length} messages from ${submitter.name} are at ${receiver.name} byte for byte`, problems);
    }
  }
}

/** Of the copies of a message at a receiver: one for each recipient, none of them changed. */
function problemsOf(message: Message, receiver: Receiver, copies: readonly Copy[], byPostern: boolean): string[] {
  const problems: string[] = [];
  const wanted = pathsTo(message, receiver).sort().join();
  const got = copies.flatMap(({ forwardPaths }) => forwardPaths);
  if (got.sort().join() !== wanted) problems.push(`for ${wanted} came for ${got.join() || "nobody"}`);
  for (const { content } of copies) {
    const difference = differenceOf(message, content, {
      receiverFields: receiver.addedFields,
      removedFields: receiver.removedFields,
      tls: receiver.tls && byPostern,
      postern: byPostern ? { loggedIn: message.loggedIn } : undefined,
    });
    if (difference !== undefined) problems.push(difference);
  }
  return problems.map((problem) => `message ${message.id} (${message.form}): ${problem}`);
}

/** A comparison that finds nothing would prove nothing: it must see one changed octet, wherever in the message it is. */
export function checkComparison(
  messages: readonly Message[],
  started: readonly { readonly receiver: Receiver }[],
  copies: Copies,
  report: Report,
): void {
  const plain = messages.filter(({ form, missing }) => form === plainForm && missing.length === 0);
  const byId = new Map(plain.map((message) => [message.id, message]));
  for (const { receiver } of started) {
    const blind: string[] = [];
    let tried = 0;
    for (const copy of copies.get(receiver.name) ?? []) {
      const message = byId.get(idOf(copy.content, idField) ?? -1);
      if (message === undefined || tried > 0) continue;
      const { length } = copy.content;
      // What is put on top is not the message's.
      for (let at = length - message.body.length - message.fields.length; at < length; at++, tried++) {
        const changed = { ...copy, content: withChangedOctet(copy.content, at) };
        if (problemsOf(message, receiver, [changed], true).length === 0)
          blind.push(`octet ${at} of message ${message.id}`);
      }
    }
    report.check(
      `each of ${tried} octets changed at ${receiver.name} would be seen`,
      tried === 0 ? ["no copy"] : blind,
    );
  }
}
