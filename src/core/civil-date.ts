// The proleptic Gregorian calendar over days since 1970-01-01, and instants as text in UTC, without reading any clock.
//
// Days are counted in eras of 400 years whose years begin on the first of March: the leap day comes last.

import { dayMs, type Instant } from "./time.ts";

export interface CivilDate {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  /** 1 to 31. */
  readonly day: number;
}

const daysPerEra = 146_097;
const daysFromEraToEpoch = 719_468;

/** Days since 1970-01-01 that had begun at that instant, in UTC; negative before it. */
export function dayNumberAt(at: Instant): number {
  return Math.floor(at / dayMs);
}

export function civilDate(days: number): CivilDate {
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
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

/** The other way: days since 1970-01-01 of a date. */
export function dayNumber({ year, month, day }: CivilDate): number {
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

/** A number below 100 with two digits, as dates and times are written. */
export function twoDigits(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

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

function datePart(days: number): string {
  const { year, month, day } = civilDate(days);
  return `${year.toString().padStart(4, "0")}-${twoDigits(month)}-${twoDigits(day)}`;
}
