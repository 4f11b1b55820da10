// Charts as SVG text: lines over time, lines over percentiles, and bars. No script, no library.

export interface Series {
  readonly name: string;
  /** Rising in x, from 0 on or above. */
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LineChart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  /** Instead of numbers at even places: values of x with their words. */
  readonly xTicks?: readonly (readonly [x: number, text: string])[] | undefined;
  readonly logarithmic?: boolean | undefined;
}

const width = 560;
const height = 260;
const plot = { left: 64, right: 12, top: 34, bottom: 40 } as const;
const ticksMax = 6;
const colours = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a"];
/** Longer series are thinned out: more points than pixels show nothing. */
const pointsMax = 400;

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

export function lineChart(chart: LineChart): string {
  const series = chart.series.filter(({ points }) => points.length > 0);
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const ys = series.flatMap(({ points }) => points.map(([, y]) => y));
  const x = { from: 0, until: Math.max(most(xs), 1e-9) };
  const log = chart.logarithmic === true;
  const floor = log ? 10 ** Math.floor(Math.log10(Math.max(0.01, least(ys)))) : 0;
  const top = log ? 10 ** Math.ceil(Math.log10(Math.max(floor * 10, most(ys)))) : niceTop(most(ys));
  const atX = (value: number): number =>
    plot.left + ((value - x.from) / (x.until - x.from)) * (width - plot.left - plot.right);
  const share = (value: number): number =>
    log ? Math.log10(Math.max(value, floor) / floor) / Math.log10(top / floor) : value / top;
  const atY = (value: number): number => height - plot.bottom - share(value) * (height - plot.top - plot.bottom);
  const yTicks = log ? powers(floor, top) : tickTexts(evenly(top));
  const xTicks = chart.xTicks ?? tickTexts(evenly(x.until));
  const parts = [
    ...yTicks.map(([value, text]) => yTick(atY(value), text)),
    ...xTicks.map(([value, text]) => xTick(atX(value), text)),
    label(width / 2, height - 4, "middle", chart.xLabel),
    label(6, plot.top - 8, "start", chart.yLabel),
    ...series.map(({ points }, i) => {
      const path = thinned(points).map(([px, py]) => `${atX(px).toFixed(1)},${atY(py).toFixed(1)}`);
      return `<polyline fill="none" stroke="${colours[i % colours.length]}" stroke-width="1.6" points="${path.join(" ")}"/>`;
    }),
  ];
  return figure(chart.title, parts, legend(series.map(({ name }) => name)));
}

export function barChart(
  title: string,
  bars: readonly (readonly [name: string, value: number])[],
  unit: string,
  coloured: "alike" | "each" = "alike",
): string {
  const top = niceTop(most(bars.map(([, value]) => value)));
  const rowHeight = 20;
  const nameWidth = 110;
  const parts = bars.map(([name, value], i) => {
    const y = 8 + i * rowHeight;
    const length = (value / top) * (width - nameWidth - 90);
    return (
      `${label(nameWidth - 6, y + 13, "end", name)}<rect x="${nameWidth}" y="${y + 2}" width="${length.toFixed(1)}" ` +
      `height="14" fill="${colours[coloured === "each" ? i % colours.length : 0]}"/>${label(nameWidth + length + 6, y + 13, "start", `${numberText(value)} ${unit}`)}`
    );
  });
  return figure(title, parts, "", 16 + bars.length * rowHeight);
}

function figure(title: string, parts: readonly string[], legendText: string, svgHeight = height): string {
  return (
    `<figure><figcaption>${escapeHtml(title)}${legendText}</figcaption>` +
    `<svg viewBox="0 0 ${width} ${svgHeight}" role="img" aria-label="${escapeHtml(title)}">${parts.join("")}</svg></figure>`
  );
}

function legend(names: readonly string[]): string {
  if (names.length < 2) return "";
  const items = names.map(
    (name, i) => `<span class="key" style="--key:${colours[i % colours.length]}">${escapeHtml(name)}</span>`,
  );
  return `<span class="legend">${items.join("")}</span>`;
}

function yTick(y: number, text: string): string {
  return (
    `<line x1="${plot.left}" x2="${width - plot.right}" y1="${y.toFixed(1)}" y2="${y.toFixed(1)}" class="grid"/>` +
    label(plot.left - 6, y + 4, "end", text)
  );
}

function xTick(x: number, text: string): string {
  return label(x, height - plot.bottom + 16, "middle", text);
}

function label(x: number, y: number, anchor: "start" | "middle" | "end", text: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escapeHtml(text)}</text>`;
}

function thinned(points: Series["points"]): Series["points"] {
  const step = Math.ceil(points.length / pointsMax);
  return step <= 1 ? points : points.filter((_, i) => i % step === 0 || i === points.length - 1);
}

function least(values: readonly number[]): number {
  return values.reduce((one, other) => Math.min(one, other), values[0] ?? 0);
}

function most(values: readonly number[]): number {
  return values.reduce((one, other) => Math.max(one, other), values[0] ?? 0);
}

/** The next of 1, 2, 2.5, 5 times a power of ten. */
function niceTop(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= value) ?? 10);
}

/** From 0 on, in steps of 1, 2, 2.5 or 5 times a power of ten. */
function evenly(until: number): number[] {
  const step = niceTop(until / ticksMax);
  return Array.from({ length: Math.floor(until / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** All in the same unit, and with as many decimals as the step needs. */
function tickTexts(values: readonly number[]): [value: number, text: string][] {
  const isLarge = most(values) >= 10_000;
  const unit = isLarge ? 1_000 : 1;
  const step = ((values[1] ?? 0) - (values[0] ?? 0)) / unit;
  const decimals = [0, 1, 2].find((count) => Math.abs(step * 10 ** count - Math.round(step * 10 ** count)) < 1e-9) ?? 3;
  return values.map((value) => [value, value === 0 ? "0" : `${(value / unit).toFixed(decimals)}${isLarge ? "k" : ""}`]);
}

function powers(from: number, until: number): [value: number, text: string][] {
  const ticks: [number, string][] = [];
  for (let value = from; value <= until * 1.001; value *= 10) ticks.push([value, String(Number(value.toPrecision(1)))]);
  return ticks;
}

function numberText(value: number): string {
  if (value >= 10_000) return `${(value / 1_000).toFixed(value < 100_000 && value % 1_000 !== 0 ? 1 : 0)}k`;
  if (Number.isInteger(value)) return String(value);
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(2);
}
