// What no schema can say: names that must exist, keys that contradict one another, files that must be readable.
//
// It works on the data as written, so that it finds what it can even in a file that breaks the schema.

import { accessSync, constants, readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { formatHostPort, isLoopback, parseListen } from "./address.ts";
import { namePattern } from "./config-schema.ts";
import type { Complaint } from "./schema-errors.ts";
import { didYouMean } from "./suggestion.ts";
import { parseDuration } from "./units.ts";

export interface CrossCheck {
  readonly errors: readonly Complaint[];
  readonly warnings: readonly Complaint[];
}

type Add = (path: Complaint["path"], message: string, on?: Complaint["on"]) => void;

export function crossCheck(data: unknown): CrossCheck {
  const errors: Complaint[] = [];
  const warnings: Complaint[] = [];
  const root = mapOf(data);
  const error: Add = (path, message, on = "value") => errors.push({ path, on, message });
  const warn: Add = (path, message, on = "value") => warnings.push({ path, on, message });
  checkListeners(root, error, warn);
  checkSources(root, warn);
  checkPools(root, error);
  checkStreams(root, error, warn);
  checkUsers(root, error);
  checkSigning(root, error);
  checkAdmin(root, error);
  checkFiles(root, error);
  checkUnused(root, warn);
  return { errors, warnings };
}

function checkListeners(root: Raw, error: Add, warn: Add): void {
  const seen = new Map<string, number>();
  const adminListen = textOf(mapOf(root.admin).listen);
  const usersKnown = Object.keys(mapOf(root.users)).length > 0;
  for (const [i, item] of listOf(mapOf(root.ingest).smtp).entries()) {
    const path = ["ingest", "smtp", i];
    const listener = mapOf(item);
    const listen = parseListen(textOf(listener.listen) ?? "");
    if (listen !== undefined && listen.port !== 0) {
      const text = formatHostPort(listen);
      if (seen.has(text)) error([...path, "listen"], `${text} is used by two listeners`);
      if (text === adminListen) error([...path, "listen"], `${text} is also admin.listen`);
      seen.set(text, i);
    }
    const trustsNobody = Array.isArray(listener.trust) && listener.trust.length === 0;
    if (listener.auth === "off" && trustsNobody) {
      error([...path, "auth"], "nobody could submit here: auth is off and trust is empty");
    }
    if (listener.auth === "required" && !usersKnown) {
      error([...path, "auth"], "nobody could submit here: auth is required and there are no users");
    }
    const inClear = listener.tls === undefined && listener.auth !== "off" && usersKnown;
    if (inClear && listen !== undefined && !isLoopback(listen.host)) {
      warn([...path, "listen"], "AUTH is offered to the network without tls: passwords would travel in clear");
    }
    for (const [j, network] of listOf(listener.trust).entries()) {
      if (/\/0+$/.test(textOf(network) ?? "")) {
        warn([...path, "trust", j], "everybody may submit without AUTH: an open relay is soon abused and blocked");
      }
    }
  }
}

function checkSources(root: Raw, warn: Add): void {
  const byAddress = new Map<string, string>();
  for (const [name, value] of Object.entries(mapOf(root.sources))) {
    const address = textOf(mapOf(value).address);
    if (address === undefined) continue;
    const other = byAddress.get(address);
    if (other !== undefined) {
      warn(["sources", name, "address"], `source "${other}" has this address too: receivers see one, limits count two`);
    }
    byAddress.set(address, name);
  }
}

function checkPools(root: Raw, error: Add): void {
  const sources = namesOr(root.sources, "default");
  for (const [name, value] of Object.entries(mapOf(root.pools))) {
    const members = Object.keys(mapOf(mapOf(value).members));
    if (members.length === 0 && isMap(mapOf(value).members)) {
      error(["pools", name, "members"], `pool "${name}" has no members`);
    }
    for (const member of members) {
      if (!sources.includes(member)) {
        error(["pools", name, "members", member], `no source "${member}"${didYouMean(member, sources)}`, "key");
      }
    }
  }
}

function checkStreams(root: Raw, error: Add, warn: Add): void {
  const pools = namesOr(root.pools, "default");
  const streams = namesOr(root.streams, "default");
  for (const [name, value] of Object.entries(mapOf(root.streams))) {
    const stream = mapOf(value);
    const pool = textOf(stream.pool);
    if (pool !== undefined && !pools.includes(pool)) {
      error(["streams", name, "pool"], `no pool "${pool}"${didYouMean(pool, pools)}`);
    }
    if (stream.pool === undefined && pools.length > 1 && !pools.includes("default")) {
      error(
        ["streams", name],
        `stream "${name}" must name its pool: there are ${pools.length} and none is "default"`,
        "key",
      );
    }
    const deadline = parseDuration(textOf(stream.deadline) ?? "");
    const expire = parseDuration(textOf(stream.expire) ?? "");
    if (deadline !== undefined && expire !== undefined && deadline > expire) {
      error(["streams", name, "deadline"], "the deadline is after expire: the mail would be given up before");
    }
    const delay = parseDuration(textOf(stream.delay_dsn) ?? "");
    if (delay !== undefined && expire !== undefined && delay >= expire) {
      warn(["streams", name, "delay_dsn"], "no delay DSN will be sent: mail expires before");
    }
  }
  const chosen = textOf(root.default_stream);
  if (chosen !== undefined && !streams.includes(chosen)) {
    error(["default_stream"], `no stream "${chosen}"${didYouMean(chosen, streams)}`);
  }
  if (root.default_stream === undefined && streams.length > 1 && !streams.includes("default")) {
    error(
      ["streams"],
      `add the key "default_stream": there are ${streams.length} streams and none is "default"`,
      "key",
    );
  }
}

function checkUsers(root: Raw, error: Add): void {
  const streams = namesOr(root.streams, "default");
  for (const [name, value] of Object.entries(mapOf(root.users))) {
    for (const [i, stream] of listOf(mapOf(value).streams).entries()) {
      if (typeof stream === "string" && !streams.includes(stream)) {
        error(["users", name, "streams", i], `no stream "${stream}"${didYouMean(stream, streams)}`);
      }
    }
  }
}

function checkSigning(root: Raw, error: Add): void {
  const domains = new Set<string>();
  for (const [i, value] of listOf(root.signing).entries()) {
    const domain = textOf(mapOf(value).domain)?.toLowerCase();
    if (domain !== undefined && domains.has(domain)) error(["signing", i, "domain"], `${domain} stands here twice`);
    if (domain !== undefined) domains.add(domain);
    const selectors = new Set<string>();
    for (const [j, key] of listOf(mapOf(value).keys).entries()) {
      const selector = textOf(mapOf(key).selector)?.toLowerCase();
      if (selector === undefined) continue;
      if (selectors.has(selector)) {
        error(["signing", i, "keys", j, "selector"], `two keys of ${domain} have the selector ${selector}`);
      }
      selectors.add(selector);
    }
  }
}

function checkAdmin(root: Raw, error: Add): void {
  const admin = mapOf(root.admin);
  const listen = parseListen(textOf(admin.listen) ?? "");
  if (listen !== undefined && !isLoopback(listen.host) && admin.token_env === undefined) {
    error(
      ["admin", "listen"],
      "the admin API would be open to the network: set admin.token_env, or listen on 127.0.0.1",
    );
  }
}

function checkFiles(root: Raw, error: Add): void {
  let faults = 0;
  const readable = (path: Complaint["path"], value: unknown, hint: string) => {
    const file = textOf(value);
    if (file === undefined || file === "") return;
    try {
      accessSync(file, constants.R_OK);
    } catch (cause) {
      faults++;
      error(path, `cannot read ${file} (${(cause as NodeJS.ErrnoException).code})${hint}`);
    }
  };
  for (const [i, item] of listOf(mapOf(root.ingest).smtp).entries()) {
    const tls = mapOf(mapOf(item).tls);
    const path = ["ingest", "smtp", i, "tls"];
    const before = faults;
    readable([...path, "cert"], tls.cert, "");
    readable([...path, "key"], tls.key, "");
    if (faults === before) checkCertificate(path, textOf(tls.cert), textOf(tls.key), error);
  }
  for (const [i, item] of listOf(root.signing).entries()) {
    for (const [j, key] of listOf(mapOf(item).keys).entries()) {
      const hint = ": make one with `postern dkim keygen`";
      readable(["signing", i, "keys", j, "key_file"], mapOf(key).key_file, hint);
    }
  }
  for (const [i, file] of listOf(mapOf(root.bounces).include).entries()) {
    readable(["bounces", "include", i], file, "");
  }
}

/** Said here and not at the start alone: who renews a certificate wants to know before a reload. */
function checkCertificate(
  path: Complaint["path"],
  certFile: string | undefined,
  keyFile: string | undefined,
  error: Add,
): void {
  if (certFile === undefined || certFile === "" || keyFile === undefined || keyFile === "") return;
  let file = certFile;
  try {
    const cert = readFileSync(file);
    createSecureContext({ cert });
    file = keyFile;
    createSecureContext({ cert, key: readFileSync(file) });
  } catch (cause) {
    const what = file === certFile ? "a certificate in PEM" : `the key in PEM of ${certFile}`;
    const { reason, message } = cause as Error & { reason?: string };
    error([...path, file === certFile ? "cert" : "key"], `${file} is not ${what} (${reason ?? message})`);
  }
}

function checkUnused(root: Raw, warn: Add): void {
  const used =
    Object.keys(mapOf(root.relays)).length > 0 ? "relays" : listOf(root.routes).length > 0 ? "routes" : undefined;
  if (used === undefined) return;
  warn([used], `${used} are kept for overflow routing, which this version does not do yet`, "key");
}

/** A name that a site has in the main file or in an included one. */
export function checkSiteName(name: string): string | undefined {
  return namePattern.test(name)
    ? undefined
    : `"${name}" cannot stand here: expected a name of letters, digits, '.', '_' and '-' that begins with a letter`;
}

type Raw = Readonly<Record<string, unknown>>;

function isMap(value: unknown): value is Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function mapOf(value: unknown): Raw {
  return isMap(value) ? value : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The names in a map, or the one that stands for it when it is left out or empty. */
function namesOr(value: unknown, otherwise: string): string[] {
  const names = Object.keys(mapOf(value));
  return names.length === 0 ? [otherwise] : names;
}
