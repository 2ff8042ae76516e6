/** What repeated measurements of one thing say. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** In the order in which they were measured. */
  readonly samples: readonly number[];
}

/** The middle of the sorted numbers; of an even count the mean of the two in the middle. NaN of none. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Median and extremes. */
export function summarize(samples: readonly number[]): Summary {
  return { median: median(samples), min: Math.min(...samples), max: Math.max(...samples), samples };
}

/** A summary with its spread. */
export interface Distribution<U extends string = string> extends Summary {
  readonly unit: U;
  /** 95 % of the samples are at or below this: see `quantile`. */
  readonly p95: number;
  /** Of a sample (n − 1). */
  readonly stddev: number;
}

/** The value that a share `q` of the sorted samples is below, linear between neighbours (Hyndman and Fan's type 7). NaN of none. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

/** √(Σ(x − mean)² / (n − 1)). NaN of fewer than two. */
export function standardDeviation(samples: readonly number[]): number {
  const mean = samples.reduce((sum, x) => sum + x, 0) / samples.length;
  return Math.sqrt(samples.reduce((sum, x) => sum + (x - mean) * (x - mean), 0) / (samples.length > 1 ? samples.length - 1 : Number.NaN));
}

/** All figures of some samples. The order of the keys is that of the record. */
export function distribution<U extends string>(unit: U, samples: readonly number[]): Distribution<U> {
  const { median, min, max } = summarize(samples);
  return { unit, median, p95: quantile(samples, 0.95), min, max, stddev: standardDeviation(samples), samples };
}
