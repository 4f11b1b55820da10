// Exim as a relay, in a room of its own like Postfix: a file names each domain's exchanger.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inRoom, isRoomInstalled } from "../../test/peers/receivers/room.ts";
import { domainsOf, hostOf, sourcesOf } from "../bench-world.ts";
import type { Box } from "../box.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { PeerProcess, packagesFolder } from "./peer-process.ts";
import type { Peer } from "./peers.ts";

const packageName = "exim4-daemon-light";

export const exim: Peer = {
  name: "exim",
  howToInstall: `Install it (apt-get install ${packageName}), or unpack its package: see native-bench/README.md.`,
  notes: [
    "a file names each domain's exchanger, so that it asks no DNS; no TLS, no DKIM, no content looked at",
    "each message is delivered as soon as it is accepted (its way), its spool split over folders, on the disk that Postern's spool is on",
  ],
  isInstalled: () => process.getuid?.() === 0 && isRoomInstalled(packageName, "exim4", packagesFolder),
  async start(box, scenario) {
    const folder = join(box.folder, "exim");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "exim4.conf"), configuration(box, folder, scenario));
    const port = box.places.deliveryPort;
    const routes = domainsOf(scenario).map(({ domain }, i) => `${domain}: ${hostOf(scenario, i).address}::${port}\n`);
    writeFileSync(join(folder, "routes"), routes.join(""));
    // Exim trusts a configuration of root at its own place only.
    const setup = `
      mkdir -p /etc/exim4 "${folder}/spool" "${folder}/log"
      chown Debian-exim:Debian-exim "${folder}/spool" "${folder}/log"
      install -m 644 "${folder}/exim4.conf" "${folder}/routes" /etc/exim4/
      exec exim4 -bdf -q1m`;
    const room = { package: packageName, users: ["Debian-exim"] };
    const daemon = new PeerProcess(inRoom(room, packagesFolder, setup), join(folder, "start.log"));
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

function configuration(box: Box, folder: string, scenario: Scenario): string {
  const [source] = sourcesOf(scenario);
  const { host, port } = box.submission;
  return `primary_hostname = mta1.sender.example
spool_directory = ${folder}/spool
split_spool_directory = true
log_file_path = ${folder}/log/%slog
daemon_smtp_ports = ${port}
local_interfaces = <; ${host}
tls_advertise_hosts =
smtp_accept_max = ${scenario.sessions + 20}
smtp_accept_queue = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
smtp_connect_backlog = 1024
message_size_limit = 100M
rfc1413_query_timeout = 0s
host_lookup =
dkim_verify_signers =
keep_environment =
acl_smtp_rcpt = take

begin acl
take:
  accept

begin routers
relayed:
  driver = manualroute
  transport = out
  route_data = \${lookup{$domain}lsearch{/etc/exim4/routes}}
  self = send
  no_more

begin transports
out:
  driver = smtp
  interface = ${source?.address ?? "127.20.0.1"}
  hosts_avoid_tls = *

begin retry
* * F,1h,1s
`;
}
