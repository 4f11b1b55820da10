// nodemailer's pooled SMTP transport.

import { createTransport } from "nodemailer";
import { contentOf } from "../corpus.ts";
import type { Submitter } from "../peer.ts";

const connections = 4;

export const nodemailer: Submitter = {
  name: "nodemailer",
  package: "nodemailer",
  share: 6,
  smtpUtf8: true,
  canLogIn: true,
  recipientsMax: 100,
  lineBytesMax: 30_000,
  isInstalled: () => true,
  async submit(messages, { host, port, login }) {
    const transport = createTransport({
      pool: true,
      maxConnections: connections,
      maxMessages: 40,
      host,
      port,
      name: "nodemailer.rsa.test",
      ...(login === undefined
        ? { ignoreTLS: true }
        : { requireTLS: true, tls: { rejectUnauthorized: false }, auth: { user: login.user, pass: login.password } }),
    });
    const problems: string[] = [];
    await Promise.all(
      messages.map(async (message) => {
        try {
          await transport.sendMail({
            envelope: { from: message.reversePath, to: [...message.forwardPaths] },
            raw: contentOf(message),
          });
        } catch (error) {
          problems.push(`message ${message.id} (${message.form}): ${(error as Error).message}`);
        }
      }),
    );
    transport.close();
    return problems;
  },
};
