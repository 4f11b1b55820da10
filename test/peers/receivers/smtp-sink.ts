// Postfix's smtp-sink, which writes each transaction to a file.

import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Copy, Receiver } from "../peer.ts";
import { Daemon, greets } from "../processes.ts";
import { withCrlf } from "./maildir.ts";
import { inRoom, isRoomInstalled } from "./room.ts";

const readyMs = 10_000;
const connectionsMax = 100;

export const smtpSink: Receiver = {
  name: "smtp-sink",
  package: "postfix",
  address: "127.0.2.1",
  smtpUtf8: false,
  tls: false,
  lineBytesMax: 998,
  addedFields: [...["x-client-addr", "x-client-proto", "x-helo-args", "x-mail-args", "x-rcpt-args"], "received"],
  removedFields: [],
  needsRoot: true,
  isInstalled: (packages) => isRoomInstalled("postfix", "smtp-sink", packages),
  async start(place) {
    const mail = join(place.folder, "mail");
    mkdirSync(mail);
    const setup = `
      echo "compatibility_level = 3.6" >/etc/postfix/main.cf
      cd "${mail}"
      exec smtp-sink -u root -d "${mail}/%H%M." ${place.host}:${place.port} ${connectionsMax}`;
    const room = { package: "postfix", users: ["postfix", "postdrop"] };
    const daemon = new Daemon(inRoom(room, place.packages, setup), join(place.folder, "log"));
    await daemon.ready(() => greets(place.host, place.port), readyMs);
    return {
      copies: async () => readdirSync(mail).flatMap((name) => copyOf(readFileSync(join(mail, name))) ?? []),
      stop: () => daemon.stop("SIGKILL"),
    };
  },
};

/** undefined for a session without mail, such as the look whether it is up. It ends each file with an empty line. */
function copyOf(file: Buffer): Copy | undefined {
  const forwardPaths = [...file.toString("utf8", 0, 16_384).matchAll(/^X-Rcpt-Args: <(.*?)>/gm)].map(
    ([, path]) => path as string,
  );
  return forwardPaths.length === 0 ? undefined : { forwardPaths, content: withCrlf(file.subarray(0, -1)) };
}
