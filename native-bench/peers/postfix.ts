// Postfix as a relay: takes mail at a port of loopback and hands it to the receivers that a transport map names.
//
// It runs in a room of its own (test/peers/room.sh), whether it is installed or only unpacked. Its queue is on the same
// disk as Postern's spool, and its fsync is as it comes.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inRoom, isRoomInstalled } from "../../test/peers/receivers/room.ts";
import { domainsOf, hostOf, sourcesOf } from "../bench-world.ts";
import type { Box } from "../box.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { PeerProcess, packagesFolder } from "./peer-process.ts";
import type { Peer } from "./peers.ts";

const users = ["postfix", "postdrop"];

export const postfix: Peer = {
  name: "postfix",
  howToInstall: "Install it (apt-get install postfix), or unpack its package: see native-bench/README.md.",
  notes: [
    "a transport map names each domain's exchanger, so that it asks no DNS; no TLS, no DKIM, no content looked at",
    "in_flow_delay 0, as many connections to a destination as Postern has (from the start), enough processes for all, max_use 10000",
    "its queue is on the disk that Postern's spool is on; fsync as it comes; its log goes to a file by postlogd",
  ],
  isInstalled: () => process.getuid?.() === 0 && isRoomInstalled("postfix", "postfix", packagesFolder),
  async start(box, scenario) {
    const folder = join(box.folder, "postfix");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "main.cf"), mainCf(folder, scenario));
    writeFileSync(join(folder, "master.cf"), masterCf(box, scenario));
    writeFileSync(join(folder, "transport"), transportMap(box, scenario));
    const setup = `
      install -m 644 "${folder}/main.cf" "${folder}/master.cf" "${folder}/transport" /etc/postfix/
      mkdir -p "${folder}/queue" /var/lib/postfix
      chown postfix:postfix /var/lib/postfix
      postfix set-permissions >/dev/null 2>&1 || true
      exec postfix start-fg`;
    const daemon = new PeerProcess(
      inRoom({ package: "postfix", users }, packagesFolder, setup),
      join(folder, "start.log"),
    );
    await daemon.ready(box.submission);
    return {
      target: box.submission,
      cpu: () => daemon.cpu(),
      memory: () => daemon.memory(),
      figures: () => Promise.resolve(undefined),
      ended: daemon.ended,
      // SIGKILL ends all that is in the room.
      stop: () => daemon.stop("SIGKILL"),
    };
  },
};

function mainCf(folder: string, scenario: Scenario): string {
  const [source] = sourcesOf(scenario);
  const processes = scenario.sessions + scenario.hosts * scenario.connectionsMax + 50;
  const deferrals =
    (scenario.receiver.deferShare ?? 0) > 0
      ? "minimal_backoff_time = 1s\nmaximal_backoff_time = 5s\nqueue_run_delay = 1s\n"
      : "";
  return `compatibility_level = 3.6
myhostname = mta1.sender.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = ${folder}/queue
data_directory = /var/lib/postfix
maillog_file = ${folder}/mail.log
maillog_file_prefixes = ${folder}
message_size_limit = 104857600
mailbox_size_limit = 0
local_header_rewrite_clients =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtp_bind_address = ${source?.address ?? "127.20.0.1"}
disable_dns_lookups = yes
transport_maps = texthash:/etc/postfix/transport
default_process_limit = ${Math.min(1_000, processes)}
default_destination_concurrency_limit = ${scenario.connectionsMax}
initial_destination_concurrency = ${scenario.connectionsMax}
in_flow_delay = 0
max_use = 10000
${deferrals}`;
}

/** As Debian's, without chroot, and with smtpd at our port alone. */
function masterCf(box: Box, scenario: Scenario): string {
  const { host, port } = box.submission;
  const services = [
    `${host}:${port} inet n - n - ${scenario.sessions + 20} smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "verify unix - - n - 1 verify",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "smtp unix - - n - - smtp",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "proxymap unix - - n - - proxymap",
    "proxywrite unix - - n - 1 proxymap",
    "flush unix n - n 1000? 0 flush",
    "postlog unix-dgram n - n - 1 postlogd",
  ];
  return `${services.join("\n")}\n`;
}

function transportMap(box: Box, scenario: Scenario): string {
  const port = box.places.deliveryPort;
  return domainsOf(scenario)
    .map(({ domain }, i) => `${domain} smtp:[${hostOf(scenario, i).address}]:${port}\n`)
    .join("");
}
