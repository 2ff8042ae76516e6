import { pathFrom } from "#host/paths.js";
import type { Checkpoint } from "../container/checkpoint.js";
import { openSidecars, type SidecarFiles } from "../container/sidecar.js";
import type { FilePath } from "../host/files.js";
import { checked } from "./checked.js";
import { readGgufIds, readGgufVocabulary } from "./gguf-vocabulary.js";
import { readJsonVocabulary } from "./json-vocabulary.js";
import { createTokenizer } from "./tokenizer.js";
import type { Tokenizer } from "./types.js";
import type { Vocabulary } from "./vocabulary.js";

/** Where to take a tokenizer from instead of the model's own: a tokenizer.json, or a directory with one. */
export async function openTokenizerFiles(path: FilePath | undefined): Promise<SidecarFiles | undefined> {
  return path === undefined ? undefined : openSidecars(pathFrom("tokenizer", path), "tokenizer.json");
}

/**
 * What a model says about its tokenizer: in GGUF metadata, in the tokenizer.json beside SafeTensors, or in other `files`, in which case the BOS
 * and EOS that they don't name, and further ends, are those of the metadata. Throws a BitnetError `tokenizer`, which names file and key, if there is none, it
 * is malformed, or of a kind that this engine doesn't know.
 */
export async function readVocabulary(checkpoint: Checkpoint, files?: SidecarFiles): Promise<Vocabulary> {
  if (checkpoint.format !== "gguf") return readJsonVocabulary(files ?? checkpoint);
  if (files === undefined) return readGgufVocabulary(checkpoint);
  const vocabulary = await readJsonVocabulary(files);
  const { length } = vocabulary.tokens;
  const named = readGgufIds(checkpoint, length);
  const isHere = (id: number | undefined): id is number => id !== undefined && id < length;
  return {
    ...vocabulary,
    // A vocabulary that is shorter than the model's is another one: its ids mean nothing here.
    bosId: vocabulary.bosId ?? (isHere(named.bosId) ? named.bosId : undefined),
    eosIds: vocabulary.eosIds.length > 0 ? vocabulary.eosIds : named.eosIds.filter(isHere),
    endIds: named.endIds,
  };
}

/** The tokenizer of a model, or of other `files`. Throws as `readVocabulary` and `createTokenizer` do. */
export async function loadTokenizer(checkpoint: Checkpoint, files?: SidecarFiles): Promise<Tokenizer> {
  return checked(createTokenizer(await readVocabulary(checkpoint, files)));
}
