import { FORMATS, figure, TITLES } from "./figures.js";
import type { HistoryRow } from "./history.js";
import { METRICS, type Metric } from "./perf.js";
import { escapeXml, svg, ticksFromZero } from "./svg.js";

/** What is drawn, a column each. */
const DRAWN: readonly Metric[] = ["prefill_tokens_per_second", "decode_tokens_per_second", "load_ms"];
const PANEL = { left: 64, top: 70, width: 220, height: 150, columnStep: 310, rowStep: 250 };
/** Most versions that are written below an axis. */
const MOST_NAMES = 5;

/**
 * Medians over the versions as SVG: a row of panels for each model, a line for each format, axes from zero. A line joins versions that were measured on
 * the same processor with as many threads and the same Node; others can't be compared.
 * @param rows at least one
 */
export function historyPicture(rows: readonly HistoryRow[]): string {
  const versions = [...new Set(rows.map(({ version }) => version))];
  const models = [...new Set(rows.map(({ model }) => model.name))].sort();
  const width = PANEL.left + PANEL.columnStep * DRAWN.length;
  const panels = models.flatMap((name, row) =>
    DRAWN.flatMap((metric, column) =>
      panel(
        metric,
        rows.filter(({ model }) => model.name === name),
        versions,
        { left: PANEL.left + column * PANEL.columnStep, top: PANEL.top + row * PANEL.rowStep },
      ),
    ),
  );
  return svg(
    width,
    PANEL.top + PANEL.rowStep * models.length - 30,
    `Performance of ${models.join(" and ")} in versions ${versions.join(", ")}`,
    [
      ...Object.entries(FORMATS).map(
        ([, name], i) => `<g class="s${i}"><text class="name" x="${PANEL.left + 110 * i}" y="22">${name}</text></g>`,
      ),
      ...panels,
    ],
  );
}

function panel(
  metric: Metric,
  rows: readonly HistoryRow[],
  versions: readonly string[],
  { left, top }: { readonly left: number; readonly top: number },
): string[] {
  const ticks = ticksFromZero(Math.max(...rows.map(({ medians }) => medians[metric])));
  const x = (version: string): string => (left + ((versions.indexOf(version) + 0.5) / versions.length) * PANEL.width).toFixed(1);
  const y = (value: number): string => (top + PANEL.height * (1 - value / ticks.at(-1)!)).toFixed(1);
  const bottom = top + PANEL.height;
  const step = Math.ceil(versions.length / MOST_NAMES);
  const named = versions.filter((_, i) => (versions.length - 1 - i) % step === 0); // the newest, always
  return [
    `<text class="title" x="${left}" y="${top - 28}">${escapeXml(rows[0]!.model.name)}</text>`,
    `<text class="soft" x="${left}" y="${top - 10}">${TITLES[metric]}; ${METRICS[metric].more ? "more" : "less"} is better</text>`,
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${left}" x2="${left + PANEL.width}" y1="${y(tick)}" y2="${y(tick)}"/>`,
      `<text class="soft" x="${left - 8}" y="${Number(y(tick)) + 4}" text-anchor="end">${tick}</text>`,
    ]),
    ...named.map((version) => `<text class="soft" x="${x(version)}" y="${bottom + 18}" text-anchor="middle">${escapeXml(version)}</text>`),
    ...Object.keys(FORMATS).flatMap((format, i) => {
      const own = rows.filter(({ model }) => model.format === format);
      const point = ({ version, medians }: HistoryRow): string => `${x(version)},${y(medians[metric])}`;
      return [
        `<g class="s${i}">`,
        ...stretches(own).map((of) => `<polyline points="${of.map(point).join(" ")}"/>`),
        ...own.map(
          (row) =>
            `<circle cx="${x(row.version)}" cy="${y(row.medians[metric])}" r="4"><title>${escapeXml(row.version)}: ${figure(metric, row.medians[metric])}</title></circle>`,
        ),
        "</g>",
      ];
    }),
  ];
}

/** Rows in a row that were measured alike. */
function stretches(rows: readonly HistoryRow[]): HistoryRow[][] {
  const found: HistoryRow[][] = [];
  for (const row of rows) {
    const last = found.at(-1)?.at(-1);
    if (last && machineOf(last) === machineOf(row)) found.at(-1)!.push(row);
    else found.push([row]);
  }
  return found;
}

function machineOf({
  provenance: { platform, node, threads, kernel_tier: tier },
  settings: { iterations: _, ...settings },
}: HistoryRow): string {
  return JSON.stringify([platform.cpu, platform.cores, platform.arch, node.split(".")[0], threads, tier, settings]);
}
