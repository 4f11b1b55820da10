// How `postern top` shows its figures: as lines that fit a terminal, and on a terminal that is given back as it was.

import { formatSpan, formatTable } from "./output.ts";
import { type Figures, waitingOf } from "./top-figures.ts";

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** What a screen needs of process.stdout. */
export interface Terminal {
  readonly columns?: number;
  readonly rows?: number;
  /** The terminal does not take what it was given before. */
  readonly writableNeedDrain?: boolean;
  write(text: string): unknown;
  on(event: "resize", listener: () => void): unknown;
  off(event: "resize", listener: () => void): unknown;
}

/** As old terminals have it, for one that does not say. */
const usualSize: Size = { columns: 80, rows: 24 };
/** Rows of lanes, and of queues, where no terminal's height decides. */
export const rowsPlainMax = 10;
const columnsPlainMax = 250;

// Controls, and what turns the direction of writing or is not seen: a peer that sends them would write on our screen.
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** `text` with each control character as `\u{1b}`. */
export function printable(text: string): string {
  return text.replaceAll(unseen, (sign) => `\\u{${(sign.codePointAt(0) as number).toString(16)}}`);
}

/** One line of JSON without control characters, those that JSON allows included. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(unseen, (sign) =>
    Array.from({ length: sign.length }, (_, i) => `\\u${sign.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""),
  );
}

/**
 * One look as lines, none with a control character. `size` undefined: for a file or a pipe. `trouble` says why the
 * figures are old.
 */
export function drawLook(
  where: string,
  figures: Figures,
  trouble: string | undefined,
  size: Size | undefined,
): string[] {
  const head = [
    `postern top  ${where}  ${new Date(figures.at).toISOString().slice(0, 19).replace("T", " ")}Z`,
    throughputLine(figures),
    ...(trouble === undefined ? [] : [`! ${trouble}`]),
  ];
  const tables = [streamTable(figures), laneTable(figures), queueTable(figures)];
  // A blank line and the heads of the columns stand above the rows of each table.
  const rowsMax = size === undefined ? undefined : size.rows - head.length - 2 * tables.length;
  const shares =
    rowsMax === undefined
      ? [Infinity, rowsPlainMax, rowsPlainMax]
      : shareOut(
          rowsMax,
          tables.map(({ rows }) => Math.max(rows.length, 1)),
        );
  const lines = [...head, ...tables.flatMap((table, i) => ["", ...drawTable(table, shares[i] as number)])];
  const columns = size?.columns ?? columnsPlainMax;
  return lines.slice(0, size?.rows).map((line) => cut(printable(line), columns));
}

interface Table {
  readonly heads: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
  readonly total: number;
  readonly none: string;
}

function drawTable({ heads, rows, total, none }: Table, rowsMax: number): string[] {
  if (rows.length === 0) return [none];
  const shown = rows.length <= rowsMax && total <= rows.length ? rows : rows.slice(0, Math.max(0, rowsMax - 1));
  const clean = shown.map((row) => row.map((cell) => (typeof cell === "number" ? cell : printable(cell))));
  const more = total - shown.length;
  return [...formatTable(heads, clean).split("\n"), ...(more > 0 ? [`and ${more} more`] : [])];
}

function throughputLine({ throughput, overSeconds }: Figures): string {
  if (throughput === null || overSeconds === null) return "rates are known at the second look";
  const { accepted, delivered, deferred, failed } = throughput;
  return `messages/s: ${formatPerSecond(accepted)} accepted; recipients/s: ${formatPerSecond(delivered)} delivered, ${formatPerSecond(deferred)} deferred, ${formatPerSecond(failed)} failed (over ${overSeconds.toFixed(1)} s)`;
}

function streamTable({ streams }: Figures): Table {
  const states = [...new Set(streams.flatMap(({ waiting }) => Object.keys(waiting)))];
  return {
    heads: ["STREAM", "WAITING", ...states.map((state) => state.toUpperCase()), "IN/S", "OUT/S", "P50", "P99"].map(
      printable,
    ),
    rows: streams.map((stream) => [
      stream.stream,
      waitingOf(stream),
      ...states.map((state) => stream.waiting[state] ?? 0),
      formatPerSecond(stream.accepted),
      formatPerSecond(stream.delivered),
      formatSeconds(stream.p50Seconds),
      formatSeconds(stream.p99Seconds),
    ]),
    total: streams.length,
    none: "no stream has had mail yet",
  };
}

