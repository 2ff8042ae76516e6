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
    `${on.cpu}, ${on.cores} cores, Node ${on.node}, ${on.date}; ${tier} kernels, ${threads} threads${given}. Tokens per second; columns are tokens in the cache, or of the prompt.`,
    ...tables,
  ].join("\n");
}

/** Where a panel's curves lie. */
const PANEL = { top: 48, height: 260, width: 300 };
const LEFTS = [56, 496];
const WIDTH = 900;
const HEIGHT = 360;

/**
 * Both kinds of curves side by side as SVG: tokens per second on a logarithmic axis, a line a size with its name at the end, and the extremes
 * as thin bars. Colours follow the reader's scheme.
 */
export function growthPicture({ machine: on, threads, series }: GrowthReport): string {
  const panels = (["decode", "prefill"] as const).map((kind, i) => panel(kind, series, LEFTS[i]!));
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">`,
    `<title>Tokens per second over context length, ${escapeXml(on.cpu)}, ${threads} threads</title>`,
    "<style>",
    "text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .soft { fill: #59636e } .grid { stroke: #d1d9e0 }",
    "polyline { fill: none; stroke-width: 2 }",
    colours(["#0969da", "#bc4c00", "#1a7f37", "#8250df"]),
    "@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #3d444d }",
    `${colours(["#4493f8", "#f0883e", "#3fb950", "#ab7df8"])} }`,
    "</style>",
    ...panels.flat(),
    "</svg>",
  ].join("\n")}\n`;
}

/** One colour a size. Written out: not every reader of SVG knows CSS variables. */
function colours(list: readonly string[]): string {
  return list
    .map((colour, i) => `.s${i} polyline, .s${i} .bar { stroke: ${colour} } .s${i} circle, .s${i} .name { fill: ${colour} }`)
    .join("\n");
}

function panel(kind: "decode" | "prefill", series: readonly GrowthSeries[], left: number): string[] {
  const points = series.flatMap((one) => one[kind]);
  const longest = Math.max(...points.map(({ at }) => at), 1);
  const ticks = ticksOf(Math.min(...points.map((point) => point.rate.min)), Math.max(...points.map((point) => point.rate.max)));
  const [low, high] = [Math.log(ticks[0]!), Math.log(ticks.at(-1)!)];
  const x = (at: number): string => (left + (at / longest) * PANEL.width).toFixed(1);
  const y = (value: number): string => (PANEL.top + PANEL.height * (1 - (Math.log(value) - low) / (high - low))).toFixed(1);
  const right = left + PANEL.width;
  const bottom = PANEL.top + PANEL.height;
  const title = kind === "decode" ? "decode, tokens/s over tokens in the cache" : "prefill, tokens/s over tokens of the prompt";
  return [
    `<text class="title" x="${left}" y="24">${title}</text>`,
    ...ticks.flatMap((tick) => [
      `<line class="grid" x1="${left}" x2="${right}" y1="${y(tick)}" y2="${y(tick)}"/>`,
      `<text class="soft" x="${left - 8}" y="${Number(y(tick)) + 4}" text-anchor="end">${tick}</text>`,
    ]),
    ...[0, 1, 2, 3, 4].map((quarter) => {
      const at = Math.round((longest * quarter) / 4);
      return `<text class="soft" x="${x(at)}" y="${bottom + 20}" text-anchor="middle">${at}</text>`;
    }),
    ...series.flatMap((one, i) => {
      const line = one[kind];
      const last = line.at(-1);
      if (!last) return [];
      return [
        `<g class="s${i % 4}">`,
        `<polyline points="${line.map(({ at, rate: { median } }) => `${x(at)},${y(median)}`).join(" ")}"/>`,
        ...line.map(({ at, rate: { min, max } }) => `<line class="bar" x1="${x(at)}" x2="${x(at)}" y1="${y(min)}" y2="${y(max)}"/>`),
        ...line.map(({ at, rate: { median } }) => `<circle cx="${x(at)}" cy="${y(median)}" r="3"/>`),
        `<text class="name" x="${right + 8}" y="${Number(y(last.rate.median)) + 4}">${escapeXml(one.shape)} (${size(one.parameters)})</text>`,
        "</g>",
      ];
    }),
  ];
}

/** 1, 2, 5, 10, … from at or below the least to at or above the most, at least two. */
export function ticksOf(least: number, most: number): number[] {
  const all = [-2, -1, 0, 1, 2, 3, 4, 5].flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
  const from = Math.max(
    all.findLastIndex((tick) => tick <= least),
    0,
  );
  const to = all.findIndex((tick) => tick >= most);
  return all.slice(from, Math.max(to < 0 ? all.length : to + 1, from + 2));
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
