/**
 * Rotary position embedding: its frequencies, angles and the rotation, in one fixed order as all of `numerics.ts`. The kernels take the angles
 * from here and rotate with the same operations.
 */
import { log64, pow64, sinCos64 } from "./math.js";

const f = Math.fround;

/** How RoPE is stretched over a longer context than a model was first trained on. Plain data. */
export interface RopeScaling {
  /** linear: positions are divided by the factor; yarn: those of slow pairs are. */
  readonly type: "linear" | "yarn";
  /** At least 1, f32. */
  readonly factor: number;
  /** Cosines and sines are multiplied by it, f32: scores by its square. */
  readonly attention: number;
  /** Of yarn: which pairs are slow. */
  readonly ramp: YarnRamp | undefined;
}

/** Pairs that turn more than `fast` times within the original context keep their frequency, those below `slow` are stretched; between, a ramp. */
export interface YarnRamp {
  /** Positions. */
  readonly originalContext: number;
  /** Turns. */
  readonly fast: number;
  readonly slow: number;
  /** The ramp begins and ends at whole pairs. */
  readonly truncate: boolean;
}

/** The turns that YaRN's authors suggest, and all published models use. */
export const YARN_FAST = 32;
export const YARN_SLOW = 1;

/** YaRN's own factor for cosines and sines, f64. (Peng et al. 2023, eq. 22: scores are multiplied by its square.) @param weight 1 but for models of DeepSeek's kind */
export function yarnAttention(factor: number, weight = 1): number {
  return factor <= 1 ? 1 : 1 + 0.1 * weight * log64(factor);
}

/** The pairs between which YaRN's ramp lies, fractions where they are not truncated. */
export function yarnRange(
  theta: number,
  headDim: number,
  { originalContext, fast, slow, truncate }: YarnRamp,
): readonly [low: number, high: number] {
  /** The pair that turns so often within the original context. */
  const pair = (turns: number): number => (headDim * log64(originalContext / (turns * 2 * Math.PI))) / (2 * log64(theta));
  const [low, high] = truncate ? [Math.floor(pair(fast)), Math.ceil(pair(slow))] : [pair(fast), pair(slow)];
  return [Math.max(low, 0), Math.min(high, headDim - 1)];
}

/** Shortest ramp, so that nothing is divided by 0. */
const LEAST_RAMP = 0.001;

/**
 * Radians a position turns each pair by: theta^(−2i/headDim), divided by the factors if there are any, then scaled; f64, [headDim/2].
 * YaRN (Peng et al. 2023, eq. 23) as llama.cpp and transformers compute it: frequency · ((1 − ramp) + ramp/factor).
 */
export function ropeFrequencies(
  theta: number,
  headDim: number,
  factors: readonly number[] | undefined,
  scaling?: RopeScaling | undefined,
): Float64Array {
  const plain = Float64Array.from({ length: headDim / 2 }, (_, i) => pow64(theta, (-2 * i) / headDim) / (factors?.[i] ?? 1));
  if (scaling === undefined) return plain;
  const { factor, ramp } = scaling;
  if (ramp === undefined) return plain.map((frequency) => frequency / factor);
  const [low, high] = yarnRange(theta, headDim, ramp);
  const length = Math.max(high - low, LEAST_RAMP);
  return plain.map((frequency, i) => {
    const slow = Math.min(Math.max((i - low) / length, 0), 1);
    return frequency * (1 - slow + slow / factor);
  });
}

const sinCos = new Float64Array(2);

/**
 * Cosines, then sines, of one position's rotary angles, computed in f64 and rounded to f32 at the end. (RoFormer, Su et al. 2021, eq. 15.)
 * @param out [headDim] f32: cos [headDim/2], sin [headDim/2]
 * @param frequencies [headDim/2] f64 from `ropeFrequencies`
 * @param attention what all are multiplied by, `RopeScaling.attention`
 */
export function ropeAngles(out: Float32Array, position: number, frequencies: Float64Array, attention = 1): void {
  const half = frequencies.length;
  for (let i = 0; i < half; i++) {
    sinCos64(position * frequencies[i]!, sinCos);
    out[i] = sinCos[1]! * attention;
    out[half + i] = sinCos[0]! * attention;
  }
}

/** Rotates as many dimensions of each head as there are angles, in place, NEOX style: pairs (i, i + d/2). @param x [heads, headDim] f32 from `from` on @param angles [d] from `ropeAngles` */
export function rope(x: Float32Array, from: number, heads: number, headDim: number, angles: Float32Array): void {
  const half = angles.length / 2;
  for (let h = 0; h < heads; h++) {
    const base = from + h * headDim;
    for (let i = 0; i < half; i++) {
      const c = angles[i]!;
      const s = angles[half + i]!;
      const a = x[base + i]!;
      const b = x[base + half + i]!;
      x[base + i] = f(a * c) - f(b * s);
      x[base + half + i] = f(b * c) + f(a * s);
    }
  }
}
