import type { Checkpoint } from "../container/checkpoint.js";
import { readGgufVocabulary } from "./gguf-vocabulary.js";
import { readJsonVocabulary } from "./json-vocabulary.js";
import { createTokenizer } from "./tokenizer.js";
import type { Tokenizer } from "./types.js";

/**
 * The tokenizer of a model: from GGUF metadata, or from the tokenizer.json beside SafeTensors. Throws a BitnetError `tokenizer`, which
 * names file and key, if there is none, it is malformed, or it is not byte-level BPE with a split rule this engine knows.
 */
export async function loadTokenizer(checkpoint: Checkpoint): Promise<Tokenizer> {
  return createTokenizer(checkpoint.format === "gguf" ? readGgufVocabulary(checkpoint) : await readJsonVocabulary(checkpoint));
}
