// The date format of header fields (RFC 5322 section 3.3).

import { civilDate, dayNumberAt, twoDigits } from "../core/civil-date.ts";
import { dayMs, hourMs, type Instant, minuteMs, secondMs } from "../core/time.ts";

const dayNames = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const monthNames = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** RFC 5322 section 3.3, in UTC: `Sat, 21 Nov 2026 17:24:00 +0000`. */
export function dateTime(at: Instant): string {
  const days = dayNumberAt(at);
  const rest = at - days * dayMs;
  const { year, month, day } = civilDate(days);
  const hours = twoDigits(Math.floor(rest / hourMs));
  const minutes = twoDigits(Math.floor((rest % hourMs) / minuteMs));
  const seconds = twoDigits(Math.floor((rest % minuteMs) / secondMs));
  const dayName = dayNames[((days % 7) + 7) % 7] as string;
  return `${dayName}, ${twoDigits(day)} ${monthNames[month - 1] as string} ${year} ${hours}:${minutes}:${seconds} +0000`;
}
