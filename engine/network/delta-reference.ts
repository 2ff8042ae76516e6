import { convolve, deltaGates, deltaRule, l2Norm } from "../delta.js";
import type { ModelConfig } from "../model/config.js";
import type { Block } from "../model/layers.js";
import { convolved, deltaSize, headPlaces, stateFloats } from "../model/recurrent.js";
import { rmsNorm, siluMul } from "../numerics.js";
import type { ReferenceLinear, ReferenceProducts } from "./reference-linear.js";

/** A recurrent block's weights; floats are f32. */
export type ReferenceDelta = Block<"delta", ReferenceLinear, Float32Array>;

/** What one recurrent layer remembers of a sequence. */
export class DeltaState {
  /** [3, channels] f32: inputs of the convolution, the oldest first */
  readonly before: Float32Array;
  /** [valueHeads, headSize, headSize] f32 */
  readonly rules: Float32Array;

  constructor(config: ModelConfig, from?: DeltaState) {
    const { convolution, state } = stateFloats(config.recurrent!);
    this.before = from?.before.slice() ?? new Float32Array(convolution);
    this.rules = from?.rules.slice() ?? new Float32Array(state);
  }
}

/**
 * q, k, v → convolution → norms of heads → state → norms of heads, gate → output projection.
 * @param x [rows] of [hidden] f32, normed
 * @param states [rows] of each row's sequence: rows of one are in their order
 * @returns [rows] of [hidden] f32: what is added to the residual stream
 */
export function deltaReference(
  config: ModelConfig,
  products: ReferenceProducts,
  block: ReferenceDelta,
  x: readonly Float32Array[],
  states: readonly DeltaState[],
): Float32Array[] {
  const { rmsNormEps, rotation } = config;
  const { keyHeads, valueHeads, headSize } = config.recurrent!;
  const places = headPlaces(config.recurrent!, rotation?.grouped ?? false);
  const qkv = products.linear(block.deltaQkv, x); // [rows] of [q | k | v]
  const gates = products.linear(block.deltaGate, x); // [rows] of [valueHeads, headSize]
  const betas = products.dense(block.deltaBeta, valueHeads, x);
  const alphas = products.dense(block.deltaAlpha, valueHeads, x);
  const mixed = x.map((_, row) => {
    const state = states[row]!;
    const heads = new Float32Array(convolved(config.recurrent!));
    convolve(heads, qkv[row]!, state.before, block.convolution);
    for (let head = 0; head < 2 * keyHeads; head++) l2Norm(heads, head * headSize, headSize, rmsNormEps);
    const out = new Float32Array(deltaSize(config.recurrent!));
    const product = new Float32Array(headSize);
    for (let head = 0; head < valueHeads; head++) {
      const [decay, take] = deltaGates(alphas[row]![head]!, betas[row]![head]!, block.decayBias[head]!, block.decayRate[head]!);
      const q = (head % keyHeads) * headSize;
      const at = { q, k: q + keyHeads * headSize, v: (2 * keyHeads + head) * headSize };
      deltaRule(product, 0, state.rules, head * headSize * headSize, heads, at, decay, take, headSize);
      rmsNorm(product, product, block.deltaHeadNorm, rmsNormEps);
      const gated = gates[row]!.slice(head * headSize, (head + 1) * headSize);
      siluMul(gated, product, headSize);
      out.set(gated, places[head]! * headSize);
    }
    return out;
  });
  return products.linear(block.deltaOut, mixed);
}
