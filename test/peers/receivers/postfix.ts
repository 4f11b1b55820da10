// Postfix with a virtual mailbox for everyone (virtual(8), Maildir).

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Place, Receiver } from "../peer.ts";
import { Daemon, greets } from "../processes.ts";
import { domainOf } from "../world.ts";
import { maildirCopies } from "./maildir.ts";
import { inRoom, isRoomInstalled } from "./room.ts";

const readyMs = 20_000;
const users = ["postfix", "postdrop"];
/** Owner of the mailbox; it needs no name. */
const mailUser = 61_000;

export const postfix: Receiver = {
  name: "postfix",
  package: "postfix",
  address: "127.0.2.2",
  smtpUtf8: true,
  tls: true,
  // smtpd reads longer lines in pieces (line_length_limit) and puts them together again.
  lineBytesMax: 30_000,
  addedFields: ["return-path", "x-original-to", "delivered-to", "received"],
  removedFields: [],
  needsRoot: true,
  isInstalled: (packages) => isRoomInstalled("postfix", "postfix", packages),
  async start(place) {
    const mail = join(place.folder, "mail");
    mkdirSync(mail, { mode: 0o777 });
    writeFileSync(join(place.folder, "main.cf"), mainCf(mail));
    writeFileSync(join(place.folder, "master.cf"), masterCf(place));
    const setup = `
      install -m 600 "${place.certificate}" "${place.key}" /etc/postfix/
      install -m 644 "${place.folder}/main.cf" "${place.folder}/master.cf" /etc/postfix/
      chown ${mailUser}:${mailUser} "${mail}"
      mkdir -p /var/lib/postfix && chown postfix:postfix /var/lib/postfix
      postfix set-permissions >/dev/null 2>&1 || true
      exec postfix start-fg`;
    const daemon = new Daemon(inRoom({ package: "postfix", users }, place.packages, setup), join(place.folder, "log"));
    await daemon.ready(() => greets(place.host, place.port), readyMs);
    return {
      copies: async () => maildirCopies(join(mail, "inbox"), "X-Original-To"),
      stop: () => daemon.stop("SIGKILL"),
    };
  },
};

function mainCf(mail: string): string {
  return `compatibility_level = 3.6
myhostname = mx.${domainOf(postfix)}
mydestination =
mynetworks = 127.0.0.1
inet_interfaces = all
inet_protocols = ipv4
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
maillog_file = /dev/stdout
smtputf8_enable = yes
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/postfix/cert.pem
smtpd_tls_key_file = /etc/postfix/key.pem
smtpd_tls_received_header = yes
message_size_limit = 50000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = ${domainOf(postfix)}
virtual_mailbox_base = ${mail}
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:${mailUser}
virtual_gid_maps = static:${mailUser}
virtual_minimum_uid = 1
# Nothing of the content is changed or looked up.
local_header_rewrite_clients =
message_drop_headers =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_delay_reject = no
disable_dns_lookups = yes
smtpd_relay_restrictions = reject_unauth_destination
`;
}

/** As Debian's, without chroot, and with smtpd at our port alone. */
function masterCf({ host, port }: Place): string {
  const services = [
    `${host}:${port} inet n - n - - smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "verify unix - - n - 1 verify",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "discard unix - - n - - discard",
    "virtual unix - n n - - virtual",
    "anvil unix - - n - 1 anvil",
    "proxymap unix - - n - - proxymap",
    "proxywrite unix - - n - 1 proxymap",
    "postlog unix-dgram n - n - 1 postlogd",
  ];
  return `${services.join("\n")}\n`;
}
