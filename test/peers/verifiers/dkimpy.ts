// dkimpy (dkimpy-verify.py).

import { fileURLToPath } from "node:url";
import type { Verifier } from "../peer.ts";
import { run } from "../processes.ts";
import { hasPythonModule, python } from "../python.ts";
import { readVerdicts, writeContents } from "./files.ts";

const script = fileURLToPath(new URL("dkimpy-verify.py", import.meta.url));
const runMs = 300_000;

export const dkimpy: Verifier = {
  name: "dkimpy",
  package: "python3-dkim",
  isInstalled: () => hasPythonModule("dkim, nacl, dns.resolver"),
  async verify(contents, { dnsServer, dnsPort }, { folder }) {
    writeContents(contents, folder);
    const args = [script, dnsServer, String(dnsPort), folder, String(contents.length)];
    const { stdout, stderr } = await run({ command: python, args }, "", runMs);
    const verdicts = readVerdicts(stdout);
    return contents.map((_, i) => {
      const verdict = verdicts.get(i) ?? `no verdict: ${stderr.slice(-300)}`;
      return verdict === "pass" ? undefined : verdict;
    });
  },
};
