/** Small vocabularies of the kinds that the families have: enough for a model to be a whole one. */

import type { GgufEntry } from "../../engine/container/gguf.js";
import { spell } from "../../engine/text/byte-alphabet.js";
import { type Shape, SPECIALS } from "./model.js";

const LETTERS = [..."etaoinshrdlcumwfgypbvkjxqz"];

/** `count` two-part pieces, each with the two parts that merge into it. */
function pairs(count: number, space: string): (readonly [string, string])[] {
  const all = [space, ...LETTERS].flatMap((first) => LETTERS.map((second) => [first, second] as const));
  return all.slice(0, count);
}

/** A vocabulary as both containers write it. */
export interface Vocabulary {
  /** `tokenizer.json` */
  readonly json: object;
  /** `tokenizer_config.json` */
  readonly config: object;
  readonly bosId: number;
  readonly eosId: number;
  readonly metadata: readonly GgufEntry[];
}

const special = (id: number, content: string): object => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

const entries = (
  model: string,
  pre: string,
  tokens: readonly string[],
  types: readonly number[],
  bosId: number,
  eosId: number,
): GgufEntry[] => [
  { key: "tokenizer.ggml.model", type: "string", value: model },
  { key: "tokenizer.ggml.pre", type: "string", value: pre },
  { key: "tokenizer.ggml.tokens", type: "array", elementType: "string", value: [...tokens] },
  { key: "tokenizer.ggml.token_type", type: "array", elementType: "int32", value: [...types] },
  { key: "tokenizer.ggml.bos_token_id", type: "uint32", value: bosId },
  { key: "tokenizer.ggml.eos_token_id", type: "uint32", value: eosId },
];

/** GGUF's token types. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

const SPLITS = {
  qwen35:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  "llama-bpe":
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  qwen2: "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
};

/** Byte-level BPE: all bytes, then pairs, then specials. */
function byteLevel(vocab: number, pre: keyof typeof SPLITS, names: readonly string[], addsBos: boolean): Vocabulary {
  const spelled = new Uint8Array(2);
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    new TextDecoder().decode(spelled.subarray(0, spell(Uint8Array.of(byte), 1, spelled, 0))),
  );
  const merges = pairs(vocab - SPECIALS - bytes.length, bytes[32]!);
  const plain = [...bytes, ...merges.map((pair) => pair.join(""))];
  const specials = Array.from({ length: SPECIALS }, (_, i) => names[i] ?? `<|reserved_${i}|>`);
  const bosId = plain.length;
  const eosId = plain.length + 1;
  const template = {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: specials[0], type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { [specials[0]!]: { id: specials[0], ids: [bosId], tokens: [specials[0]] } },
  };
  const step = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  return {
    json: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: specials.map((content, i) => special(bosId + i, content)),
      normalizer: pre === "qwen2" ? { type: "NFC" } : null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [{ type: "Split", pattern: { Regex: SPLITS[pre] }, behavior: "Isolated", invert: false }, step],
      },
      post_processor: addsBos ? template : step,
      decoder: step,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: pre === "llama-bpe",
        vocab: Object.fromEntries(plain.map((token, id) => [token, id])),
        merges: merges.map((pair) => pair.join(" ")),
      },
    },
    config: { bos_token: specials[0], eos_token: specials[1], add_bos_token: addsBos, tokenizer_class: "PreTrainedTokenizerFast" },
    bosId,
    eosId,
    metadata: [
      ...entries("gpt2", pre, [...plain, ...specials], [...plain.map(() => NORMAL), ...specials.map(() => CONTROL)], bosId, eosId),
      { key: "tokenizer.ggml.merges", type: "array", elementType: "string", value: merges.map((pair) => pair.join(" ")) },
      { key: "tokenizer.ggml.add_bos_token", type: "bool", value: addsBos },
    ],
  };
}

/** SentencePiece BPE: three specials, all bytes, pairs in the order of their scores, then single characters. */
function sentencePiece(vocab: number, spacePrefix: boolean): Vocabulary {
  const specials = ["<unk>", "<s>", "</s>"];
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const singles = ["▁", ...LETTERS, ..."0123456789.,!?'\"-"];
  const merges = pairs(vocab - specials.length - bytes.length - singles.length, "▁");
  const tokens = [...specials, ...bytes, ...merges.map((pair) => pair.join("")), ...singles];
  const known = specials.length + bytes.length;
  const replace = { type: "Replace", pattern: { String: " " }, content: "▁" };
  return {
    json: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: specials.map((content, id) => special(id, content)),
      normalizer: spacePrefix ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, replace] } : replace,
      // Gemma's cuts at spaces, of which the normaliser leaves none.
      pre_tokenizer: spacePrefix ? null : { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false },
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
        special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
      },
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "▁" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          ...(spacePrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
        ],
      },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: "<unk>",
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: merges.map((pair) => pair.join(" ")),
      },
    },
    config: { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", add_bos_token: true, tokenizer_class: "LlamaTokenizer" },
    bosId: 1,
    eosId: 2,
    metadata: [
      ...entries(
        "llama",
        "default",
        tokens,
        tokens.map((_, id) => (id === 0 ? UNKNOWN : id < specials.length ? CONTROL : id < known ? BYTE : NORMAL)),
        1,
        2,
      ),
      {
        key: "tokenizer.ggml.scores",
        type: "array",
        elementType: "float32",
        value: tokens.map((_, id) => (id < known ? 0 : known - id)),
      },
      { key: "tokenizer.ggml.unknown_token_id", type: "uint32", value: 0 },
      { key: "tokenizer.ggml.add_bos_token", type: "bool", value: true },
      { key: "tokenizer.ggml.add_space_prefix", type: "bool", value: spacePrefix },
    ],
  };
}

/** The vocabulary that the family's published models have a larger one of. */
export function vocabularyOf({ family, vocab }: Shape): Vocabulary {
  if (family === "bitnet" || family === "minicpm") return sentencePiece(vocab, true);
  if (family === "gemma3") return sentencePiece(vocab, false);
  if (family === "llama") return byteLevel(vocab, "llama-bpe", ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], true);
  return byteLevel(vocab, family === "qwen35" ? "qwen35" : "qwen2", ["<|endoftext|>", "<|im_end|>", "<|im_start|>"], false);
}
