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
 * The tokenizer of a model: from GGUF metadata, from the tokenizer.json beside SafeTensors, or from other `files`, in which case the BOS and EOS
 * that they don't name are those of the metadata. Throws a BitnetError `tokenizer`, which names file and key, if there is none, it is
 * malformed, or of a kind that this engine doesn't know.
 */
export async function loadTokenizer(checkpoint: Checkpoint, files?: SidecarFiles): Promise<Tokenizer> {
  if (checkpoint.format !== "gguf") return createTokenizer(await readJsonVocabulary(files ?? checkpoint));
  if (files === undefined) return createTokenizer(readGgufVocabulary(checkpoint));
  const vocabulary = await readJsonVocabulary(files);
  const idOf = (key: string): number[] => {
    const id = checkpoint.metadata.get(key);
    return typeof id === "number" ? [id] : [];
  };
  return createTokenizer({
    ...vocabulary,
    bosId: vocabulary.bosId ?? idOf("tokenizer.ggml.bos_token_id")[0],
    eosIds: vocabulary.eosIds.length > 0 ? vocabulary.eosIds : idOf("tokenizer.ggml.eos_token_id"),
  });
}
