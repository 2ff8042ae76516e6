import { pairedRatio, type Ratio, unpairedRatio } from "../statistics/ratio.js";
import { METRIC_NAMES, METRICS, type Metric, type PerfRecord } from "./perf.js";

/** A metric of two measurements. */
export interface MetricRatio {
  readonly metric: Metric;
  /** Medians. */
  readonly a: number;
  readonly b: number;
  /** a ÷ b. */
  readonly ratio: Ratio;
}

/**
 * Every metric of two measurements.
 * @param rounds whether sample i of both is of one round; otherwise they were measured apart
 */
export function metricRatios(a: PerfRecord["metrics"], b: PerfRecord["metrics"], rounds: "alternating" | "apart"): MetricRatio[] {
  const ratioOf = rounds === "alternating" ? pairedRatio : unpairedRatio;
  return METRIC_NAMES.map((metric) => ({
    ...{ metric, a: a[metric].median, b: b[metric].median },
    ratio: ratioOf(a[metric].samples, b[metric].samples),
  }));
}

/** How much worse a is than b at least and at most, in percent of b; negative: better. The ends of the interval. */
export function worseBy({ metric, ratio: { low, high } }: MetricRatio): readonly [least: number, most: number] {
  return METRICS[metric].more ? [(1 - high) * 100, (1 - low) * 100] : [(low - 1) * 100, (high - 1) * 100];
}
