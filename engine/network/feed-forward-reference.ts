import type { Activation, ModelConfig } from "../model/config.js";
import type { Block } from "../model/layers.js";
import { geluMul, reluSquaredMul, rmsNorm, siluMul } from "../numerics.js";
import { inputNorm, type ReferenceLinear, type ReferenceProducts } from "./reference-linear.js";

/** A feed-forward block's weights; norms are [size] f32. */
export type ReferenceFeedForward = Block<"feedForward", ReferenceLinear, Float32Array>;

/** gate = activation(gate) · up, [n] f32 */
const GATED: Readonly<Record<Activation, (gate: Float32Array, up: Float32Array, n: number) => void>> = {
  ...{ relu2: reluSquaredMul, silu: siluMul, gelu_tanh: geluMul },
};

/**
 * gate, up → activation(gate)·up → sub-norm → down projection.
 * @param x [rows] of [hidden] f32, normed
 * @returns [rows] of [hidden] f32: what is added to the residual stream
 */
export function feedForwardReference(
  { ffnSize, activation, rmsNormEps }: ModelConfig,
  products: ReferenceProducts,
  block: ReferenceFeedForward,
  x: readonly Float32Array[],
): Float32Array[] {
  const { ffnSubNorm } = block;
  const normed = (weight: Float32Array | undefined): readonly Float32Array[] => inputNorm(x, weight, rmsNormEps);
  const gate = products.linear(block.gate, normed(block.gateInputNorm));
  const up = products.linear(block.up, normed(block.upInputNorm));
  for (const [i, product] of gate.entries()) {
    GATED[activation](product, up[i]!, ffnSize);
    if (ffnSubNorm) rmsNorm(product, product, ffnSubNorm, rmsNormEps);
  }
  return products.linear(block.down, gate);
}