function laneTable({ lanes, at }: Figures): Table {
  return {
    heads: ["SOURCE", "SITE", "READY", "BUSY+IDLE+NEW/MAX", "SUSPENDED"],
    rows: lanes.map(({ source, site, ready, busy, idle, connecting, max, suspendedUntil, suspendedBecause }) => [
      source,
      site,
      ready,
      `${busy}+${idle}+${connecting}/${max}`,
      suspendedUntil === null ? "-" : `for ${formatSpan(suspendedUntil - at)}: ${suspendedBecause ?? "?"}`,
    ]),
    total: lanes.length,
    none: "no lane is in use",
  };
}

function queueTable({ queues, queuesTotal }: Figures): Table {
  return {
    heads: ["STREAM", "DOMAIN", "SITE", "RECIPIENTS", "IN FLIGHT", "WAITS FOR"],
    rows: queues.map(({ stream, domain, site, recipients, inFlight, waitsFor }) => [
      stream,
      domain,
      site ?? "-",
      recipients,
      inFlight,
      waitsFor,
    ]),
    total: Math.max(queues.length, queuesTotal),
    none: "no mail waits",
  };
}

/** Gives `available` rows away one by one, in turn, to each that wants more. */
export function shareOut(available: number, wants: readonly number[]): number[] {
  const shares = wants.map(() => 0);
  let left = Math.max(0, available);
  while (left > 0) {
    const before = left;
    for (const [i, want] of wants.entries()) {
      if (left === 0 || (shares[i] as number) >= want) continue;
      shares[i] = (shares[i] as number) + 1;
      left--;
    }
    if (left === before) break;
  }
  return shares;
}

function formatPerSecond(rate: number | null): string {
  if (rate === null) return "-";
  return rate === 0 || rate >= 100 ? String(Math.round(rate)) : rate.toFixed(1);
}

function formatSeconds(seconds: number | null): string {
  if (seconds === null) return "-";
  if (seconds < 1) return `${Math.round(seconds * 1_000)}ms`;
  return seconds < 60 ? `${seconds.toFixed(1)}s` : formatSpan(seconds * 1_000);
}

function cut(line: string, columns: number): string {
  if (line.length <= columns) return line;
  const signs = [...line];
  return signs.length <= columns ? line : `${signs.slice(0, Math.max(0, columns - 1)).join("")}…`;
}

/** The alternate screen of a terminal, taken at the first frame and given back by `close`. */
export class Screen {
  readonly #terminal: Terminal;
  readonly #redraw = () => this.#write();
  #draw: ((size: Size) => string[]) | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Draws now, and again when the terminal changes its size. */
  show(draw: (size: Size) => string[]): void {
    if (this.#draw === undefined) {
      // Alternate screen; no cursor; no line goes on in the next row, whatever the width of its signs.
      this.#terminal.write("\x1b[?1049h\x1b[?25l\x1b[?7l");
      this.#terminal.on("resize", this.#redraw);
    }
    this.#draw = draw;
    this.#write();
  }

  close(): void {
    if (this.#draw === undefined) return;
    this.#draw = undefined;
    this.#terminal.off("resize", this.#redraw);
    this.#terminal.write("\x1b[?7h\x1b[?25h\x1b[?1049l");
  }

  #write(): void {
    const { columns, rows, writableNeedDrain } = this.#terminal;
    if (this.#draw === undefined || writableNeedDrain === true) return;
    const lines = this.#draw({ columns: columns || usualSize.columns, rows: rows || usualSize.rows });
    // Each row is cleared before it is written, and with the last one all below: nothing flickers, and a sign in the last
    // column stays.
    const frame = lines.map((line, i) => `${i < lines.length - 1 ? "\x1b[K" : "\x1b[J"}${line}`).join("\r\n");
    this.#terminal.write(`\x1b[H${frame}`);
  }
}
