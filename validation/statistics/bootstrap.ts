import { uniform } from "../../engine/sampling/rng.js";
import { quantile } from "./summary.js";

/** Draws: enough that the ends of an interval of 95 % move by a few hundredths of its width from one seed to another. */
export const RESAMPLES = 1000;
/** Of the engine's own generator, so that an interval is the same on every machine. */
const SEED = 42;

/**
 * The interval that holds the mean with 95 %: the 2.5th and 97.5th percentiles of the means of samples that are drawn from the values, with
 * replacement and as many. (Efron 1979; the percentile interval.)
 * @returns NaN twice of no values, or of some that are no numbers
 */
export function bootstrapMean(values: readonly number[]): readonly [low: number, high: number] {
  const n = values.length;
  if (n === 0 || values.some(Number.isNaN)) return [Number.NaN, Number.NaN];
  if (values.every((value) => value === values[0])) return [values[0]!, values[0]!];
  const means: number[] = [];
  for (let draw = 0; draw < RESAMPLES; draw++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[Math.floor(uniform(SEED, draw * n + i) * n)]!;
    means.push(sum / n);
  }
  return [quantile(means, 0.025), quantile(means, 0.975)];
}
