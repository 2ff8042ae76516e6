import { showsDifference } from "../statistics/ratio.js";
import { figure, NO_DIFFERENCE, ratioCells, TITLES } from "./figures.js";
import { METRIC_NAMES, METRICS, type PerfRecord } from "./perf.js";
import { type MetricRatio, worseBy } from "./ratios.js";

/** A record's figures for a person at a terminal; beside a baseline's, if there is one. */
export function perfTable({ model, provenance: from, settings, metrics }: PerfRecord, ratios: readonly MetricRatio[] = []): string {
  const head = ["", "median", "p95", "min", "max", "stddev", ...(ratios.length > 0 ? ["before", "change (95 % interval)"] : [])];
  const rows = METRIC_NAMES.map((metric) => {
    const { median, p95, min, max, stddev } = metrics[metric];
    const compared = ratios.find((one) => one.metric === metric);
    const beside = compared ? [figure(metric, compared.b), change(compared)] : [];
    return [TITLES[metric], ...[median, p95, min, max, stddev].map((value) => figure(metric, value)), ...beside];
  });
  const facts = `${model.name}, ${model.format}: prompt of ${settings.prompt_tokens} tokens, ${settings.decode_tokens} generated, ${settings.iterations} processes; ${from.kernel_tier} kernels, ${from.threads === 1 ? "1 thread" : `${from.threads} threads`}`;
  return `${facts}\n\n${columns([head, ...rows])}\n`;
}

/** Two sides that took turns, for a person at a terminal. @param names of the sides */
export function ratioTable(ratios: readonly MetricRatio[], [a, b]: readonly [string, string], rounds: number): string {
  const head = ["", "A", "B", "A ÷ B", "95 % interval", "better"];
  const rows = ratios.map(({ metric, a: ofA, b: ofB, ratio }) => {
    const better = ratio.ratio > 1 === METRICS[metric].more ? "A" : "B";
    const said = showsDifference(ratio) ? better : NO_DIFFERENCE;
    return [TITLES[metric], figure(metric, ofA), figure(metric, ofB), ...ratioCells(ratio), said];
  });
  return `A: ${a}\nB: ${b}\n${rounds} alternating rounds; medians\n\n${columns([head, ...rows])}\n`;
}

/** How much better or worse a metric has become, or may have. */
function change(ratio: MetricRatio): string {
  const [least, most] = worseBy(ratio);
  if (!Number.isFinite(least) || !Number.isFinite(most)) return "unknown: too few samples";
  if (!showsDifference(ratio.ratio)) return NO_DIFFERENCE;
  const [near, far] = least > 0 ? [least, most] : [-most, -least];
  return `${near.toFixed(1)} to ${far.toFixed(1)} % ${least > 0 ? "worse" : "better"}`;
}

/** Rows of cells below each other, the first column to the left. */
function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join("  ");
  return rows.map((row) => line(row).trimEnd()).join("\n");
}
