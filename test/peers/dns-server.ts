// The DNS of a run: unbound with the world's names as local data.

import { Resolver } from "node:dns/promises";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Receiver } from "./peer.ts";
import { Daemon, hasProgram } from "./processes.ts";
import { dnsAddress, domainOf } from "./world.ts";

const readyMs = 10_000;
const txtStringBytesMax = 255;

export const dnsPackage = "unbound";

export function isDnsInstalled(): boolean {
  return hasProgram("unbound");
}

export interface DnsData {
  readonly receivers: readonly Pick<Receiver, "name" | "address">[];
  /** TXT records by name. */
  readonly records: Readonly<Record<string, string>>;
}

/** Answers on `dnsAddress` at `port`, and at 53 too for programs that read resolv.conf, where this user may. */
export async function startDns(folder: string, port: number, data: DnsData): Promise<Daemon> {
  const config = join(folder, "unbound.conf");
  writeFileSync(config, unboundConfig(folder, port, data));
  const daemon = new Daemon({ command: "unbound", args: ["-d", "-c", config] }, join(folder, "unbound.log"));
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`${dnsAddress}:${port}`]);
  const isUp = async (): Promise<boolean> => {
    try {
      return (await resolver.resolveMx(domainOf(data.receivers[0] as Receiver))).length === 1;
    } catch {
      return false;
    }
  };
  await daemon.ready(isUp, readyMs);
  return daemon;
}

function unboundConfig(folder: string, port: number, { receivers, records }: DnsData): string {
  const names: string[] = [];
  const data = (line: string): void => {
    names.push(`  local-data: '${line}'`);
  };
  for (const receiver of receivers) {
    const domain = domainOf(receiver);
    data(`${domain}. 300 IN MX 10 mx.${domain}.`);
    data(`mx.${domain}. 300 IN A ${receiver.address}`);
  }
  for (const [name, text] of Object.entries(records)) {
    const strings: string[] = [];
    for (let at = 0; at < text.length; at += txtStringBytesMax)
      strings.push(`"${text.slice(at, at + txtStringBytesMax)}"`);
    data(`${name}. 300 IN TXT ${strings.join(" ")}`);
  }
  const interfaces = [`${dnsAddress}@${port}`, ...(process.getuid?.() === 0 ? [`${dnsAddress}@53`] : [])];
  return `server:
  directory: "${folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  do-daemonize: no
  module-config: "iterator"
${interfaces.map((at) => `  interface: ${at}`).join("\n")}
  access-control: 127.0.0.0/8 allow
  local-zone: "test." static
${names.join("\n")}
remote-control:
  control-enable: no
`;
}
