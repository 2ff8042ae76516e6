import type { LaneReport, PromptReport } from "../../parity/types.js";
import { escapeMarkup } from "./escape.js";
import { shown } from "./rows.js";

// Pictures of a lane: a row for each prompt, and the gate as a dashed line. Colours and fonts are those of the page: see style.ts.

/** Size of a picture, px, and where its rows begin and end. */
const WIDTH = 360;
const LEFT = 88;
const RIGHT = 336;
const TOP = 46;
const ROW = 17;
const AXIS = 24;

/** Characters of a name that fit on the left. */
const NAME = 12;

/** Prompts in a picture: the failed ones come first, the others are in the table. */
const MAX_PROMPTS = 60;

/** What a picture shows of a prompt. null: not finite, or there is none. */
interface Mark {
  /** The thin line. */
  readonly from: number | null;
  readonly to: number | null;
  readonly dot: number | null;
  /** A small bar, such as a 5 % quantile. */
  readonly bar?: number | null;
  /** What a pointer over it shows. */
  readonly said: string;
}

interface Plot {
  readonly id: string;
  readonly title: string;
  readonly gates: readonly number[];
  readonly gateName: string;
  readonly mark: (prompt: PromptReport) => Mark;
  readonly scale: (values: readonly number[], gates: readonly number[]) => Scale;
}

/** From values to px, with ticks. */
interface Scale {
  readonly x: (value: number) => number;
  readonly ticks: readonly number[];
}

/** All pictures of a lane. @param id begins the ids of their elements */
export function lanePlots({ prompts, thresholds }: LaneReport, id: string): string[] {
  const { tau_median: tau, delta_nll: nll, kl_max: kl } = thresholds;
  const plots: Plot[] = [
    {
      ...{
        id: `${id}-tau`,
        title: "τ-b: median (dot), 5 % (bar), minimum",
        gates: [tau],
        gateName: `gate of median ≥ ${number(tau)}`,
        scale: linear,
      },
      mark: ({ figures: { tau_median: dot, tau_p5: bar, tau_min: from } }) => ({
        ...{ from, to: dot, dot, bar },
        said: `median ${shown(dot)}, 5 % quantile ${shown(bar)}, minimum ${shown(from)}`,
      }),
    },
    {
      ...{
        id: `${id}-nll`,
        title: "ΔNLL with 95 % interval, nats/token",
        gates: [-nll, nll],
        gateName: `gate ± ${number(nll)}`,
        scale: symmetric,
      },
      mark: ({ figures: { delta_nll: dot, delta_nll_interval: between } }) => ({
        ...{ from: between?.[0] ?? dot, to: between?.[1] ?? dot, dot },
        said: `ΔNLL ${shown(dot)}${between ? `, 95 % interval ${shown(between[0])} to ${shown(between[1])}` : ""}`,
      }),
    },
  ];
  if (kl !== undefined) {
    plots.push({
      ...{ id: `${id}-kl`, title: "KL divergence: mean (dot), maximum (bar)", gates: [kl], gateName: `gate of maximum ≤ ${number(kl)}` },
      scale: logarithmic,
      mark: ({ figures }) => {
        const { mean = null, max = null } = figures.kl ?? {};
        return { from: mean, to: max, dot: mean, bar: max, said: `mean ${shown(mean)}, maximum ${shown(max)} nats` };
      },
    });
  }
  return plots.map((plot) => draw(plot, prompts));
}

