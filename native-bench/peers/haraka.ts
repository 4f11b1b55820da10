// Haraka as a relay: a plugin of ours lets everyone relay and names each domain's exchanger.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { domainsOf, hostOf } from "../bench-world.ts";
import { repositoryRoot } from "../postern-process.ts";
import { PeerProcess, packagesFolder } from "./peer-process.ts";
import type { Peer } from "./peers.ts";

/** Where native-bench/README.md says to install it, or the repository's own packages. */
function program(): string | undefined {
  const own = join(packagesFolder, "haraka/node_modules/Haraka/bin/haraka");
  if (existsSync(own)) return own;
  try {
    return createRequire(join(repositoryRoot, "package.json")).resolve("Haraka/bin/haraka");
  } catch {
    return undefined;
  }
}

/** What Postern takes at most, too. */
const messageMaxBytes = 100 * 1_048_576;

export const haraka: Peer = {
  name: "haraka",
  howToInstall: "native-bench/README.md says how to install it.",
  notes: [
    "one process (its default), a plugin names each domain's exchanger; no TLS, no DKIM, no content looked at; log level error",
    "its queue is on the disk that Postern's spool is on; it writes there without fsync",
  ],
  isInstalled: () => program() !== undefined,
  async start(box, scenario) {
    const folder = join(box.folder, "haraka");
    const { host, port } = box.submission;
    const exchangers = Object.fromEntries(
      domainsOf(scenario).map(({ domain }, i) => [domain, hostOf(scenario, i).address]),
    );
    // Its own start of a config; without it, it does not run.
    execFileSync(process.execPath, [program() as string, "-i", folder], { stdio: "ignore" });
    const connection = readFileSync(join(folder, "config/connection.ini"), "utf8");
    const files: Readonly<Record<string, string>> = {
      "config/smtp.ini": `listen=${host}:${port}\nnodes=0\n`,
      "config/plugins": "bench\n",
      "config/me": "mta1.sender.example\n",
      "config/log.ini": "[main]\nlevel=error\nformat=default\n",
      "config/connection.ini": connection.replace(/^bytes=.*$/m, `bytes=${messageMaxBytes}`),
      "config/outbound.ini": `enable_tls=false\nconcurrency_max=${scenario.hosts * scenario.connectionsMax}\nlocal_mx_ok=true\n`,
      "plugins/bench.js": plugin(exchangers, box.places.deliveryPort),
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const command = { command: process.execPath, args: [program() as string, "-c", folder], cwd: folder };
    const daemon = new PeerProcess(command, join(folder, "start.log"));
    await daemon.ready(box.submission);
    return {
      target: box.submission,
      cpu: () => daemon.cpu(),
      memory: () => daemon.memory(),
      figures: () => Promise.resolve(undefined),
      ended: daemon.ended,
      stop: () => daemon.stop("SIGKILL"),
    };
  },
};

function plugin(exchangers: Readonly<Record<string, string>>, port: number): string {
  return `const exchangers = ${JSON.stringify(exchangers)};
exports.hook_connect = function (next, connection) { connection.relaying = true; next(); };
exports.hook_rcpt = function (next, connection) { connection.relaying = true; next(OK); };
exports.hook_get_mx = function (next, hmail, domain) {
  next(OK, { priority: 0, exchange: exchangers[domain], port: ${port} });
};
`;
}
