/** bitnet-ts/ai: loaded models as models of the AI SDK, in this process. */
export { embeddingModel } from "./embedding-model.js";
export { languageModel, type WritingModel } from "./language-model.js";
