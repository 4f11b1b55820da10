// OpenDKIM's opendkim-testmsg, one run for each message.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Verifier } from "../peer.ts";
import { hasProgram, run } from "../processes.ts";
import { readVerdicts, writeContents } from "./files.ts";

const runMs = 300_000;

export const opendkim: Verifier = {
  name: "opendkim-testmsg",
  package: "opendkim-tools",
  needsRoot: true,
  isInstalled: () => hasProgram("opendkim-testmsg"),
  async verify(contents, { dnsServer }, { folder }) {
    writeContents(contents, folder);
    writeFileSync(join(folder, "resolv.conf"), `nameserver ${dnsServer}\n`);
    // It asks the system's name servers only: a mount namespace gives it another resolv.conf.
    const loop = `
      mount --bind "${folder}/resolv.conf" "$(readlink -f /etc/resolv.conf)"
      i=0
      while [ $i -lt ${contents.length} ]; do
        if said=$(opendkim-testmsg -t "${folder}" <"${folder}/$i.eml" 2>&1); then echo "$i pass $said"; else echo "$i failed: $said"; fi
        i=$((i + 1))
      done`;
    const { stdout, stderr } = await run({ command: "unshare", args: ["--mount", "sh", "-euc", loop] }, "", runMs);
    const verdicts = readVerdicts(stdout);
    return contents.map((_, i) => {
      const verdict = verdicts.get(i) ?? `no verdict: ${stderr.slice(-300)}`;
      return verdict === "pass" ? undefined : verdict;
    });
  },
};
