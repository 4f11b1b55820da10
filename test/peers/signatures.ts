// All signatures of what arrived, in the eyes of each verifier.

import { epochMs } from "../../native-bench/clock.ts";
import type { Copies } from "./arrivals.ts";
import { idOf, withChangedSubject, withoutReceiverFields, withoutSignatures } from "./compare.ts";
import { idField } from "./corpus.ts";
import type { DkimRecords, Verifier } from "./peer.ts";
import { makeFolder } from "./places.ts";
import type { Report } from "./report.ts";

export async function verifyAll(
  verifiers: readonly Verifier[],
  copies: Copies,
  dkim: DkimRecords,
  folder: string,
  report: Report,
): Promise<void> {
  for (const verifier of verifiers) {
    await checkVerifier(verifier, copies, dkim, folder, report);
    for (const [receiver, stored] of copies) {
      const contents = stored.map(({ content }) => withoutReceiverFields(content));
      const from = epochMs();
      const verdicts = await verifier.verify(contents, dkim, {
        folder: makeFolder(folder, `${verifier.name}-${receiver}`),
      });
      const bad = verdicts.flatMap((verdict, i) =>
        verdict === undefined ? [] : [`message ${idOf(contents[i] as Buffer, idField)}: ${verdict}`],
      );
      const seconds = ((epochMs() - from) / 1_000).toFixed(1);
      const what = `every signature in ${contents.length} messages at ${receiver} is good for ${verifier.name}`;
      report.check(`${what} # ${seconds} s`, contents.length === 0 ? ["no message"] : bad);
    }
  }
}

/** A verifier that finds everything good would prove nothing. */
async function checkVerifier(
  verifier: Verifier,
  copies: Copies,
  dkim: DkimRecords,
  folder: string,
  report: Report,
): Promise<void> {
  const sound = withoutReceiverFields([...copies.values()].flat()[0]?.content ?? Buffer.alloc(0));
  const place = { folder: makeFolder(folder, `${verifier.name}-controls`) };
  const verdicts = await verifier.verify([withoutSignatures(sound), withChangedSubject(sound)], dkim, place);
  const [unsigned, changed] = verdicts.map((verdict) => (verdict === undefined ? ["it finds it good"] : []));
  report.check(`${verifier.name} refuses a message without signature`, unsigned ?? ["no verdict"]);
  report.check(`${verifier.name} refuses a changed message`, changed ?? ["no verdict"]);
}
