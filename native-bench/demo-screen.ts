// What the demo shows while it runs: a small table redrawn in place on a terminal, one plain line a second elsewhere.

import type { WriteStream } from "node:tty";

export interface DemoView {
  readonly seconds: number;
  readonly messages: number;
  readonly submitted: number;
  readonly delivered: number;
  readonly deferrals: number;
  readonly bounced: number;
  readonly waiting: number;
  readonly perSecond: number;
  readonly operators: readonly OperatorRow[];
  /** What just happened to the world. */
  readonly note: string;
}

export interface OperatorRow {
  readonly name: string;
  readonly trait: string;
  readonly delivered: number;
  readonly deferred: number;
  readonly refused: number;
  readonly connections: number;
  readonly breaches: number;
}

const barWidth = 32;
const plainEveryMs = 1_000;

export class DemoScreen {
  readonly #out: WriteStream;
  #linesDrawn = 0;
  #lastPlainAt = 0;
  #lastNote = "";

  constructor(out: WriteStream) {
    this.#out = out;
  }

  draw(view: DemoView, nowMs: number): void {
    if (this.#out.isTTY) this.#redraw(tableOf(view));
    else if (nowMs - this.#lastPlainAt >= plainEveryMs) {
      this.#lastPlainAt = nowMs;
      this.#out.write(`${plainLine(view)}${view.note === this.#lastNote ? "" : `  (${view.note})`}\n`);
      this.#lastNote = view.note;
    }
  }

  /** The last state stays on the screen; what follows is written below it. */
  finish(view: DemoView): void {
    if (this.#out.isTTY) this.#redraw(tableOf(view));
    else this.#out.write(`${operatorLines(view).join("\n")}\n`);
    this.#linesDrawn = 0;
  }

  #redraw(lines: readonly string[]): void {
    const width = this.#out.columns > 0 ? this.#out.columns : 120;
    const up = this.#linesDrawn > 0 ? `\x1b[${this.#linesDrawn}A` : "";
    const body = lines.map((line) => `\x1b[2K${line.slice(0, width - 1)}\n`).join("");
    this.#out.write(`${up}${body}`);
    this.#linesDrawn = lines.length;
  }
}

function tableOf(view: DemoView): string[] {
  return [
    "",
    `  ${view.seconds.toFixed(1).padStart(5)} s   ${view.note}`,
    "",
    `  accepted   ${bar(view.submitted, view.messages)} ${view.submitted} of ${view.messages}`,
    `  delivered  ${bar(view.delivered, view.messages)} ${view.delivered}   ${view.perSecond.toFixed(0)} msg/s`,
    `  bounced ${view.bounced}   deferrals ${view.deferrals}   waiting ${view.waiting}`,
    "",
    ...operatorLines(view),
    "",
  ];
}

function operatorLines(view: DemoView): string[] {
  const head = `  ${"operator".padEnd(12)}${"delivered".padStart(10)}${"deferred".padStart(10)}${"refused".padStart(9)}${"open".padStart(6)}${"limits broken".padStart(15)}`;
  return [head, ...view.operators.map(operatorLine)];
}

function operatorLine(row: OperatorRow): string {
  const numbers = [
    String(row.delivered).padStart(10),
    String(row.deferred).padStart(10),
    String(row.refused).padStart(9),
    String(row.connections).padStart(6),
    String(row.breaches).padStart(15),
  ];
  return `  ${row.name.padEnd(12)}${numbers.join("")}   ${row.trait}`;
}

function plainLine(view: DemoView): string {
  return (
    `${view.seconds.toFixed(1).padStart(6)} s  accepted ${view.submitted}  delivered ${view.delivered}  ` +
    `bounced ${view.bounced}  deferrals ${view.deferrals}  waiting ${view.waiting}  ${view.perSecond.toFixed(0)} msg/s`
  );
}

function bar(value: number, of: number): string {
  const filled = Math.round((Math.min(value, of) / Math.max(of, 1)) * barWidth);
  return "█".repeat(filled) + "░".repeat(barWidth - filled);
}
