// Passwords of submitting users as scrypt hashes (RFC 7914): `scrypt$N$r$p$salt$hash`, salt and hash in base64.

import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";

export interface ScryptHash {
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** 16 MiB and some 30 ms for each check. */
const defaultCost = 2 ** 14;
const defaultBlockSize = 8;
const defaultParallelization = 1;
const saltBytes = 16;
const hashBytes = 32;
/** What one check may use: 128 * N * r octets, with room above. A config that asks for more is refused. */
const scryptMemoryMaxBytes = 256 * 1024 * 1024;
/** Nobody's password is longer, and hashing must not be made slow by a client. */
export const passwordCharactersMax = 1_024;

/** The parts of a password hash, or undefined when `text` is none or asks for more than 256 MiB. */
export function parseScryptHash(text: string): ScryptHash | undefined {
  const match = /^scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]+={0,2})$/.exec(text);
  if (match === null) return undefined;
  const [cost, blockSize, parallelization] = match.slice(1, 4).map(Number) as [number, number, number];
  const salt = Buffer.from(match[4] as string, "base64");
  const hash = Buffer.from(match[5] as string, "base64");
  const powerOfTwo = cost >= 2 && (cost & (cost - 1)) === 0;
  if (!powerOfTwo || blockSize < 1 || parallelization < 1 || salt.length < 8 || hash.length < 16) return undefined;
  if (128 * cost * blockSize > scryptMemoryMaxBytes) return undefined;
  return { cost, blockSize, parallelization, salt, hash };
}

/** Hashes a password for the config file, with a fresh salt. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltBytes);
  const parameters = { cost: defaultCost, blockSize: defaultBlockSize, parallelization: defaultParallelization, salt };
  const hash = await derive(password, { ...parameters, hash: Buffer.alloc(hashBytes) });
  const numbers = `${defaultCost}$${defaultBlockSize}$${defaultParallelization}`;
  return `scrypt$${numbers}$${salt.toString("base64")}$${hash.toString("base64")}`;
}

/** Whether `password` belongs to the hash. Runs in libuv's pool, compares in constant time. */
export async function verifyPassword(password: string, known: ScryptHash): Promise<boolean> {
  const hash = await derive(password, known);
  return timingSafeEqual(hash, known.hash);
}

/** A hash that no password has, as costly to check as `like`: it makes an unknown user take the same time. */
export function impossibleHash(like: ScryptHash | undefined): ScryptHash {
  return {
    cost: like?.cost ?? defaultCost,
    blockSize: like?.blockSize ?? defaultBlockSize,
    parallelization: like?.parallelization ?? defaultParallelization,
    salt: randomBytes(saltBytes),
    hash: randomBytes(like?.hash.length ?? hashBytes),
  };
}

function derive(password: string, known: ScryptHash): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const options = {
    N: known.cost,
    r: known.blockSize,
    p: known.parallelization,
    maxmem: 2 * scryptMemoryMaxBytes,
  };
  // RFC 8265 section 4.2 asks for NFC, so that one password typed on two systems is the same.
  scrypt(password.normalize("NFC"), known.salt, known.hash.length, options, (error, hash) => {
    if (error === null) resolve(hash);
    else reject(error);
  });
  return promise;
}
