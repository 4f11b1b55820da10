// The certificate of a run, for STARTTLS of Postern and the receivers.

import { join } from "node:path";
import { run } from "./processes.ts";
import { hostname } from "./world.ts";

const opensslMs = 30_000;

/** One for all servers: nobody checks it. */
export async function makeCertificate(folder: string): Promise<{ certificate: string; key: string }> {
  const certificate = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  const kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", `/CN=${hostname}`];
  const made = await run(
    { command: "openssl", args: ["req", ...kind, "-keyout", key, "-out", certificate] },
    "",
    opensslMs,
  );
  if (made.code !== 0) throw new Error(`openssl (package openssl) makes no certificate: ${made.stderr}`);
  return { certificate, key };
}
