// swaks, the Swiss Army Knife for SMTP.

import type { Submitter } from "../peer.ts";
import { hasProgram } from "../processes.ts";
import { submitEach } from "./batch.ts";

export const swaks: Submitter = {
  name: "swaks",
  package: "swaks",
  share: 1,
  smtpUtf8: false,
  canLogIn: true,
  recipientsMax: 100,
  lineBytesMax: 30_000,
  adapt: (body) => {
    // It takes a last line that is a dot for the end of DATA, and gives a message without body an empty line.
    if (body.subarray(-5).toString("latin1") === "\r\n.\r\n") return Buffer.concat([body, Buffer.from("x\r\n")]);
    return body.length === 2 ? Buffer.from("\r\n\r\n") : body;
  },
  isInstalled: () => hasProgram("swaks"),
  submit: (messages, place) =>
    submitEach(messages, place, {
      lastLine: "open",
      command: ({ reversePath, forwardPaths }, file) => ({
        command: "swaks",
        args: [
          ...["--server", `${place.host}:${place.port}`, "--helo", "swaks.rsa.test", "--silent", "2"],
          ...(place.login === undefined ? [] : secure(place.login)),
          ...["--from", reversePath, "--to", forwardPaths.join(","), "--data", `@${file}`],
        ],
      }),
    }),
};

function secure({ user, password }: { readonly user: string; readonly password: string }): string[] {
  return ["--tls", "--auth", "PLAIN", "--auth-user", user, "--auth-password", password];
}
