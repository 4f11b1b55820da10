// A delivery event as one line of JSON (JSON Lines), in a fixed order of fields.

import { rfc3339 } from "../core/civil-date.ts";
import type { DeliveryEvent } from "../core/event.ts";

/** Longer texts are cut, so that a line has a bound. */
export const eventTextMax = 2_048;
const eventNameMax = 512;
const eventListMax = 64;

/**
 * One line with its LF. `at` and `until` are RFC 3339 in UTC. Fields that are undefined are left out. The line is safe
 * for any reader of lines: controls, U+0085, U+2028 and U+2029 are escaped, and so are halves of surrogate pairs.
 */
export function formatEvent(event: DeliveryEvent): string {
  const { remote, reply, tls } = event;
  let line = `{"id":${name(event.id)},"kind":${name(event.kind)},"at":"${rfc3339(event.at)}","node":${name(event.node)},"shard":${number(event.shard)}`;
  if (event.queueId !== undefined) line += `,"queueId":${name(event.queueId)}`;
  if (event.stream !== undefined) line += `,"stream":${name(event.stream)}`;
  if (event.tenant !== undefined) line += `,"tenant":${name(event.tenant)}`;
  if (event.job !== undefined) line += `,"job":${name(event.job)}`;
  if (event.reversePath !== undefined) line += `,"reversePath":${name(event.reversePath)}`;
  if (event.forwardPath !== undefined) line += `,"forwardPath":${name(event.forwardPath)}`;
  if (event.domain !== undefined) line += `,"domain":${name(event.domain)}`;
  if (event.contentBytes !== undefined) line += `,"contentBytes":${number(event.contentBytes)}`;
  if (event.site !== undefined) line += `,"site":${name(event.site)}`;
  if (event.source !== undefined) line += `,"source":${name(event.source)}`;
  if (event.pool !== undefined) line += `,"pool":${name(event.pool)}`;
  if (event.relay !== undefined) line += `,"relay":${name(event.relay)}`;
  if (remote !== undefined) line += `,"remote":{"name":${name(remote.name)},"address":${name(remote.address)}}`;
  if (reply !== undefined) {
    line += `,"reply":{"code":${number(reply.code)}`;
    if (reply.enhanced !== undefined) line += `,"enhanced":${name(reply.enhanced)}`;
    line += `,"text":${text(reply.text, eventTextMax)}}`;
  }
  if (event.stage !== undefined) line += `,"stage":${name(event.stage)}`;
  if (event.bounceClass !== undefined) line += `,"bounceClass":${name(event.bounceClass)}`;
  if (event.attempts !== undefined) line += `,"attempts":${number(event.attempts)}`;
  if (tls !== undefined)
    line += `,"tls":{"version":${name(tls.version)},"cipher":${name(tls.cipher)},"verified":${tls.verified === true}}`;
  if (event.queuedMs !== undefined) line += `,"queuedMs":${number(event.queuedMs)}`;
  if (event.transactionMs !== undefined) line += `,"transactionMs":${number(event.transactionMs)}`;
  if (event.sessionId !== undefined) line += `,"sessionId":${name(event.sessionId)}`;
  if (event.signedBy !== undefined)
    line += `,"signedBy":[${event.signedBy.slice(0, eventListMax).map(name).join(",")}]`;
  if (event.messageIdHeader !== undefined) line += `,"messageIdHeader":${text(event.messageIdHeader, eventTextMax)}`;
  if (event.headers !== undefined) line += `,"headers":${headers(event.headers)}`;
  if (event.reason !== undefined) line += `,"reason":${text(event.reason, eventTextMax)}`;
  if (event.until !== undefined) line += `,"until":"${rfc3339(event.until)}"`;
  return `${line}}\n`;
}

function headers(fields: Readonly<Record<string, string>>): string {
  const entries = Object.entries(fields).slice(0, eventListMax);
  return `{${entries.map(([key, value]) => `${name(key)}:${text(value, eventTextMax)}`).join(",")}}`;
}

function name(value: string): string {
  return text(value, eventNameMax);
}

/** JSON has no NaN and no infinities. */
function number(value: number): string {
  return Number.isFinite(value) ? String(value) : "null";
}

const needsEscape = /[^ !#-[\]-~]/;
const lineSeparators = /[\x7f-\x9f\u2028\u2029]/g;

function text(value: string, charactersMax: number): string {
  const cut = value.length > charactersMax ? value.slice(0, charactersMax) : value;
  if (!needsEscape.test(cut)) return `"${cut}"`;
  // JSON.stringify escapes the controls below 32 and halves of surrogate pairs (well-formed JSON.stringify).
  return JSON.stringify(cut).replace(
    lineSeparators,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
