// Durations, sizes and rates as an operator writes them: `4d12h`, `25MiB`, `83/10m`. Parsed and written back.

import { dayMs, hourMs, type Millis, minuteMs, secondMs } from "../core/time.ts";
import type { Rate } from "./config.ts";

const durationUnits: readonly (readonly [string, Millis])[] = [
  ["d", dayMs],
  ["h", hourMs],
  ["m", minuteMs],
  ["s", secondMs],
  ["ms", 1],
];

const sizeUnits: readonly (readonly [string, number])[] = [
  ["TiB", 2 ** 40],
  ["GiB", 2 ** 30],
  ["MiB", 2 ** 20],
  ["KiB", 2 ** 10],
  ["B", 1],
];

/** Longer waits make no sense for mail, and 2^53 is far. */
const durationMsMax: Millis = 3650 * dayMs;
const rateCountMax = 1_000_000_000;

/** Each unit at most once, the large ones first. */
export const durationPattern = /^(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;
export const sizePattern = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB|TiB)$/;
export const ratePattern = /^(?:unlimited|\d+\/(?:ms|[dhms]|(?:\d+(?:ms|[dhms]))+))$/;

export const durationHelp = "a duration such as 30s, 10m or 4d12h (units d, h, m, s, ms)";
export const sizeHelp = "a size such as 64KiB, 25MiB or 1GiB (units B, KiB, MiB, GiB, TiB)";
export const rateHelp = "a rate such as 100/s, 83/10m, 5000/d, or unlimited";

/** Milliseconds of `30s`, `10m`, `4d12h`; undefined when the text is not a duration. */
export function parseDuration(text: string): Millis | undefined {
  const match = durationPattern.exec(text);
  if (match === null) return undefined;
  let ms = 0;
  for (const [i, [, unitMs]] of durationUnits.entries()) ms += Number(match[i + 1] ?? 0) * unitMs;
  return ms <= durationMsMax ? ms : undefined;
}

/** The shortest text that `parseDuration` reads as `ms`, a whole number of milliseconds. */
export function formatDuration(ms: Millis): string {
  let rest = ms;
  let text = "";
  for (const [unit, unitMs] of durationUnits) {
    const count = Math.floor(rest / unitMs);
    rest -= count * unitMs;
    if (count > 0) text += `${count}${unit}`;
  }
  return text === "" ? "0s" : text;
}

/** Octets of `64KiB`, `25MiB`, `1.5GiB`; undefined when the text is not a size or not a whole number of octets. */
export function parseSize(text: string): number | undefined {
  const match = sizePattern.exec(text);
  if (match === null) return undefined;
  const factor = sizeUnits.find(([unit]) => unit === match[2])?.[1] as number;
  const bytes = Number(match[1]) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The text in the largest unit that needs no fraction. */
export function formatSize(bytes: number): string {
  const [unit, factor] = sizeUnits.find(([, factor]) => bytes >= factor && bytes % factor === 0) ?? ["B", 1];
  return `${bytes / factor}${unit}`;
}

export type ParsedRate = { readonly kind: "rate"; readonly rate: Rate } | { readonly kind: "invalid" };

/** `83/10m` is 83 per 600,000 ms; `unlimited` is undefined. A count of 0 is no rate: use a hold to stop mail. */
export function parseRate(text: string): ParsedRate {
  if (text === "unlimited") return { kind: "rate", rate: undefined };
  if (!ratePattern.test(text)) return { kind: "invalid" };
  const [countText = "", spanText = ""] = text.split("/");
  const count = Number(countText);
  const perMs = parseDuration(/^\d/.test(spanText) ? spanText : `1${spanText}`);
  if (count < 1 || count > rateCountMax || perMs === undefined || perMs < 1) return { kind: "invalid" };
  return { kind: "rate", rate: { count, perMs } };
}

export function formatRate(rate: Rate): string {
  if (rate === undefined) return "unlimited";
  const span = formatDuration(rate.perMs);
  return `${rate.count}/${span.startsWith("1") && /^1[a-z]+$/.test(span) ? span.slice(1) : span}`;
}
