import { type SplitStep, splitPatterns } from "../text/pretokenize.js";
import type { ByteLevelVocabulary, PieceVocabulary, Vocabulary } from "../text/vocabulary.js";
import { countedMerges, uniqueNames } from "./fillers.js";
import { mergesOf } from "./piece-order.js";

/** A tokenizer of GGUF metadata as Hugging Face's files. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: string;
  /** tokenizer_config.json */
  readonly config: string;
}

/** What stands in both files for a token that takes no part in merges. */
const addedToken = (content: string, special: boolean) => ({
  content,
  ...{ single_word: false, lstrip: false, rstrip: false, normalized: false },
  special,
});

/**
 * Writes tokenizer.json and tokenizer_config.json so that texts become the same ids. Fillers at the end of the vocabulary are left out; others stay
 * ordinary tokens, which no merges lead to.
 */
export function jsonTokenizer(vocabulary: Vocabulary, chatTemplate: string | undefined, contextLength: number): TokenizerFiles {
  const { tokens, plain, bosId, eosIds, addsBos } = vocabulary;
  let size = tokens.length;
  while (size > 0 && plain.get(size - 1) === "unused") size--;
  // Built as text: an object would bring tokens that are numbers into another order, and "__proto__" is one of many.
  const vocab: string[] = [];
  const added: (ReturnType<typeof addedToken> & { id: number })[] = [];
  const names = uniqueNames(vocabulary, size);
  for (const [id, text] of names.entries()) {
    const kind = plain.get(id);
    const isAdded = tokens.at(id) !== "" && (kind === "special" || kind === "added");
    if (isAdded) added.push({ id, ...addedToken(text, kind === "special") });
    // Hugging Face's library gives tokens that are only added the ids after all others: SentencePiece's stand before them.
    if (!isAdded || vocabulary.kind === "pieces") vocab.push(`${JSON.stringify(text)}:${id}`);
  }
  const bos = bosId === undefined ? undefined : tokens.at(bosId)!;
  const eos = eosIds[0] === undefined ? undefined : tokens.at(eosIds[0])!;
  const head = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    ...(vocabulary.kind === "byte-level" ? byteLevelSteps(vocabulary) : pieceSteps(vocabulary)),
    post_processor: addsBos && bos !== undefined ? withBos(bos, bosId!) : vocabulary.kind === "byte-level" ? byteLevel(true) : null,
  };
  const model = {
    ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
    ...(vocabulary.kind === "byte-level"
      ? { fuse_unk: false, byte_fallback: false, ignore_merges: vocabulary.ignoreMerges }
      : { fuse_unk: true, byte_fallback: true, ignore_merges: false }),
  };
  const config = {
    added_tokens_decoder: Object.fromEntries(added.map(({ id, ...token }) => [id, token])),
    ...(bos !== undefined && { bos_token: bos }),
    ...(eos !== undefined && { eos_token: eos }),
    ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    clean_up_tokenization_spaces: false,
    model_input_names: ["input_ids", "attention_mask"],
    model_max_length: contextLength,
    tokenizer_class: "PreTrainedTokenizerFast",
  };
  // Merges of and to added tokens never happen, and of byte-level ones Hugging Face's library would miss the tokens in `vocab`.
  const contents = new Set(added.map(({ content }) => content));
  const isPossible = (merge: string): boolean => ![...merge.split(" "), merge.replace(" ", "")].some((text) => contents.has(text));
  const merges =
    vocabulary.kind === "byte-level" ? countedMerges(vocabulary.source, vocabulary.merges).filter(isPossible) : mergesOf(vocabulary);
  const pairs = Array.from(merges, (merge) => JSON.stringify(merge));
  return {
    tokenizer: `${JSON.stringify(head).slice(0, -1)},"model":${JSON.stringify(model).slice(0, -1)},"vocab":{${vocab.join(",")}},"merges":[${pairs.join(",")}]}}\n`,
    config: `${JSON.stringify(config, undefined, 2)}\n`,
  };
}

const byteLevel = (use_regex: boolean) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex });

function byteLevelSteps({ split, nfc }: ByteLevelVocabulary) {
  const steps = split.map((step) => splitSteps[step]);
  const spelled = split.findIndex((step) => step.startsWith("ascii"));
  if (!split.includes("gpt2")) steps.splice(spelled < 0 ? steps.length : spelled, 0, byteLevel(false));
  return {
    normalizer: nfc ? { type: "NFC" } : null,
    pre_tokenizer: steps.length === 1 ? steps[0] : { type: "Sequence", pretokenizers: steps },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  };
}

const splitBy = (regex: string) => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });

/** Each cut as tokenizer.json says it. GPT-2's is ByteLevel's own; ASCII's digits are those of the byte-level alphabet, after it. */
const splitSteps: Readonly<Record<SplitStep, object>> = {
  llama3: splitBy(splitPatterns.llama3),
  qwen2: splitBy(splitPatterns.qwen2),
  qwen35: splitBy(splitPatterns.qwen35),
  threeDigits: splitBy(splitPatterns.threeDigits),
  gpt2: byteLevel(true),
  punctuation: { type: "Punctuation", behavior: "Contiguous" },
  punctuationMarks: { type: "Punctuation", behavior: "Isolated" },
  digits: { type: "Digits", individual_digits: false },
  digit: { type: "Digits", individual_digits: true },
  asciiDigits: { type: "Digits", individual_digits: false },
  asciiDigit: { type: "Digits", individual_digits: true },
};

function pieceSteps({ spacePrefix, keepsSpace }: PieceVocabulary) {
  const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const prepend = { type: "Prepend", prepend: "▁" };
  const decoders = [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }];
  return {
    normalizer: keepsSpace ? null : { type: "Sequence", normalizers: spacePrefix === "never" ? [replace] : [prepend, replace] },
    pre_tokenizer: keepsSpace ? { type: "Metaspace", replacement: "▁", prepend_scheme: spacePrefix, split: false } : null,
    decoder: {
      type: "Sequence",
      decoders: spacePrefix === "never" ? decoders : [...decoders, { type: "Strip", content: " ", start: 1, stop: 0 }],
    },
  };
}

/** A post-processor that begins each text with BOS. */
function withBos(bos: string, id: number): unknown {
  const special = (type: number) => ({ SpecialToken: { id: bos, type_id: type } });
  const text = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  return {
    type: "TemplateProcessing",
    single: [special(0), text("A", 0)],
    pair: [special(0), text("A", 0), special(1), text("B", 1)],
    special_tokens: { [bos]: { id: bos, ids: [id], tokens: [bos] } },
  };
}
