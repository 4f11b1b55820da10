// `postern dkim keygen`: writes a key and prints the DNS record that publishes it.

import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Command, Option } from "commander";
import { generatePrivateKey, type KeyAlgorithm, keyRecord } from "../signing/keygen.ts";
import { examples, withJson } from "./options.ts";
import { CommandFailure, print, printJson, UsageFailure } from "./output.ts";

interface KeygenOptions {
  readonly domain: string;
  readonly selector: string;
  readonly algorithm: KeyAlgorithm;
  readonly out?: string;
  readonly json?: boolean;
}

const labelPattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

export function dkimCommand(): Command {
  const keygen = new Command("keygen")
    .description("make a DKIM key: writes the private key, prints the DNS record and the config entry")
    .requiredOption("--domain <domain>", "signing domain (d=)")
    .requiredOption("--selector <selector>", "selector (s=); a new one for each key")
    .addOption(
      new Option("--algorithm <algorithm>", "kind of key").choices(["rsa-2048", "ed25519"]).default("rsa-2048"),
    )
    .option("--out <file>", "where the private key goes (default: conf/keys/<domain>.<selector>.pem)")
    .action(makeKey);
  examples(withJson(keygen), [
    "postern dkim keygen --domain example.com --selector s2026a",
    "postern dkim keygen --domain example.com --selector s2026e --algorithm ed25519",
  ]);
  return new Command("dkim").description("DKIM keys").addCommand(keygen);
}

async function makeKey(options: KeygenOptions): Promise<void> {
  const domain = options.domain.toLowerCase();
  const selector = options.selector.toLowerCase();
  if (!labelPattern.test(domain)) throw new UsageFailure(`--domain ${options.domain} is not a domain name`);
  if (!labelPattern.test(selector)) throw new UsageFailure(`--selector ${options.selector} is not a selector`);
  const file = options.out ?? `conf/keys/${domain}.${selector}.pem`;
  const pem = await generatePrivateKey(options.algorithm);
  try {
    await mkdir(dirname(file), { recursive: true });
    // wx: a key that is in use must never be overwritten. 0600: only the server's user may read it.
    await writeFile(file, pem, { flag: "wx", mode: 0o600 });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === "EEXIST" ? "it exists: take a new selector, or another --out" : (code ?? message);
    throw new CommandFailure(`cannot write ${file}: ${why}`, { cause });
  }
  const record = keyRecord(domain, selector, pem);
  const algorithm = options.algorithm === "ed25519" ? "ed25519-sha256" : "rsa-sha256";
  if (options.json === true) return printJson({ file, selector, domain, algorithm, record });
  print(
    [
      `The private key is in ${file}. Publish this DNS record:`,
      "",
      record.zoneLine,
      "",
      "then add to the config:",
      "",
      "signing:",
      `  - domain: ${domain}`,
      `    keys: [{ selector: ${selector}, algorithm: ${algorithm}, key_file: ${file} }]`,
    ].join("\n"),
  );
}
