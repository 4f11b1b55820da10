// msmtp.

import type { Submitter } from "../peer.ts";
import { hasProgram } from "../processes.ts";
import { submitEach } from "./batch.ts";

export const msmtp: Submitter = {
  name: "msmtp",
  package: "msmtp",
  share: 2,
  smtpUtf8: false,
  canLogIn: true,
  recipientsMax: 100,
  lineBytesMax: 30_000,
  isInstalled: () => hasProgram("msmtp"),
  submit: (messages, place) =>
    submitEach(messages, place, {
      lastLine: "ended",
      byInput: true,
      command: ({ reversePath, forwardPaths }) => ({
        command: "msmtp",
        args: [
          ...[`--host=${place.host}`, `--port=${place.port}`, `--from=${reversePath}`],
          ...(place.login === undefined ? ["--tls=off", "--auth=off"] : secure(place.login)),
          // It is not to change what it is given.
          ...["--remove-bcc-headers=off", "--set-date-header=off", "--set-msgid-header=off", "--set-from-header=off"],
          ...["--", ...forwardPaths],
        ],
      }),
    }),
};

function secure({ user, password }: { readonly user: string; readonly password: string }): string[] {
  const login = ["--auth=login", `--user=${user}`, `--passwordeval=echo ${password}`];
  return ["--tls=on", "--tls-starttls=on", "--tls-certcheck=off", ...login];
}
