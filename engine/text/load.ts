import type { Checkpoint } from "../container/checkpoint.js";
import { openSidecars, type SidecarFiles } from "../container/sidecar.js";
import { readGgufVocabulary } from "./gguf-vocabulary.js";
import { readJsonVocabulary } from "./json-vocabulary.js";
import { createTokenizer } from "./tokenizer.js";
import type { Tokenizer } from "./types.js";

/** Where a tokenizer is to come from in place of the model's own: a tokenizer.json, or a directory with one. */
export async function openTokenizerFiles(path: string | undefined): Promise<SidecarFiles | undefined> {
  return path === undefined ? undefined : openSidecars(path, "tokenizer.json");
}

/**
 * The tokenizer of a model: from GGUF metadata, from the tokenizer.json beside SafeTensors, or from other `files`. Throws a BitnetError
 * `tokenizer`, which names file and key, if there is none, it is malformed, or of a kind that this engine doesn't know.
 */
export async function loadTokenizer(checkpoint: Checkpoint, files?: SidecarFiles): Promise<Tokenizer> {
  const isGguf = checkpoint.format === "gguf" && files === undefined;
  return createTokenizer(isGguf ? readGgufVocabulary(checkpoint) : await readJsonVocabulary(files ?? checkpoint));
}
