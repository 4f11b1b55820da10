// The DKIM keys: read and checked as a whole, then never changed. A reload makes a new set.

import { createPrivateKey, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { SigningDomainConfig, SigningKeyConfig } from "../config/config.ts";
import type { Domain } from "../core/ids.ts";

export type SigningAlgorithm = "rsa-sha256" | "ed25519-sha256";

export interface SigningKey {
  readonly domain: Domain;
  readonly selector: string;
  readonly algorithm: SigningAlgorithm;
  readonly privateKey: KeyObject;
}

export interface DomainKeys {
  readonly domain: Domain;
  /** In the order of the config; every message gets a signature of each. */
  readonly keys: readonly SigningKey[];
  /** `selector._domainkey.domain` of each. */
  readonly signedBy: readonly string[];
}

/** Plain data that can be posted to a thread as it is. */
export interface KeySet {
  readonly domains: ReadonlyMap<Domain, DomainKeys>;
}

/** What is wrong with a key. `where` is the config position of its entry. */
export interface KeyProblem {
  readonly where: string;
  readonly file: string;
  readonly message: string;
}

/** At least one key cannot be used. The old set, if there is one, stays in use. */
export class SigningKeyError extends Error {
  readonly problems: readonly KeyProblem[];
  constructor(problems: readonly KeyProblem[]) {
    super(problems.map((problem) => `${problem.where}: ${problem.file}: ${problem.message}`).join("\n"));
    this.name = "SigningKeyError";
    this.problems = problems;
  }
}

/** RFC 8301 section 3.2: verifiers must not take RSA keys below 1,024 bits; signers should use 2,048 or more. */
const rsaBitsMin = 1024;
const rsaBitsAdvised = 2048;
/** RFC 8301 section 3.2: verifiers need not take more. */
const rsaBitsMax = 4096;

/**
 * Reads and checks every key. Rejects with SigningKeyError, which lists all keys that cannot be used: a domain for
 * which keys are configured is never sent unsigned. `warnings` tells of keys that work but are not good.
 */
export async function loadKeySet(
  config: readonly SigningDomainConfig[],
): Promise<{ readonly keySet: KeySet; readonly warnings: readonly KeyProblem[] }> {
  const problems: KeyProblem[] = [];
  const warnings: KeyProblem[] = [];
  const domains = new Map<Domain, DomainKeys>();
  for (const entry of config) {
    const file = entry.keys[0]?.keyFile ?? "no key file";
    if (entry.keys.length === 0) problems.push({ where: entry.where, file, message: `no keys for ${entry.domain}` });
    if (domains.has(entry.domain)) {
      problems.push({ where: entry.where, file, message: `${entry.domain} is configured a second time` });
    }
    const keys: SigningKey[] = [];
    for (const keyConfig of entry.keys) {
      const { where, keyFile } = keyConfig;
      const loaded = await loadKey(keyConfig);
      if (keys.some((key) => key.selector === keyConfig.selector)) {
        problems.push({ where, file: keyFile, message: `selector ${keyConfig.selector} is used a second time` });
      }
      if (loaded.kind === "bad") {
        problems.push({ where, file: keyFile, message: loaded.message });
        continue;
      }
      if (loaded.warning !== undefined) warnings.push({ where, file: keyFile, message: loaded.warning });
      const { selector, algorithm } = keyConfig;
      keys.push({ domain: entry.domain, selector, algorithm, privateKey: loaded.privateKey });
    }
    if (keys.length > 0 && entry.keys.every((key) => key.algorithm === "ed25519-sha256")) {
      const message = `${entry.domain} has no rsa-sha256 key: receivers that do not know RFC 8463 see its mail as unsigned`;
      warnings.push({ where: entry.where, file, message });
    }
    domains.set(entry.domain, domainKeys(entry.domain, keys));
  }
  if (problems.length > 0) throw new SigningKeyError(problems);
  return { keySet: { domains }, warnings };
}

export function domainKeys(domain: Domain, keys: readonly SigningKey[]): DomainKeys {
  return { domain, keys, signedBy: keys.map((key) => `${key.selector}._domainkey.${key.domain}`) };
}

type LoadedKey =
  | { readonly kind: "good"; readonly privateKey: KeyObject; readonly warning: string | undefined }
  | { readonly kind: "bad"; readonly message: string };

async function loadKey(config: SigningKeyConfig): Promise<LoadedKey> {
  let pem: Buffer;
  try {
    pem = await readFile(config.keyFile);
  } catch (error) {
    return { kind: "bad", message: `cannot be read: ${(error as Error).message}` };
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(pem);
  } catch (error) {
    // The message of OpenSSL holds nothing of the key.
    return { kind: "bad", message: `is no private key in PEM form without a passphrase: ${(error as Error).message}` };
  }
  return checkKey(config, privateKey);
}

function checkKey(config: SigningKeyConfig, privateKey: KeyObject): LoadedKey {
  // RFC 6376 section 3.1: a selector is one or more DNS labels.
  if (!/^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i.test(config.selector)) {
    return { kind: "bad", message: `selector ${JSON.stringify(config.selector)} is no domain name` };
  }
  const wanted = config.algorithm === "rsa-sha256" ? "rsa" : "ed25519";
  if (privateKey.asymmetricKeyType !== wanted) {
    return {
      kind: "bad",
      message: `${config.algorithm} needs a key of type ${wanted}, this is ${privateKey.asymmetricKeyType}`,
    };
  }
  if (wanted === "ed25519") return { kind: "good", privateKey, warning: undefined };
  const bits = privateKey.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < rsaBitsMin)
    return { kind: "bad", message: `an RSA key of ${bits} bits is refused by receivers; use ${rsaBitsAdvised}` };
  if (bits < rsaBitsAdvised) {
    return { kind: "good", privateKey, warning: `an RSA key of ${bits} bits is weak; use ${rsaBitsAdvised}` };
  }
  if (bits > rsaBitsMax) {
    return {
      kind: "good",
      privateKey,
      warning: `receivers need not verify an RSA key of ${bits} bits; use ${rsaBitsAdvised}`,
    };
  }
  return { kind: "good", privateKey, warning: undefined };
}

/** The keys of the domain itself or of its nearest parent that has some; undefined when none has. */
export function keysFor(keySet: KeySet, fromDomain: Domain | undefined): DomainKeys | undefined {
  for (let domain = fromDomain; domain !== undefined && domain !== ""; ) {
    const keys = keySet.domains.get(domain);
    if (keys !== undefined) return keys;
    const dot = domain.indexOf(".");
    domain = dot < 0 ? undefined : domain.slice(dot + 1);
  }
  return undefined;
}
