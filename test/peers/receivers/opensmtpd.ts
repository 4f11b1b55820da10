// OpenSMTPD with one Maildir for everyone (virtual users of one system user).

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Place, Receiver } from "../peer.ts";
import { Daemon, greets } from "../processes.ts";
import { domainOf } from "../world.ts";
import { maildirCopies } from "./maildir.ts";
import { inRoom, isRoomInstalled } from "./room.ts";

const readyMs = 20_000;
const users = ["opensmtpd", "opensmtpq", "inbox"];

export const opensmtpd: Receiver = {
  name: "opensmtpd",
  package: "opensmtpd",
  address: "127.0.2.4",
  smtpUtf8: false,
  // It offers STARTTLS, but Debian 12's build fails in every handshake ("missing private key": its key process does not
  // work with OpenSSL 3). So its mail shows that opportunistic TLS falls back to clear text.
  tls: false,
  lineBytesMax: 30_000,
  addedFields: ["return-path", "delivered-to", "received"],
  // RFC 5322 section 3.6.3 lets it.
  removedFields: ["bcc"],
  needsRoot: true,
  isInstalled: (packages) => isRoomInstalled("opensmtpd", "smtpd", packages),
  async start(place) {
    const mail = join(place.folder, "mail");
    mkdirSync(mail, { mode: 0o777 });
    writeFileSync(join(place.folder, "smtpd.conf"), configuration(place, mail));
    const setup = `
      chown inbox "${mail}"
      mkdir -p /var/lib/opensmtpd/empty /var/spool/smtpd
      chmod 711 /var/spool/smtpd
      install -m 600 "${place.certificate}" "${place.key}" /etc/ssl/
      install -m 644 "${place.folder}/smtpd.conf" /etc/smtpd.conf
      exec smtpd -d -v`;
    const daemon = new Daemon(
      inRoom({ package: "opensmtpd", users }, place.packages, setup),
      join(place.folder, "log"),
    );
    await daemon.ready(() => greets(place.host, place.port), readyMs);
    return {
      copies: async () => maildirCopies(join(mail, "inbox"), "Delivered-To"),
      stop: () => daemon.stop("SIGKILL"),
    };
  },
};

function configuration({ host, port }: Place, mail: string): string {
  return `smtp max-message-size "50M"
table everyone { "@" = inbox }
pki "peers" cert "/etc/ssl/cert.pem"
pki "peers" key "/etc/ssl/key.pem"
listen on ${host} port ${port} tls pki "peers" hostname "mx.${domainOf(opensmtpd)}"
action "keep" maildir "${mail}/inbox" virtual <everyone>
match from any for domain "${domainOf(opensmtpd)}" action "keep"
`;
}
