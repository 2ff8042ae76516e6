/** A model of any format through the engine's own lanes, by token ids: the text around them is tested elsewhere. */
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { type LoadOptions, startRunner } from "../../engine/generation/runner.js";
import { readConfig } from "../../engine/model/config.js";
import { readWeights } from "../../engine/model/weights.js";
import type { WindowLogits } from "./outputs.js";

/** f32 throughout: the lane to hold beside an engine that quantises nothing. */
export const FLOAT: LoadOptions = { reference: true, activationQuant: false };
/** Scalar code with the model's own activations. */
export const REFERENCE: LoadOptions = { reference: true };

/** Logits of all positions of each window. */
export async function familyLogits(path: string, windows: readonly (readonly number[])[], options: LoadOptions): Promise<WindowLogits[]> {
  const checkpoint = await openCheckpoint(path);
  try {
    const config = await readConfig(checkpoint);
    const { runner } = await startRunner(Promise.resolve({ config, sources: readWeights(checkpoint, config) }), options);
    try {
      const all: WindowLogits[] = [];
      for (const ids of windows) {
        const logits: Float32Array[] = [];
        const table = Int32Array.from({ length: Math.ceil(ids.length / runner.limits.blockSize) }, (_, i) => i);
        const rows = Math.min(runner.limits.maxRows, runner.limits.maxOutputs);
        for (let first = 0; first < ids.length; first += rows) {
          const tokens = Int32Array.from(ids.slice(first, first + rows));
          const outputs = await runner.step({
            tokens,
            positions: tokens.map((_, i) => first + i),
            sequences: new Int32Array(tokens.length),
            tables: [table],
            ...(runner.limits.states > 0 && { states: new Int32Array(1) }),
            outputs: Array.from(tokens, (_, row) => ({ row, want: "logits" as const })),
          });
          for (const output of outputs) logits.push(output.logits!);
        }
        all.push(logits);
      }
      return all;
    } finally {
      await runner.close();
    }
  } finally {
    await checkpoint.close();
  }
}
