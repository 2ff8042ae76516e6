import type { ModelConfig } from "../model/config.js";
import type { Block } from "../model/layers.js";
import { reluSquaredMul, rmsNorm, siluMul } from "../numerics.js";
import { inputNorm, type ReferenceLinear, type ReferenceProducts } from "./reference-linear.js";

/** A feed-forward block's weights; norms are [size] f32. */
export type ReferenceFeedForward = Block<"feedForward", ReferenceLinear, Float32Array>;

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
    (activation === "silu" ? siluMul : reluSquaredMul)(product, up[i]!, ffnSize);
    if (ffnSubNorm) rmsNorm(product, product, ffnSubNorm, rmsNormEps);
  }
  return products.linear(block.down, gate);
}
