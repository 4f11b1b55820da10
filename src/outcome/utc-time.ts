// Instants in the names of files, in UTC.

import { dayNumber, rfc3339 } from "../core/civil-date.ts";
import { dayMs, type Instant } from "../core/time.ts";

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
