// Speaks to the admin API of a running server.

import { formatHostPort } from "../config/address.ts";
import type { HostPort } from "../config/config.ts";
import { type AdminOptions, requireConfig } from "./options.ts";
import { CommandFailure, UsageFailure } from "./output.ts";

const defaultTokenEnv = "POSTERN_ADMIN_TOKEN";
const timeoutMs = 60_000;

export interface AdminAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Where the admin API is, and what to show there. */
export interface AdminPlace {
  readonly base: URL;
  readonly token: string | undefined;
  readonly tokenEnv: string;
}

/** `signal` ends the call early; without `limitMs` the answer may take a minute. */
export interface AdminPatience {
  readonly signal?: AbortSignal;
  readonly limitMs?: number;
}

/** Rejects with CommandFailure when the server cannot be reached or refuses. 404 and 422 are answers. */
export async function callAdmin(
  options: AdminOptions,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<AdminAnswer> {
  return answerOf(await locateAdmin(options), method, path, body, {});
}

/** As `callAdmin`, for a verb that asks again and again: the config is read once. */
export function lookAt(place: AdminPlace, path: string, patience: AdminPatience): Promise<AdminAnswer> {
  return answerOf(place, "GET", path, undefined, patience);
}

/** The Prometheus text. Rejects as `callAdmin` does. */
export async function readMetrics(place: AdminPlace, patience: AdminPatience): Promise<string> {
  const response = await reach(place, "GET", "/metrics", undefined, patience);
  if (!response.ok) throw refusalOf(response, await readJson(response, place.base), place);
  try {
    return await response.text();
  } catch (cause) {
    throw noAnswer(place, cause);
  }
}

async function answerOf(
  place: AdminPlace,
  method: "GET" | "POST",
  path: string,
  body: unknown,
  patience: AdminPatience,
): Promise<AdminAnswer> {
  const response = await reach(place, method, path, body, patience);
  const answer = await readJson(response, place.base);
  if (response.ok || response.status === 404 || response.status === 422)
    return { status: response.status, body: answer };
  throw refusalOf(response, answer, place);
}

async function reach(
  place: AdminPlace,
  method: "GET" | "POST",
  path: string,
  body: unknown,
  { signal, limitMs = timeoutMs }: AdminPatience,
): Promise<Response> {
  const { base, token, tokenEnv } = place;
  // The library would show it in its error.
  if (token !== undefined && !/^[!-~]+$/.test(token)) {
    throw new CommandFailure(`the variable ${tokenEnv} holds no token: it is empty, or has blanks or a line end in it`);
  }
  const limit = AbortSignal.timeout(limitMs);
  try {
    return await fetch(new URL(path, base), {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      redirect: "error",
      signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
    });
  } catch (cause) {
    throw noAnswer(place, cause);
  }
}

function noAnswer({ base }: AdminPlace, cause: unknown): CommandFailure {
  return new CommandFailure(
    `no answer from the admin API at ${base.origin} (${reasonOf(cause)}): is the server running, and is this its config?`,
    { cause },
  );
}

function refusalOf(response: Response, answer: unknown, { base, tokenEnv }: AdminPlace): CommandFailure {
  if (response.status === 401) {
    return new CommandFailure(
      `the admin API at ${base.origin} wants a token: put the right one into the variable ${tokenEnv}`,
    );
  }
  const said = (answer as { error?: string } | undefined)?.error ?? response.statusText;
  return new CommandFailure(`the admin API at ${base.origin} refused (${response.status}): ${said}`);
}

/** The text of a 404 or another refusal. */
export function errorOf(answer: AdminAnswer): string {
  return (answer.body as { error?: string } | undefined)?.error ?? `the server answered ${answer.status}`;
}

export async function locateAdmin(options: AdminOptions): Promise<AdminPlace> {
  if (options.admin !== undefined) {
    if (!URL.canParse(options.admin) || !/^https?:/.test(options.admin)) {
      throw new UsageFailure(`--admin ${options.admin} is not a URL such as http://127.0.0.1:8080`);
    }
    const tokenEnv = options.tokenEnv ?? defaultTokenEnv;
    return { base: new URL(options.admin), token: process.env[tokenEnv], tokenEnv };
  }
  const { admin } = await requireConfig(options.config);
  const tokenEnv = options.tokenEnv ?? admin.tokenEnv;
  return {
    base: new URL(`http://${formatHostPort(reachable(admin.listen))}`),
    token: tokenEnv === undefined ? undefined : process.env[tokenEnv],
    tokenEnv: tokenEnv ?? defaultTokenEnv,
  };
}

/** A listener on all addresses is reached over loopback. */
function reachable(listen: HostPort): HostPort {
  if (listen.host === "0.0.0.0") return { ...listen, host: "127.0.0.1" };
  return listen.host === "::" ? { ...listen, host: "::1" } : listen;
}

async function readJson(response: Response, base: URL): Promise<unknown> {
  try {
    return await response.json();
  } catch (cause) {
    throw new CommandFailure(`what answers at ${base.origin} is not Postern's admin API (${response.status})`, {
      cause,
    });
  }
}

function reasonOf(error: unknown): string {
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  return cause?.code ?? cause?.message ?? (error as Error).message;
}
