import { figure, TITLES } from "./figures.js";
import type { Comparison } from "./gate.js";
import { METRIC_NAMES, type PerfRecord } from "./perf.js";

/** A record's figures for a person at a terminal; beside a baseline's, if there is one. */
export function perfTable({ model, provenance: from, settings, metrics }: PerfRecord, comparisons: readonly Comparison[] = []): string {
  const head = ["", "median", "p95", "min", "max", "stddev", ...(comparisons.length > 0 ? ["before", "change"] : [])];
  const rows = METRIC_NAMES.map((metric) => {
    const { median, p95, min, max, stddev } = metrics[metric];
    const compared = comparisons.find((one) => one.metric === metric);
    const beside = compared
      ? [figure(metric, compared.before), `${Math.abs(compared.worse).toFixed(1)} % ${compared.worse > 0 ? "worse" : "better"}`]
      : [];
    return [TITLES[metric], ...[median, p95, min, max, stddev].map((value) => figure(metric, value)), ...beside];
  });
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join("  ");
  const facts = `${model.name}, ${model.format}: prompt of ${settings.prompt_tokens} tokens, ${settings.decode_tokens} generated, ${settings.iterations} processes; ${from.kernel_tier} kernels, ${from.threads === 1 ? "1 thread" : `${from.threads} threads`}`;
  return `${[facts, "", line(head), ...rows.map(line)].map((text) => text.trimEnd()).join("\n")}\n`;
}