function draw({ id, title, gates, gateName, mark, scale }: Plot, all: readonly PromptReport[]): string {
  const failed = (prompt: PromptReport): boolean => prompt.verdict === "FAIL";
  const prompts = all.length <= MAX_PROMPTS ? all : [...all.filter(failed), ...all.filter((one) => !failed(one))].slice(0, MAX_PROMPTS);
  const marks = prompts.map(mark);
  const values = marks.flatMap(({ from, to, dot, bar = null }) => [from, to, dot, bar]).filter((value) => value !== null);
  const { x, ticks } = scale(values, gates);
  const bottom = TOP + ROW * prompts.length + 4;
  const at = (value: number): string => x(value).toFixed(1);
  const gateAt = x(gates.at(-1)!);
  const anchor = gateAt > (LEFT + RIGHT) / 2 ? "end" : "start";
  const left = all.length - prompts.length;
  const desc = `${prompts.map(({ id: name }, i) => `${name}: ${marks[i]!.said}`).join("; ")}. ${gateName}.${left > 0 ? ` ${left} more prompts are not drawn.` : ""}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + AXIS}" role="img" aria-labelledby="${id} ${id}-desc">`,
    `<title id="${id}">${escapeMarkup(title)}</title><desc id="${id}-desc">${escapeMarkup(desc)}</desc>`,
    `<text class="head" x="10" y="19">${escapeMarkup(title)}</text>`,
    ...ticks.map((tick) => `<line class="grid" x1="${at(tick)}" x2="${at(tick)}" y1="${TOP - 4}" y2="${bottom}"/>`),
    ...ticks.map((tick) => `<text class="tick" x="${at(tick)}" y="${bottom + 15}" text-anchor="middle">${number(tick)}</text>`),
    ...gates.map((gate) => `<line class="gate" x1="${at(gate)}" x2="${at(gate)}" y1="${TOP - 4}" y2="${bottom}"/>`),
    `<text class="gate-name" x="${(gateAt + (anchor === "end" ? 4 : -4)).toFixed(1)}" y="${TOP - 9}" text-anchor="${anchor}">${gateName}</text>`,
    ...prompts.map((prompt, row) => {
      const y = TOP + ROW * row + ROW / 2 + 2;
      const { from, to, dot, bar = null, said } = marks[row]!;
      const name = prompt.id.length > NAME ? `${prompt.id.slice(0, NAME - 1)}…` : prompt.id;
      return [
        `<g${failed(prompt) ? ' class="bad"' : ""}><title>${escapeMarkup(`${prompt.id}: ${said}`)}</title>`,
        `<text x="10" y="${y + 4}">${escapeMarkup(name)}</text>`,
        ...(from !== null && to !== null ? [`<line class="span" x1="${at(from)}" x2="${at(to)}" y1="${y}" y2="${y}"/>`] : []),
        ...(bar !== null ? [`<line class="bar" x1="${at(bar)}" x2="${at(bar)}" y1="${y - 5}" y2="${y + 5}"/>`] : []),
        // What fails differs by more than its colour.
        failed(prompt) || dot === null
          ? cross(dot === null ? RIGHT : x(dot), y)
          : `<circle class="dot" cx="${at(dot)}" cy="${y}" r="3.5"/>`,
        "</g>",
      ].join("");
    }),
    "</svg>",
  ].join("\n");
}

function cross(x: number, y: number): string {
  const [left, right] = [x - 4, x + 4].map((one) => one.toFixed(1));
  return `<path class="cross" d="M${left} ${y - 4}L${right} ${y + 4}M${left} ${y + 4}L${right} ${y - 4}"/>`;
}

/** A number of an axis or a gate: as short as it can be. */
function number(value: number): string {
  const plain = Number(value.toPrecision(6));
  const text = plain !== 0 && Math.abs(plain) < 1e-3 ? plain.toExponential() : String(plain);
  return text.replace(/^-/, "−").replace("e-", "e−");
}

/** Between two round numbers around all values. */
function linear(values: readonly number[], gates: readonly number[]): Scale {
  const [low, high] = [Math.min(...values, ...gates), Math.max(...values, ...gates)];
  const step = roundStep((high - low || Math.abs(high) || 1) / 3);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  return { ticks, x: between(ticks[0]!, ticks.at(-1)!) };
}

/** With 0 in the middle, to a bit beyond the farthest value. */
function symmetric(values: readonly number[], gates: readonly number[]): Scale {
  const most = Math.max(...[...values, ...gates].map(Math.abs)) * 1.08;
  const step = roundStep(most / 1.9);
  const count = Math.floor(most / step);
  return { ticks: Array.from({ length: 2 * count + 1 }, (_, i) => (i - count) * step), x: between(-most, most) };
}

/** Px that the label of a tick needs to the next one. */
const LABEL = 30;

/** Powers of ten. Where a value is 0, the left end is. */
function logarithmic(values: readonly number[], gates: readonly number[]): Scale {
  const positive = [...values, ...gates].filter((value) => value > 0);
  const zero = values.some((value) => value <= 0);
  const low = Math.floor(Math.log10(Math.min(...positive))) - (zero ? 1 : 0);
  const high = Math.max(Math.ceil(Math.log10(Math.max(...positive))), low + 1);
  const step = Math.ceil((high - low) / 4);
  const powers = Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => high - i * step).reverse();
  const x = between(low, high);
  const shownPowers = powers.filter((power) => !zero || x(power) > LEFT + LABEL).map((power) => Number(`1e${power}`));
  return { ticks: [...(zero ? [0] : []), ...shownPowers], x: (value) => (value > 0 ? x(Math.log10(value)) : LEFT) };
}

function between(low: number, high: number): (value: number) => number {
  return (value) => LEFT + ((value - low) / (high - low)) * (RIGHT - LEFT);
}

/** 1, 2 or 5 times a power of ten, at or above `least`. */
function roundStep(least: number): number {
  const power = Number(`1e${least.toExponential().split("e")[1]}`);
  return [1, 2, 5, 10].find((digit) => digit * power >= least * 0.999)! * power;
}
