import type { StringList } from "../container/string-list.js";
import type { SplitRule } from "./pretokenize.js";

/**
 * A token whose text stands as it is, and takes no part in merges:
 *
 * - `special`: recognised in text on request, not printed by default (`<|eot_id|>`)
 * - `added`: always recognised in text, printed like any other
 * - `unused`: a filler of the vocabulary; never recognised, printed only with the special ones
 * - `byte`: stands for the one byte it names (`<0x0A>`), of SentencePiece
 */
export type PlainKind = "special" | "added" | "unused" | "byte";

/** Where a space is put before text that has no special tokens in it: never, at the beginning of all text, or after each special token too. */
export type SpacePrefix = "never" | "first" | "always";

/** What a file says about its tokenizer, from either container, before any of it is checked: the input of `createTokenizer`. */
export type Vocabulary = ByteLevelVocabulary | PieceVocabulary;

interface CommonVocabulary {
  readonly source: "tokenizer.json" | "gguf";
  /** The file it came from, for messages. */
  readonly file: string;
  /** [size] By id: in the alphabet of its kind, or as plain text where `plain` says so. */
  readonly tokens: StringList;
  readonly plain: ReadonlyMap<number, PlainKind>;
  /** Those of the special and added tokens that are looked for in text after it is normalised, as they are then themselves ("normalized" in tokenizer.json). */
  readonly normalized?: ReadonlySet<number>;
  readonly bosId: number | undefined;
  readonly eosIds: readonly number[];
  /** Further ends that the file names: of a turn (`eot_token_id`), of a message, of a file. */
  readonly endIds: readonly number[];
  /** Whether text is encoded with BOS in front. */
  readonly addsBos: boolean;
  /** Whether text that is embedded ends with the first of `eosIds`. */
  readonly addsEos: boolean;
  /** What the file doesn't say and was assumed, each a sentence for the user. */
  readonly notes: readonly string[];
}

/** Byte-level BPE: tokens are in GPT-2's byte-level alphabet. */
export interface ByteLevelVocabulary extends CommonVocabulary {
  readonly kind: "byte-level";
  /** Best first: "left right", both in the byte-level alphabet. */
  readonly merges: StringList;
  readonly split: SplitRule;
  /** Text is brought to Unicode's normal form C first. */
  readonly nfc: boolean;
  /** A word that is a token becomes that token, even if no merges lead to it (LLaMA-3). */
  readonly ignoreMerges: boolean;
}

/** SentencePiece's BPE: tokens are text with "▁" for a space. */
export interface PieceVocabulary extends CommonVocabulary {
  readonly kind: "pieces";
  /** What merges first: the piece of the highest score [size], or a list of pairs, best first: "left right". */
  readonly order: { readonly scores: ArrayLike<number> } | { readonly merges: StringList };
  readonly spacePrefix: SpacePrefix;
  /** A text that begins with a space gets no other before it. */
  readonly keepsSpace: boolean;
}

/** The names of the files' keys, for messages. */
export const vocabularyKeys = {
  "tokenizer.json": {
    tokens: "model.vocab of tokenizer.json",
    plain: "added_tokens of tokenizer.json",
    merges: "model.merges of tokenizer.json",
    scores: "scores of tokenizer.json",
    bos: "bos_token",
    eos: "eos_token",
  },
  gguf: {
    tokens: "tokenizer.ggml.tokens",
    plain: "tokenizer.ggml.tokens",
    merges: "tokenizer.ggml.merges",
    scores: "tokenizer.ggml.scores",
    bos: "tokenizer.ggml.bos_token_id",
    eos: "tokenizer.ggml.eos_token_id",
  },
} as const;

/** What to do about a tokenizer that is missing, or unknown here: the end of a message. */
export const passAnother = "pass the model's own tokenizer.json (--tokenizer, or the option tokenizer)";
