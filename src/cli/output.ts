// How verbs speak: results on standard output, one line on standard error when something failed.

/**
 * The verb failed or was refused. The message says why and, where it can, what to do; exit status 1. An empty message:
 * all was said already.
 */
export class CommandFailure extends Error {}

/** The arguments contradict each other in a way that commander cannot see; exit status 2. */
export class UsageFailure extends Error {}

export function print(text: string): void {
  process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Columns as wide as their longest cell, two blanks apart. Numbers stand to the right. */
export function formatTable(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => String(row[i] ?? "").length)));
  const right = heads.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] === "number"));
  const line = (cells: readonly (string | number)[]) =>
    cells
      .map((cell, i) => (right[i] ? String(cell).padStart(widths[i] ?? 0) : String(cell).padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return [line(heads), ...rows.map(line)].join("\n");
}

/** `2026-11-21 17:35:14Z (in 5m)`; "-" for undefined. */
export function formatInstant(at: number | undefined, now = Date.now()): string {
  if (at === undefined) return "-";
  const text = `${new Date(at).toISOString().slice(0, 19).replace("T", " ")}Z`;
  return `${text} (${at >= now ? `in ${formatSpan(at - now)}` : `${formatSpan(now - at)} ago`})`;
}

/** The two largest units: `4d12h`, `3m20s`. */
export function formatSpan(ms: number): string {
  const units: [string, number][] = [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1_000],
  ];
  let rest = Math.max(0, ms);
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join("") || "0s";
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = bytes > 0 ? Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1) : 0;
  const value = bytes / 2 ** (10 * step);
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[step]}`;
}
