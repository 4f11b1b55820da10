// Instants as RFC 3339 text in UTC, without reading any clock.

import { dayMs, type Instant } from "../core/time.ts";

/** `2026-11-21T17:24:00.123Z` (RFC 3339 section 5.6). For the years 0 to 9999. */
export function rfc3339(at: Instant): string {
  const whole = Math.floor(at);
  const days = Math.floor(whole / dayMs);
  let rest = whole - days * dayMs;
  const ms = rest % 1_000;
  rest = (rest - ms) / 1_000;
  const seconds = rest % 60;
  rest = (rest - seconds) / 60;
  const minutes = rest % 60;
  const hours = (rest - minutes) / 60;
  return `${civilDay(days)}T${two(hours)}:${two(minutes)}:${two(seconds)}.${ms < 100 ? `0${two(ms)}` : ms}Z`;
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
  return dayNumber(year, month, day) * dayMs + ((hours * 60 + minutes) * 60 + seconds) * 1_000;
}

// Days are counted in eras of 400 years whose years begin on the first of March: the leap day comes last.
const daysPerEra = 146_097;
const daysFromEraToEpoch = 719_468;

function civilDay(days: number): string {
  const shifted = days + daysFromEraToEpoch;
  const era = Math.floor(shifted / daysPerEra);
  const dayOfEra = shifted - era * daysPerEra;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${year.toString().padStart(4, "0")}-${two(month)}-${two(day)}`;
}

function dayNumber(year: number, month: number, day: number): number {
  const shiftedYear = month <= 2 ? year - 1 : year;
  const era = Math.floor(shiftedYear / 400);
  const yearOfEra = shiftedYear - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  return (
    era * daysPerEra +
    yearOfEra * 365 +
    Math.floor(yearOfEra / 4) -
    Math.floor(yearOfEra / 100) +
    dayOfYear -
    daysFromEraToEpoch
  );
}

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}
