import type { GgufEntry } from "../container/gguf.js";
import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import { preTokenizers } from "../text/gguf-vocabulary.js";
import type { ByteLevelVocabulary, PieceVocabulary, PlainKind, Vocabulary } from "../text/vocabulary.js";
import { scoresOf } from "./piece-order.js";

/** Ids that a tokenizer's reader has no use for, but whoever else reads the file may. */
export interface MoreIds {
  readonly unknown?: number | undefined;
  readonly padding?: number | undefined;
  /** Ends a turn, and is not the end of text. */
  readonly endOfTurn?: number | undefined;
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
  const { tokens, plain, bosId, eosIds, addsBos } = vocabulary;
  const fillers = Array.from({ length: vocabSize - tokens.length }, (_, i) => `[PAD${tokens.length + i}]`);
  const types = Array.from({ length: vocabSize }, (_, id) => {
    const kind = plain.get(id);
    return id >= tokens.length ? UNUSED : kind === undefined ? NORMAL : TOKEN_TYPES[kind];
  });
  const id = (name: string, value: number | undefined): GgufEntry[] =>
    value === undefined ? [] : [{ key: `tokenizer.ggml.${name}_token_id`, type: "uint32", value }];
  return [
    ...(vocabulary.kind === "byte-level" ? byteLevel(vocabulary) : pieces(vocabulary, vocabSize)),
    { key: "tokenizer.ggml.tokens", type: "array", elementType: "string", value: [...tokens, ...fillers] },
    { key: "tokenizer.ggml.token_type", type: "array", elementType: "int32", value: types },
    ...id("bos", bosId),
    ...id("eos", eosIds[0]),
    ...id("eot", more.endOfTurn),
    ...id("unknown", more.unknown),
    ...id("padding", more.padding),
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: addsBos },
  ];
}

/** Byte-level BPE: the split has a name, from which llama.cpp derives whether merges are ignored for whole words. */
function byteLevel({ file, split, nfc, ignoreMerges, merges }: ByteLevelVocabulary): GgufEntry[] {
  for (const [pre, known] of preTokenizers) {
    const isIt = String(known.split) === String(split) && (known.nfc ?? false) === nfc && known.ignoreMerges === ignoreMerges;
    if (!isIt) continue;
    return [
      { key: "tokenizer.ggml.model", type: "string", value: "gpt2" },
      { key: "tokenizer.ggml.pre", type: "string", value: pre },
      { key: "tokenizer.ggml.merges", type: "array", elementType: "string", value: [...merges] },
    ];
  }
  throw new BitnetError(
    "tokenizer",
    `${file}: the tokenizer splits text by ${split.map(quote).join(", ")}${nfc ? " after NFC" : ""} and ${ignoreMerges ? "ignores" : "heeds"} merges of whole words, for which GGUF has no name`,
    { file },
  );
}

/** SentencePiece's BPE. Fillers have the least score. */
function pieces(vocabulary: PieceVocabulary, vocabSize: number): GgufEntry[] {
  const { file, spacePrefix, keepsSpace } = vocabulary;
  if (spacePrefix !== "never" && (spacePrefix === "first" || keepsSpace)) {
    throw new BitnetError(
      "tokenizer",
      `${file}: the tokenizer puts a space before text in a way for which GGUF has no name ("Metaspace")`,
      {
        file,
      },
    );
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
