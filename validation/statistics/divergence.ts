import { exp64, log64 } from "../../engine/math.js";
import { quantile } from "./summary.js";

/** How two probability distributions over the same tokens differ, position by position, with the statistics of llama.cpp's perplexity tool. */
export interface Divergence {
  /** Positions that predict a token. */
  readonly positions: number;
  /** KL divergence of b from a, nats: Σ pₐ ln(pₐ / p_b). Mean over the positions and its standard error. */
  readonly mean: number;
  readonly meanError: number;
  /** 99.9 % of the positions are at or below this (see `quantile`). */
  readonly p999: number;
  readonly max: number;
  /** Share of the positions where both have the same most likely token. */
  readonly sameTop: number;
  readonly sameTopError: number;
  /** Root of the mean square of Δp, the difference of the probabilities of the token that follows. */
  readonly deltaPRms: number;
  readonly deltaPRmsError: number;
}

/** What is known of each position. */
export interface Positions {
  /** [positions] nats */
  readonly kl: readonly number[];
  /** [positions] whether the most likely token is the same */
  readonly same: readonly boolean[];
  /** [positions] −ln p of the token that follows */
  readonly nllA: readonly number[];
  readonly nllB: readonly number[];
}

/**
 * Σ pₐ ln(pₐ / p_b) with p the softmax of the logits, nats; at least 0, which rounding may put it below.
 * @param a, b [tokens] logits. NaN if either has a number that is none, or is infinite where the other is not
 */
export function klDivergence(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [topA, topB] = [highest(a), highest(b)];
  let [sumA, sumB] = [0, 0];
  let weighted = 0; // Σ e^(a − topA) · ((a − topA) − (b − topB))
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]! - topA, b[i]! - topB];
    const e = exp64(x);
    sumA += e;
    sumB += exp64(y);
    if (e !== 0 || Number.isNaN(x)) weighted += e * (x - y);
  }
  const kl = weighted / sumA - log64(sumA) + log64(sumB);
  return kl < 0 ? 0 : kl;
}

function highest(values: ArrayLike<number>): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) if (values[i]! > top) top = values[i]!;
  return top;
}

/**
 * Sums up positions, each of the same weight. Standard errors as llama.cpp's: of a mean √((mean square − mean²) / (n − 1)), of a share
 * √(p (1 − p) / (n − 1)), of a root by its derivative. NaN of fewer than two positions.
 */
export function divergence({ kl, same, nllA, nllB }: Positions): Divergence {
  const n = kl.length;
  const [mean, meanError] = withError(kl);
  const squares = nllA.map((a, i) => (exp64(-nllB[i]!) - exp64(-a)) ** 2);
  const [square, squareError] = withError(squares);
  const root = Math.sqrt(square);
  const share = same.filter((is) => is).length / n;
  return {
    positions: n,
    ...{
      mean,
      meanError,
      p999: quantile(kl, 0.999),
      max: kl.reduce((x, y) => (x > y || Number.isNaN(x) ? x : y), Number.NEGATIVE_INFINITY),
    },
    ...{ sameTop: share, sameTopError: Math.sqrt((share * (1 - share)) / (n - 1)) },
    ...{ deltaPRms: root, deltaPRmsError: root === 0 ? squareError : squareError / (2 * root) },
  };
}

/** A mean and its standard error. */
function withError(values: readonly number[]): [mean: number, error: number] {
  const n = values.length;
  const mean = values.reduce((sum, x) => sum + x, 0) / n;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n;
  return [mean, Math.sqrt(variance / (n > 1 ? n - 1 : Number.NaN))];
}
