// Postern left out: each submitter's mail straight to the receivers, to see what the peers do by themselves.

import { type Message, pathsTo } from "./corpus.ts";
import type { Receiver, Submitter } from "./peer.ts";
import { placeOf } from "./places.ts";
import type { Report } from "./report.ts";

/** Each message straight to its receivers: one submission for each, as Postern would do it. */
export async function submitDirectly(
  corpus: readonly Message[],
  submitters: readonly Submitter[],
  started: readonly { readonly receiver: Receiver }[],
  deliveryPort: number,
  folder: string,
  report: Report,
): Promise<readonly Message[]> {
  for (const { receiver } of started) {
    for (const submitter of submitters) {
      const own = corpus.flatMap((message) => {
        const forwardPaths = pathsTo(message, receiver);
        return message.submitter === submitter.name && forwardPaths.length > 0 ? [{ ...message, forwardPaths }] : [];
      });
      const place = { ...placeOf(submitter.name, receiver.address, deliveryPort, folder), login: undefined };
      report.check(
        `${submitter.name} submits ${own.length} messages to ${receiver.name}`,
        await submitter.submit(own, place),
      );
    }
  }
  return corpus.map((message) => ({
    ...message,
    fields: Buffer.concat([Buffer.from(message.labels), message.fields]),
  }));
}
