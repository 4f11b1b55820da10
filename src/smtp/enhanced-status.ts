// Enhanced status codes (RFC 3463) at the beginning of a reply's text (RFC 2034 section 4).

/**
 * The length of the enhanced status code that `text` begins with, when its class fits the reply's code; else 0.
 * Only the classes 2, 4 and 5 exist, subject and detail have one to three digits, and a blank or the end follows.
 */
export function enhancedStatusLength(text: string, code: number): number {
  const first = text.charCodeAt(0) - zero;
  if (first !== Math.floor(code / 100) || (first !== 2 && first !== 4 && first !== 5)) return 0;
  const subjectEnd = numberEnd(text, 1);
  if (subjectEnd === 0) return 0;
  const detailEnd = numberEnd(text, subjectEnd);
  if (detailEnd === 0) return 0;
  return detailEnd === text.length || text.charCodeAt(detailEnd) === blank ? detailEnd : 0;
}

const zero = 48;
const dot = 46;
const blank = 32;

/** The end of `.` and one to three digits at `at`, or 0. */
function numberEnd(text: string, at: number): number {
  if (text.charCodeAt(at) !== dot) return 0;
  let end = at + 1;
  while (end - at <= 3 && isDigit(text.charCodeAt(end))) end++;
  return end > at + 1 ? end : 0;
}

function isDigit(unit: number): boolean {
  return unit >= zero && unit <= zero + 9;
}
