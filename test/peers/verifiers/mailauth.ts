// mailauth (npm).

import { Resolver } from "node:dns/promises";
import { dkimVerify } from "mailauth";
import type { Verifier } from "../peer.ts";

export const mailauth: Verifier = {
  name: "mailauth",
  package: "mailauth",
  isInstalled: () => true,
  async verify(contents, { dnsServer, dnsPort }) {
    const dns = new Resolver({ timeout: 2_000, tries: 2 });
    dns.setServers([`${dnsServer}:${dnsPort}`]);
    const known = new Map<string, ReturnType<Resolver["resolve"]>>();
    const resolver = (name: string, type: string): ReturnType<Resolver["resolve"]> => {
      const key = `${name} ${type}`;
      const answer = known.get(key) ?? dns.resolve(name, type);
      known.set(key, answer);
      return answer;
    };
    const verdicts: (string | undefined)[] = [];
    for (const content of contents) {
      const { results } = await dkimVerify(content, { resolver } as never);
      const bad = results.find(({ status }) => status.result !== "pass");
      const count = (content.toString("latin1").match(/^DKIM-Signature:/gm) ?? []).length;
      if (results.length === 0 || results.length !== count)
        verdicts.push(`${results.length} of ${count} signatures seen`);
      else verdicts.push(bad && `${bad.status.result} ${bad.status.comment ?? ""}`.trim());
    }
    return verdicts;
  },
};
