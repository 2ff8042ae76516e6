import type { GgufEntry } from "../container/gguf.js";
import { quote } from "../container/quote.js";
import { BitnetError } from "../errors.js";
import type { SplitRule } from "../text/pretokenize.js";
import type { PlainKind, Vocabulary } from "../text/vocabulary.js";

/** Ids that a tokenizer's reader has no use for, but whoever else reads the file may. */
export interface MoreIds {
  readonly unknown?: number | undefined;
  readonly padding?: number | undefined;
  /** Ends a turn, and is not the end of text. */
  readonly endOfTurn?: number | undefined;
}

/** `tokenizer.ggml.pre` by the split and by whether merges are ignored for whole words; llama.cpp derives both from it. */
const PRE: readonly (readonly [pre: string, split: SplitRule, ignoreMerges: boolean])[] = [
  ["llama-bpe", "llama3", true],
  ["gpt-2", "gpt2", false],
];

/** ggml's types of tokens. */
const NORMAL = 1;
const UNUSED = 5;
const TOKEN_TYPES: Readonly<Record<PlainKind, number>> = { special: 3, added: 4, unused: UNUSED };

/**
 * A tokenizer as GGUF metadata (llama.cpp's keys).
 * @param vocabSize rows of the embedding: other engines take the number of tokens for it, so that fillers make up what the tokenizer lacks
 * @throws BitnetError tokenizer: GGUF has no name for how it splits text
 */
export function ggufTokenizer(vocabulary: Vocabulary, vocabSize: number, more: MoreIds): GgufEntry[] {
  const { tokens, plain, merges, split, ignoreMerges, bosId, eosIds, addsBos, file } = vocabulary;
  const pre = PRE.find(([, ...rule]) => rule[0] === split && rule[1] === ignoreMerges)?.[0];
  if (pre === undefined) {
    throw new BitnetError(
      "tokenizer",
      `${file}: the tokenizer splits text by ${quote(split)} and ${ignoreMerges ? "ignores" : "heeds"} merges of whole words, for which GGUF has no name`,
      { file },
    );
  }
  const fillers = Array.from({ length: vocabSize - tokens.length }, (_, i) => `[PAD${tokens.length + i}]`);
  const types = Array.from({ length: vocabSize }, (_, id) => {
    const kind = plain.get(id);
    return id >= tokens.length ? UNUSED : kind === undefined ? NORMAL : TOKEN_TYPES[kind];
  });
  const id = (name: string, value: number | undefined): GgufEntry[] =>
    value === undefined ? [] : [{ key: `tokenizer.ggml.${name}_token_id`, type: "uint32", value }];
  return [
    { key: "tokenizer.ggml.model", type: "string", value: "gpt2" },
    { key: "tokenizer.ggml.pre", type: "string", value: pre },
    { key: "tokenizer.ggml.tokens", type: "array", elementType: "string", value: [...tokens, ...fillers] },
    { key: "tokenizer.ggml.token_type", type: "array", elementType: "int32", value: types },
    { key: "tokenizer.ggml.merges", type: "array", elementType: "string", value: [...merges] },
    ...id("bos", bosId),
    ...id("eos", eosIds[0]),
    ...id("eot", more.endOfTurn),
    ...id("unknown", more.unknown),
    ...id("padding", more.padding),
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: addsBos },
  ];
}
