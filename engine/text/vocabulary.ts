import type { StringList } from "../container/string-list.js";
import type { SplitRule } from "./pretokenize.js";

/**
 * A token whose text stands as it is, not in the byte-level alphabet:
 *
 * - `special`: recognised in text on request, not printed by default (`<|eot_id|>`)
 * - `added`: always recognised in text, printed like any other
 * - `unused`: a filler of the vocabulary; never recognised, printed only with the special ones
 */
export type PlainKind = "special" | "added" | "unused";

/** What a file says about its tokenizer, from either container, before any of it is checked: the input of `createTokenizer`. */
export interface Vocabulary {
  readonly source: "tokenizer.json" | "gguf";
  /** The file it came from, for messages. */
  readonly file: string;
  /** [size] By id: in GPT-2's byte-level alphabet, or as plain text where `plain` says so. */
  readonly tokens: StringList;
  readonly plain: ReadonlyMap<number, PlainKind>;
  /** Best first: "left right", both in the byte-level alphabet. */
  readonly merges: StringList;
  readonly split: SplitRule;
  /** A word that is a token becomes that token, even if no merges lead to it (LLaMA-3). */
  readonly ignoreMerges: boolean;
  readonly bosId: number | undefined;
  readonly eosIds: readonly number[];
  /** Whether text is encoded with BOS in front. */
  readonly addsBos: boolean;
}

/** The names of the files' keys, for messages. */
export const vocabularyKeys = {
  "tokenizer.json": {
    tokens: "model.vocab of tokenizer.json",
    plain: "added_tokens of tokenizer.json",
    merges: "model.merges of tokenizer.json",
    bos: "bos_token",
    eos: "eos_token",
  },
  gguf: {
    tokens: "tokenizer.ggml.tokens",
    plain: "tokenizer.ggml.tokens",
    merges: "tokenizer.ggml.merges",
    bos: "tokenizer.ggml.bos_token_id",
    eos: "tokenizer.ggml.eos_token_id",
  },
} as const;
