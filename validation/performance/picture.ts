import { FORMATS, figure, TITLES } from "./figures.js";
import { METRIC_NAMES, METRICS, type Metric, type PerfRecord } from "./perf.js";
import { escapeXml, svg, ticksFromZero } from "./svg.js";

/** Where a panel's rows begin and end, and where text stands beside them. */
const LEFT = 110;
const RIGHT = 730;
const WIDTH = 900;
const TOP = 44;
const ROW = 26;
const TITLE = 26;
const AXIS = 34;

/**
 * The samples of each metric as SVG: a panel for each metric, with its own axis from zero, and a row for each format. Dots are samples, the thick
 * mark is the median, the thin one p95.
 */
export function perfPicture(pair: readonly PerfRecord[]): string {
  const panel = TITLE + ROW * pair.length + AXIS;
  const { model, provenance: from } = pair[0]!;
  const on = `${from.platform.cpu}, ${from.threads} threads, Node ${from.node}`;
  return svg(
    WIDTH,
    TOP + panel * METRIC_NAMES.length,
    `Samples of ${model.name}: ${METRIC_NAMES.map((metric) => TITLES[metric]).join("; ")}`,
    [
      `<text class="title" x="12" y="24">${escapeXml(model.name)}</text>`,
      `<text class="soft" x="${WIDTH - 12}" y="24" text-anchor="end">${escapeXml(`${on}; dots: samples, thick mark: median, thin mark: p95`)}</text>`,
      ...METRIC_NAMES.flatMap((metric, i) => drawPanel(metric, pair, TOP + panel * i)),
    ],
  );
}

function drawPanel(metric: Metric, pair: readonly PerfRecord[], top: number): string[] {
  const all = pair.flatMap(({ metrics }) => metrics[metric].samples);
  const unit = METRICS[metric].unit === "bytes" ? 2 ** 20 : 1;
  const ticks = ticksFromZero(Math.max(...all) / unit);
  const x = (value: number): string => (LEFT + (value / unit / ticks.at(-1)!) * (RIGHT - LEFT)).toFixed(1);
  const bottom = top + TITLE + ROW * pair.length;
  const better = METRICS[metric].more ? "more is better" : "less is better";
  return [
    `<text class="title" x="12" y="${top + 16}">${TITLES[metric]}</text><text class="soft" x="${RIGHT}" y="${top + 16}" text-anchor="end">${better}</text>`,
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${x(tick * unit)}" x2="${x(tick * unit)}" y1="${top + TITLE}" y2="${bottom}"/>`,
      `<text class="soft" x="${x(tick * unit)}" y="${bottom + 14}" text-anchor="middle">${tick}</text>`,
    ]),
    ...pair.flatMap(({ model, metrics }, row) => {
      const y = top + TITLE + ROW * row + ROW / 2;
      const { median, p95, min, max, samples } = metrics[metric];
      const mark = (value: number, half: number, width: number): string =>
        `<line x1="${x(value)}" x2="${x(value)}" y1="${y - half}" y2="${y + half}" stroke-width="${width}"/>`;
      return [
        `<g class="s${model.format === "safetensors" ? 0 : 1}">`,
        `<text class="name" x="12" y="${y + 4}">${FORMATS[model.format]}</text>`,
        `<line x1="${x(min)}" x2="${x(max)}" y1="${y}" y2="${y}" stroke-opacity="0.4"/>`,
        ...samples.map((value) => `<circle cx="${x(value)}" cy="${y}" r="4" fill-opacity="0.45"/>`),
        mark(median, 9, 3),
        mark(p95, 7, 1),
        `<text x="${RIGHT + 14}" y="${y + 4}">${figure(metric, median)} ± ${figure(metric, metrics[metric].stddev)}</text>`,
        "</g>",
      ];
    }),
  ];
}
