// msmtp.

import type { Submitter } from "../peer.ts";
import { hasProgram } from "../processes.ts";
import { submitEach } from "./batch.ts";

export const msmtp: Submitter = {
  name: "msmtp",
  package: "msmtp",
  share: 2,
  smtpUtf8: false,
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
          ...[`--host=${place.host}`, `--port=${place.port}`, "--tls=off", "--auth=off", `--from=${reversePath}`],
          // It is not to change what it is given.
          ...["--remove-bcc-headers=off", "--set-date-header=off", "--set-msgid-header=off", "--set-from-header=off"],
          ...["--", ...forwardPaths],
        ],
      }),
    }),
};
