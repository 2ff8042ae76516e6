import type { ModelConfig } from "../model/config.js";

/** Logits that are divided by a number are those of states that are: the last norm's weights take it, in place. @param weights [hidden] f32 */
export function scaleOutputNorm(weights: Float32Array, { logitScale }: ModelConfig): void {
  for (let i = 0; i < weights.length; i++) weights[i] = weights[i]! / logitScale;
}
