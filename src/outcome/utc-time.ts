// Instants as RFC 3339 text in UTC, without reading any clock.

import { civilDate, dayNumber, dayNumberAt, twoDigits } from "../core/civil-date.ts";
import { dayMs, type Instant } from "../core/time.ts";

/** `2026-11-21T17:24:00.123Z` (RFC 3339 section 5.6). For the years 0 to 9999. */
export function rfc3339(at: Instant): string {
  const whole = Math.floor(at);
  const days = dayNumberAt(whole);
  let rest = whole - days * dayMs;
  const ms = rest % 1_000;
  rest = (rest - ms) / 1_000;
  const seconds = rest % 60;
  rest = (rest - seconds) / 60;
  const minutes = rest % 60;
  const hours = (rest - minutes) / 60;
  return `${datePart(days)}T${twoDigits(hours)}:${twoDigits(minutes)}:${twoDigits(seconds)}.${ms < 100 ? `0${twoDigits(ms)}` : ms}Z`;
}

/** `20261121T172400Z`: sorts by time and is safe in a file name. Milliseconds are cut off. */
export function compactUtc(at: Instant): string {
  return `${rfc3339(at).slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
}

/** The instant of a `compactUtc` text; undefined for any other text. */
export function parseCompactUtc(text: string): Instant | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (match === null) return undefined;
  const [year, month, day, hours, minutes, seconds] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return dayNumber({ year, month, day }) * dayMs + ((hours * 60 + minutes) * 60 + seconds) * 1_000;
}

function datePart(days: number): string {
  const { year, month, day } = civilDate(days);
  return `${year.toString().padStart(4, "0")}-${twoDigits(month)}-${twoDigits(day)}`;
}
