import { StringList } from "../container/string-list.js";
import type { TextRanges } from "./added-tokens.js";
import { type Alphabet, TableError, TokenTable } from "./token-table.js";
import { type SpacePrefix, type Vocabulary, vocabularyKeys } from "./vocabulary.js";

/** Refuses the vocabulary: a message that begins with the key. */
export type Refuse = (message: string) => never;

/** What differs from one kind of tokenizer to another: how a stretch of text becomes ids, and what a token stands for. */
export interface Codec {
  readonly spacePrefix: SpacePrefix;
  /** Whether the token was recognised as such in text, so that the text after it starts afresh. */
  isBorder(id: number): boolean;
  /** Text as the tokenizer's normaliser makes it, and where ranges of it are then; `encode` takes either. `prefixed` puts a space before it. */
  normalize(text: string, prefixed: boolean, ranges: TextRanges): { readonly text: string; readonly ranges: TextRanges };
  /** Appends the ids of a text in which special tokens are not looked for; `prefixed` puts a space before it. */
  encode(text: string, prefixed: boolean, out: number[]): void;
  /** Bytes that a token stands for, at most. */
  maxBytes(id: number): number;
  /** The most that `maxBytes` gives. */
  readonly longest: number;
  /** Writes the bytes that a token stands for to `out[at…]`; their end there. */
  write(id: number, out: Uint8Array, at: number): number;
  /** Id of the token that is written as this UTF-8, −1 if there is none. */
  idOf(text: Uint8Array): number;
}

/** The table of a vocabulary's tokens. */
export function tableOf(vocabulary: Vocabulary, alphabet: Alphabet, refuse: Refuse, maxBytes?: number): TokenTable {
  const { tokens, plain, source } = vocabulary;
  // A copy: the list in hand may be a part of all that was read of the file.
  const own = () => new StringList(tokens.bytes.slice(), tokens.starts);
  return orRefuse(() => new TokenTable(own(), plain, alphabet, maxBytes), vocabularyKeys[source].tokens, refuse);
}

/** Which of two merges of the same pair counts: the first in llama.cpp, the last in Hugging Face's library. */
export const lastCounts = ({ source }: Vocabulary): boolean => source === "tokenizer.json";

/** Runs what may throw a TableError, and refuses the vocabulary if it does. */
export function orRefuse<T>(make: () => T, key: string, refuse: Refuse): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof TableError) return refuse(`${key} ${error.message}`);
    throw error;
  }
}
