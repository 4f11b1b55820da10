// Exim with one Maildir for everyone (the appendfile transport).

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Place, Receiver } from "../peer.ts";
import { Daemon, greets } from "../processes.ts";
import { domainOf } from "../world.ts";
import { maildirCopies } from "./maildir.ts";
import { inRoom, isRoomInstalled } from "./room.ts";

const readyMs = 20_000;
const users = ["Debian-exim"];

export const exim: Receiver = {
  name: "exim",
  package: "exim4-daemon-light",
  address: "127.0.2.3",
  smtpUtf8: true,
  tls: true,
  lineBytesMax: 30_000,
  addedFields: ["return-path", "envelope-to", "delivery-date", "received"],
  removedFields: [],
  needsRoot: true,
  isInstalled: (packages) => isRoomInstalled("exim4-daemon-light", "exim4", packages),
  async start(place) {
    const mail = join(place.folder, "mail");
    mkdirSync(mail, { mode: 0o777 });
    writeFileSync(join(place.folder, "exim4.conf"), configuration(place, mail));
    // Exim trusts a configuration of root at its own place only.
    const setup = `
      chown Debian-exim:Debian-exim "${mail}"
      mkdir -p /etc/exim4 /var/spool/exim4
      chown Debian-exim:Debian-exim /var/spool/exim4
      install -m 640 -g Debian-exim "${place.certificate}" "${place.key}" /etc/exim4/
      install -m 644 "${place.folder}/exim4.conf" /etc/exim4/exim4.conf
      exec exim4 -bdf`;
    const daemon = new Daemon(
      inRoom({ package: "exim4-daemon-light", users }, place.packages, setup),
      join(place.folder, "log"),
    );
    await daemon.ready(() => greets(place.host, place.port), readyMs);
    return {
      copies: async () => maildirCopies(join(mail, "inbox"), "Envelope-to"),
      stop: () => daemon.stop("SIGKILL"),
    };
  },
};

function configuration({ host, port, folder }: Place, mail: string): string {
  return `primary_hostname = mx.${domainOf(exim)}
spool_directory = /var/spool/exim4
log_file_path = ${folder}/mail/%slog
daemon_smtp_ports = ${port}
local_interfaces = <; ${host}
tls_advertise_hosts = *
tls_certificate = /etc/exim4/cert.pem
tls_privatekey = /etc/exim4/key.pem
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
allow_utf8_domains = true
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
message_size_limit = 50M
rfc1413_query_timeout = 0s
host_lookup =
dns_ipv4_lookup = *
accept_8bitmime = true
# Debian sets these off too; the second would drop mail whose lines are longer than 998 octets.
dkim_verify_signers =
keep_environment =
acl_smtp_rcpt = take

begin acl
take:
  accept domains = ${domainOf(exim)}
  deny

begin routers
everyone:
  driver = accept
  domains = ${domainOf(exim)}
  transport = inbox

begin transports
inbox:
  driver = appendfile
  directory = ${mail}/inbox
  maildir_format
  create_directory
  delivery_date_add
  envelope_to_add
  return_path_add
  user = Debian-exim
  mode = 0644
  # One recipient a copy.
  batch_max = 1

begin retry
* * F,1m,1s
`;
}
