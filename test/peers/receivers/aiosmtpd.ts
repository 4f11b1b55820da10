// Python's aiosmtpd, which hands over the octets as they came (aiosmtpd-receive.py).

import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Receiver } from "../peer.ts";
import { Daemon, greets } from "../processes.ts";
import { hasPythonModule, python } from "../python.ts";

const readyMs = 10_000;
const script = fileURLToPath(new URL("aiosmtpd-receive.py", import.meta.url));

export const aiosmtpd: Receiver = {
  name: "aiosmtpd",
  package: "python3-aiosmtpd",
  address: "127.0.2.5",
  smtpUtf8: true,
  tls: false,
  // It answers 500 to longer ones.
  lineBytesMax: 998,
  addedFields: [],
  removedFields: [],
  isInstalled: () => hasPythonModule("aiosmtpd"),
  async start(place) {
    const mail = join(place.folder, "mail");
    mkdirSync(mail);
    const daemon = new Daemon(
      { command: python, args: [script, place.host, String(place.port), mail] },
      join(place.folder, "log"),
    );
    await daemon.ready(() => greets(place.host, place.port), readyMs);
    return {
      copies: async () =>
        readdirSync(mail)
          .filter((name) => name.endsWith(".eml"))
          .map((name) => ({
            forwardPaths: JSON.parse(readFileSync(join(mail, name.replace(/eml$/, "json")), "utf8")) as string[],
            content: readFileSync(join(mail, name)),
          })),
      stop: () => daemon.stop(),
    };
  },
};
