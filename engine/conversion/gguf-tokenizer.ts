import type { GgufEntry } from "../container/gguf.js";
import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import { endTokens } from "../text/control-tokens.js";
import { moreEndsKey, preTokenizers } from "../text/gguf-vocabulary.js";
import type { ByteLevelVocabulary, PieceVocabulary, PlainKind, Vocabulary } from "../text/vocabulary.js";
import { countedMerges, uniqueNames } from "./fillers.js";
import { scoresOf } from "./piece-order.js";

/** Ids that this engine's tokenizer does not use, but other readers of the file may. */
export interface MoreIds {
  readonly unknown?: number | undefined;
  readonly padding?: number | undefined;
  /** What ends an answer, in order; the vocabulary's EOS may be among them. */
  readonly ends?: readonly number[];
}

/** ggml's types of tokens. */
const NORMAL = 1;
const UNUSED = 5;
const TOKEN_TYPES: Readonly<Record<PlainKind, number>> = { special: 3, added: 4, unused: UNUSED, byte: 6 };

/**
 * A tokenizer as GGUF metadata (llama.cpp's keys).
 * @param vocabSize rows of the embedding: other engines take the number of tokens for it, so that fillers make up what the tokenizer lacks
 * @throws BitnetError tokenizer: GGUF has no name for what it does to text
 */
export function ggufTokenizer(vocabulary: Vocabulary, vocabSize: number, more: MoreIds): GgufEntry[] {
  const { tokens, plain, bosId, eosIds, addsBos, addsEos } = vocabulary;
  const names = uniqueNames(vocabulary, vocabSize);
  const types = Array.from({ length: vocabSize }, (_, id) => {
    const kind = plain.get(id);
    return !tokens.at(id) ? UNUSED : kind === undefined ? NORMAL : TOKEN_TYPES[kind];
  });
  const id = (name: string, value: number | undefined): GgufEntry[] =>
    value === undefined ? [] : [{ key: `tokenizer.ggml.${name}_token_id`, type: "uint32", value }];
  return [
    ...(vocabulary.kind === "byte-level" ? byteLevel(vocabulary) : pieces(vocabulary, vocabSize)),
    { key: "tokenizer.ggml.tokens", type: "array", elementType: "string", value: names },
    { key: "tokenizer.ggml.token_type", type: "array", elementType: "int32", value: types },
    ...id("bos", bosId),
    ...endEntries(vocabulary, more.ends ?? eosIds),
    ...id("unknown", more.unknown),
    ...id("padding", more.padding),
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: addsBos },
    ...(addsEos ? [{ key: "tokenizer.ggml.add_eos_token", type: "bool" as const, value: true }] : []),
  ];
}

/**
 * Keys of all that ends an answer. llama.cpp has three: of a text, of a turn, of a message. What is left over stands under a key that only this
 * engine reads; first those that llama.cpp knows by their texts anyway.
 */
function endEntries({ tokens, eosIds }: Vocabulary, ends: readonly number[]): GgufEntry[] {
  const left = new Set([...eosIds, ...ends]);
  const take = (name: string, id: number | undefined): GgufEntry[] => {
    if (id === undefined) return [];
    left.delete(id);
    return [{ key: `tokenizer.ggml.${name}_token_id`, type: "uint32", value: id }];
  };
  /** The first, one that is found by its text only if there is no other. */
  const first = (): number | undefined => {
    const unknown = [...left].find((id) => !endTokens.includes(tokens.at(id)!));
    return unknown ?? [...left][0];
  };
  const eos = take("eos", eosIds[0] ?? ends[0]);
  const known = (text: string) => [...left].find((id) => tokens.at(id) === text);
  const message = take("eom", known("<|eom_id|>"));
  const turn = take("eot", first());
  const entries = [...eos, ...turn, ...(message.length > 0 ? message : take("eom", first()))];
  if (left.size > 0) entries.push({ key: moreEndsKey, type: "array", elementType: "uint32", value: [...left] });
  return entries;
}

/** Byte-level BPE: the split has a name, from which llama.cpp derives whether merges are ignored for whole words. */
function byteLevel(vocabulary: ByteLevelVocabulary): GgufEntry[] {
  const { file, split, nfc, ignoreMerges, merges } = vocabulary;
  for (const [pre, known] of preTokenizers) {
    const isIt = String(known.split) === String(split) && (known.nfc ?? false) === nfc && known.ignoreMerges === ignoreMerges;
    if (!isIt) continue;
    return [
      { key: "tokenizer.ggml.model", type: "string", value: "gpt2" },
      { key: "tokenizer.ggml.pre", type: "string", value: pre },
      { key: "tokenizer.ggml.merges", type: "array", elementType: "string", value: countedMerges(vocabulary.source, merges) },
    ];
  }
  throw new BitnetError(
    "tokenizer",
    `${file}: the tokenizer splits text by ${split.map(quote).join(", ")}${nfc ? " after NFC" : ""} and ${ignoreMerges ? "ignores" : "applies"} merges of whole words, which GGUF can't express`,
    { file },
  );
}

/** SentencePiece's BPE. Fillers have the least score. */
function pieces(vocabulary: PieceVocabulary, vocabSize: number): GgufEntry[] {
  const { file, spacePrefix, keepsSpace } = vocabulary;
  if (spacePrefix !== "never" && (spacePrefix === "first" || keepsSpace)) {
    throw new BitnetError("tokenizer", `${file}: the tokenizer puts a space before text in a way that GGUF can't express ("Metaspace")`, {
      file,
    });
  }
  const scores = scoresOf(vocabulary);
  const least = scores.reduce((min, score) => Math.min(min, score), 0);
  return [
    { key: "tokenizer.ggml.model", type: "string", value: "llama" },
    { key: "tokenizer.ggml.pre", type: "string", value: "default" },
    {
      key: "tokenizer.ggml.scores",
      type: "array",
      elementType: "float32",
      value: Float32Array.from({ length: vocabSize }, (_, id) => scores[id] ?? least),
    },
    { key: "tokenizer.ggml.add_space_prefix", type: "bool", value: spacePrefix === "always" },
  ];
}
