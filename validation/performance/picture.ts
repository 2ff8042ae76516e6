import { FORMATS, figure, TITLES } from "./figures.js";
import { METRIC_NAMES, METRICS, type Metric, type PerfRecord } from "./perf.js";

/** Where a panel's rows begin and end, and where text stands beside them. */
const LEFT = 110;
const RIGHT = 730;
const WIDTH = 900;
const TOP = 44;
const ROW = 26;
const TITLE = 26;
const AXIS = 34;

/**
 * The samples of each metric as SVG: a panel a metric with its own axis, a row a format; dots are samples, the thick mark is the median, the
 * thin one p95. Colours follow the reader's scheme.
 */
export function perfPicture(pair: readonly PerfRecord[]): string {
  const panel = TITLE + ROW * pair.length + AXIS;
  const height = TOP + panel * METRIC_NAMES.length;
  const { model, provenance: from } = pair[0]!;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${escapeXml(`Samples of ${model.name}: ${METRIC_NAMES.map((metric) => TITLES[metric]).join("; ")}`)}</title>`,
    "<style>",
    "text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .soft { fill: #59636e } .grid { stroke: #d1d9e0 }",
    "circle { fill-opacity: 0.45 }",
    colours("#0969da", "#bc4c00"),
    ".median { stroke-width: 3 } .p95 { stroke-width: 1 }",
    "@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #3d444d }",
    `${colours("#4493f8", "#f0883e")} }`,
    "</style>",
    `<text class="title" x="12" y="24">${escapeXml(model.name)}</text>`,
    `<text class="soft" x="${WIDTH - 12}" y="24" text-anchor="end">${escapeXml(`${from.platform.cpu}, ${from.threads} threads, Node ${from.node}; a dot is a process, the thick mark the median, the thin one p95`)}</text>`,
    ...METRIC_NAMES.flatMap((metric, i) => drawPanel(metric, pair, TOP + panel * i)),
    "</svg>",
  ].join("\n")}\n`;
}

/** One colour a format. Written out: not every reader of SVG knows CSS variables. */
function colours(safetensors: string, gguf: string): string {
  return Object.entries({ safetensors, gguf })
    .map(([name, colour]) => `.${name} circle, .${name} .name { fill: ${colour} } .${name} line { stroke: ${colour} }`)
    .join(" ");
}

function drawPanel(metric: Metric, pair: readonly PerfRecord[], top: number): string[] {
  const all = pair.flatMap(({ metrics }) => metrics[metric].samples);
  const ticks = ticksAround(Math.min(...all), Math.max(...all), METRICS[metric].unit === "bytes" ? 2 ** 20 : 1);
  const [low, high] = [ticks[0]!, ticks.at(-1)!];
  const x = (value: number): string => (LEFT + ((value - low) / (high - low)) * (RIGHT - LEFT)).toFixed(1);
  const bottom = top + TITLE + ROW * pair.length;
  const better = METRICS[metric].more ? "more is better" : "less is better";
  return [
    `<text class="title" x="12" y="${top + 16}">${TITLES[metric]}</text><text class="soft" x="${RIGHT}" y="${top + 16}" text-anchor="end">${better}</text>`,
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${top + TITLE}" y2="${bottom}"/>`,
      `<text class="soft" x="${x(tick)}" y="${bottom + 14}" text-anchor="middle">${tickText(metric, tick)}</text>`,
    ]),
    ...pair.flatMap(({ model, metrics }, row) => {
      const y = top + TITLE + ROW * row + ROW / 2;
      const { median, p95, min, max, samples } = metrics[metric];
      const mark = (name: string, value: number, half: number): string =>
        `<line class="${name}" x1="${x(value)}" x2="${x(value)}" y1="${y - half}" y2="${y + half}"/>`;
      return [
        `<g class="${model.format}">`,
        `<text class="name" x="12" y="${y + 4}">${FORMATS[model.format]}</text>`,
        `<line x1="${x(min)}" x2="${x(max)}" y1="${y}" y2="${y}" stroke-opacity="0.4"/>`,
        ...samples.map((value) => `<circle cx="${x(value)}" cy="${y}" r="4"/>`),
        mark("median", median, 9),
        mark("p95", p95, 7),
        `<text x="${RIGHT + 14}" y="${y + 4}">${figure(metric, median)} ± ${figure(metric, metrics[metric].stddev)}</text>`,
        "</g>",
      ];
    }),
  ];
}

function tickText(metric: Metric, tick: number): string {
  return String(Number((METRICS[metric].unit === "bytes" ? tick / 2 ** 20 : tick).toPrecision(6)));
}

/** About five round numbers of `unit`, from at or below the least to at or above the most. */
export function ticksAround(least: number, most: number, unit: number): number[] {
  const spread = (Math.max(most - least, most * 0.02) || 1) / unit;
  const power = Number(`1e${(spread / 4).toExponential().split("e")[1]}`);
  const step = power * (spread / 4 / power > 5 ? 10 : spread / 4 / power > 2 ? 5 : spread / 4 / power > 1 ? 2 : 1);
  const from = Math.floor(least / unit / step);
  const to = Math.max(Math.ceil(most / unit / step), from + 1);
  return Array.from({ length: to - from + 1 }, (_, i) => Number(((from + i) * step).toPrecision(12)) * unit);
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
