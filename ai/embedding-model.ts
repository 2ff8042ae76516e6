import type { EmbeddingModelV3 } from "@ai-sdk/provider";
import type { Model } from "../engine/index.js";

/** Texts of one call; the AI SDK makes several of more. */
const MOST_TEXTS = 2048;

/**
 * A loaded model as an embedding model of the AI SDK: vectors of length 1, pooled as the model's file states.
 * @param modelId how it is called in what the AI SDK reports
 */
export function embeddingModel(model: Pick<Model, "embed" | "tokenizer">, modelId = "bitnet"): EmbeddingModelV3 {
  return {
    specificationVersion: "v3",
    provider: "bitnet-ts",
    modelId,
    maxEmbeddingsPerCall: MOST_TEXTS,
    supportsParallelCalls: true,
    async doEmbed({ values, abortSignal }) {
      const vectors = await model.embed(values, { ...(abortSignal && { signal: abortSignal }) });
      const { tokenizer } = model;
      const tokens = values.reduce((sum, text) => sum + tokenizer.encode(text).length + (tokenizer.addsEos ? 1 : 0), 0);
      return { embeddings: vectors.map((vector) => Array.from(vector)), usage: { tokens }, warnings: [] };
    },
  };
}
