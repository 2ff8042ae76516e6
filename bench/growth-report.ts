import { COLOURS, escapeXml, svg, ticksFromZero } from "../validation/performance/svg.js";
import type { Machine } from "./machine.js";

/** Median and extremes of some repetitions. */
export interface Rate {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Tokens per second at a length. */
export interface GrowthPoint {
  /** Tokens of the prompt, or in the cache. */
  readonly at: number;
  readonly rate: Rate;
}

/** One size of model. */
export interface GrowthSeries {
  readonly shape: string;
  readonly parameters: number;
  /** A whole prompt. */
  readonly prefill: readonly GrowthPoint[];
  /** Tokens one by one behind a prompt. */
  readonly decode: readonly GrowthPoint[];
}

/** How speed changes with length and size. Plain data. */
export interface GrowthReport {
  readonly machine: Machine;
  readonly tier: string;
  readonly threads: number;
  /** Further flags of `bitnet bench`. */
  readonly flags: readonly string[];
  readonly series: readonly GrowthSeries[];
}

const rate = (perSecond: number): string => perSecond.toFixed(perSecond < 100 ? 1 : 0);
const size = (parameters: number): string =>
  parameters < 1e9 ? `${(parameters / 1e6).toFixed(0)} M` : `${(parameters / 1e9).toFixed(1)} B`;

/** The figures as Markdown. */
export function growthTable({ machine: on, tier, threads, flags, series }: GrowthReport): string {
  const tables = (["decode", "prefill"] as const).flatMap((kind) => {
    const lengths = series[0]?.[kind].map(({ at }) => at) ?? [];
    return [
      "",
      `| ${kind} | ${lengths.join(" | ")} |`,
      `|---|${lengths.map(() => "---:").join("|")}|`,
      ...series.map((one) => `| ${one.shape} | ${one[kind].map((point) => rate(point.rate.median)).join(" | ")} |`),
    ];
  });
  const given = flags.length > 0 ? `, ${flags.join(" ")}` : "";
  return [
    `${on.cpu}, ${on.cores} cores, Node ${on.node}, ${on.date}; ${tier} kernels, ${threads} threads${given}. Tokens per second; columns are tokens in the cache (decode) or in the prompt (prefill).`,
    ...tables,
  ].join("\n");
}

/** Where panels lie: one a size in each row, a row a kind. */
const PANEL = { top: 56, height: 170, width: 220, left: 56, columnStep: 290, rowStep: 270 };

/**
 * Tokens per second over length as SVG: a panel for each kind and size, each with an axis of its own that begins at zero, since a large model is
 * ten times slower than a small one. The line joins medians, bars are the extremes.
 */
export function growthPicture({ machine: on, threads, series }: GrowthReport): string {
  const width = PANEL.left + PANEL.columnStep * series.length;
  const height = 2 * PANEL.rowStep + 20;
  const title = `Tokens per second over context length, ${on.cpu}, ${threads} threads`;
  const panels = (["decode", "prefill"] as const).flatMap((kind, row) =>
    series.flatMap((one, column) => panel(kind, one, column, PANEL.left + column * PANEL.columnStep, PANEL.top + row * PANEL.rowStep)),
  );
  return svg(width, height, title, panels);
}

function panel(kind: "decode" | "prefill", one: GrowthSeries, column: number, left: number, top: number): string[] {
  const points = one[kind];
  const longest = Math.max(...points.map(({ at }) => at), 1);
  const ticks = ticksFromZero(Math.max(...points.map((point) => point.rate.max), 0));
  const x = (at: number): string => (left + (at / longest) * PANEL.width).toFixed(1);
  const y = (value: number): string => (top + PANEL.height * (1 - value / ticks.at(-1)!)).toFixed(1);
  const right = left + PANEL.width;
  const bottom = top + PANEL.height;
  const lengths = [0, Math.round(longest / 2), longest];
  return [
    `<text class="title" x="${left}" y="${top - 28}">${escapeXml(`${one.shape} (${size(one.parameters)} parameters)`)}</text>`,
    `<text class="soft" x="${left}" y="${top - 10}">${kind}, tokens per second</text>`,
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${left}" x2="${right}" y1="${y(tick)}" y2="${y(tick)}"/>`,
      `<text class="soft" x="${left - 8}" y="${Number(y(tick)) + 4}" text-anchor="end">${tick}</text>`,
    ]),
    ...lengths.map((at) => `<text class="soft" x="${x(at)}" y="${bottom + 18}" text-anchor="middle">${at}</text>`),
    `<text class="soft" x="${left + PANEL.width / 2}" y="${bottom + 36}" text-anchor="middle">tokens ${kind === "decode" ? "in the cache" : "in the prompt"}</text>`,
    `<g class="s${column % COLOURS}">`,
    `<polyline points="${points.map(({ at, rate: { median } }) => `${x(at)},${y(median)}`).join(" ")}"/>`,
    ...points.map(({ at, rate: { min, max } }) => `<line x1="${x(at)}" x2="${x(at)}" y1="${y(min)}" y2="${y(max)}"/>`),
    ...points.map(({ at, rate: { median } }) => `<circle cx="${x(at)}" cy="${y(median)}" r="3"/>`),
    "</g>",
  ];
}
