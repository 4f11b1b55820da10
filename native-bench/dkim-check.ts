// Checks signatures of received messages with an independent verifier (mailauth) against the world's own DNS data.

import { dkimVerify } from "mailauth";
import type { ZoneEntry } from "./dns/zone.ts";

export interface DkimCheck {
  readonly checked: number;
  readonly passed: number;
  readonly firstFailure: string | undefined;
}

/** A message passes when it has a signature and all of them are good (RFC 6376 section 6). */
export async function checkSignatures(
  contents: readonly Uint8Array[],
  zone: Readonly<Record<string, ZoneEntry>>,
): Promise<DkimCheck> {
  const resolver = async (name: string, type: string): Promise<string[][]> => {
    const texts = type === "TXT" ? zone[name.toLowerCase()]?.txt : undefined;
    if (texts === undefined) throw Object.assign(new Error(`no ${type} of ${name}`), { code: "ENOTFOUND" });
    return texts.map((text) => [text]);
  };
  let passed = 0;
  let firstFailure: string | undefined;
  for (const content of contents) {
    const { results } = await dkimVerify(Buffer.from(content), { resolver } as never);
    const bad = results.find(({ status }) => status.result !== "pass");
    if (results.length > 0 && bad === undefined) passed++;
    else
      firstFailure ??= bad === undefined ? "no signature" : `${bad.status.result} ${bad.status.comment ?? ""}`.trim();
  }
  return { checked: contents.length, passed, firstFailure };
}
