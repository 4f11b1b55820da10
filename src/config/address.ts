// Addresses in the config: `127.0.0.1:2525`, `[::1]:53`, `192.0.2.0/24`.

import { isIP, isIPv4, isIPv6 } from "node:net";
import { isLoopbackAddress } from "../core/ip-address.ts";
import type { HostPort } from "./config.ts";

/** An address (or `localhost`, or `*` for all) and a port; IPv6 in brackets. */
export function parseListen(text: string): HostPort | undefined {
  const split = splitHostPort(text);
  if (split?.port === undefined) return undefined;
  const host = split.host === "*" ? "0.0.0.0" : split.host;
  return host === "localhost" || isIP(host) !== 0 ? { host, port: split.port } : undefined;
}

/** An address of a DNS server; port 53 where none is given. */
export function parseServer(text: string): HostPort | undefined {
  if (isIPv6(text)) return { host: text, port: 53 };
  const split = splitHostPort(text);
  if (split === undefined || isIP(split.host) === 0 || split.port === 0) return undefined;
  return { host: split.host, port: split.port ?? 53 };
}

/** A network in CIDR form; a single address becomes one of full length. */
export function parseNetwork(text: string): string | undefined {
  const [address = "", length, ...rest] = text.split("/");
  const bits = isIPv4(address) ? 32 : isIPv6(address) ? 128 : undefined;
  if (bits === undefined || rest.length > 0) return undefined;
  if (length === undefined) return `${address}/${bits}`;
  return /^\d{1,3}$/.test(length) && Number(length) <= bits ? `${address}/${Number(length)}` : undefined;
}

export function formatHostPort({ host, port }: HostPort): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for a host that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || isLoopbackAddress(host);
}

function splitHostPort(text: string): { readonly host: string; readonly port: number | undefined } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  if (match[1] !== undefined && !isIPv6(match[1])) return undefined;
  const port = match[3] === undefined ? undefined : Number(match[3]);
  return port !== undefined && port > 65_535 ? undefined : { host: match[1] ?? (match[2] as string), port };
}
