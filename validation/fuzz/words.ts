import type { GgufEntry } from "../../engine/container/gguf.js";

/** A small tokenizer, as either container has it. */
export interface Words {
  readonly bos: string;
  readonly eos: string;
  readonly bosId: number;
  readonly eosId: number;
  readonly metadata: readonly GgufEntry[];
  /** tokenizer.json */
  readonly json: object;
  /** `added_tokens` of it. */
  readonly added: readonly { readonly id: number; readonly content: string }[];
}

const BYTES = 256;
const WORDS = ["t h", "th e", "i n", "e r", "a n", "o u", "Ġ a", "Ġ the", "Ġ t", "r e", "s t", "an d"];
const SPECIALS = [
  "<|begin_of_text|>",
  "<|end_of_text|>",
  "<|start_header_id|>",
  "<|end_header_id|>",
  "<|eot_id|>",
  "<|pad|>",
  "<|user|>",
  "<|x|>",
];
export const TEMPLATE =
  "{% for message in messages %}{{ '<|user|>' + message['role'] + ': ' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
const REGEX =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** All bytes in GPT-2's alphabet, then words, then specials. */
const TOKENS: readonly string[] = [
  ...Array.from({ length: BYTES }, (_, byte) => spell(byte)),
  ...WORDS.map((merge) => merge.replace(" ", "")),
  ...SPECIALS,
];
const FIRST_SPECIAL = TOKENS.length - SPECIALS.length;
export const VOCAB = TOKENS.length + 12; // a model may have more rows than the tokenizer has tokens

function spell(byte: number): string {
  const plain = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (plain(byte)) return String.fromCharCode(byte);
  let rank = 0;
  for (let b = 0; b < byte; b++) if (!plain(b)) rank++;
  return String.fromCharCode(256 + rank);
}

const special = (id: number, content: string) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** What either kind has in GGUF. */
function metadataOf(model: string, tokens: readonly string[], types: readonly number[], bosId: number, eosId: number): GgufEntry[] {
  return [
    { key: "tokenizer.ggml.model", type: "string", value: model },
    { key: "tokenizer.ggml.tokens", type: "array", elementType: "string", value: tokens },
    { key: "tokenizer.ggml.token_type", type: "array", elementType: "int32", value: types },
    { key: "tokenizer.ggml.bos_token_id", type: "uint32", value: bosId },
    { key: "tokenizer.ggml.eos_token_id", type: "uint32", value: eosId },
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: true },
  ];
}

/** A post-processor that puts one token before a text. */
function before(token: string, id: number): object {
  return {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

const byteLevelAdded = SPECIALS.map((content, i) => special(FIRST_SPECIAL + i, content));

/** LLaMA-3's kind. */
export const BYTE_LEVEL: Words = {
  bos: SPECIALS[0]!,
  eos: SPECIALS[1]!,
  bosId: FIRST_SPECIAL,
  eosId: FIRST_SPECIAL + 1,
  metadata: [
    ...metadataOf(
      "gpt2",
      TOKENS,
      TOKENS.map((_, id) => (id >= FIRST_SPECIAL ? 3 : 1)),
      FIRST_SPECIAL,
      FIRST_SPECIAL + 1,
    ),
    { key: "tokenizer.ggml.pre", type: "string", value: "llama-bpe" },
    { key: "tokenizer.ggml.merges", type: "array", elementType: "string", value: WORDS },
  ],
  added: byteLevelAdded,
  json: {
    version: "1.0",
    added_tokens: byteLevelAdded,
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: REGEX }, behavior: "Isolated", invert: false },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: before(SPECIALS[0]!, FIRST_SPECIAL),
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      ignore_merges: true,
      byte_fallback: false,
      vocab: Object.fromEntries(TOKENS.slice(0, FIRST_SPECIAL).map((token, id) => [token, id])),
      merges: WORDS.map((merge, i) => (i % 2 ? merge : merge.split(" "))),
    },
  },
};

const PIECE_SPECIALS = ["<unk>", "<s>", "</s>"];
const PIECE_MERGES = ["▁ t", "h e", "i n", "▁t h", "▁t he", "▁th e", "a n"];
const PIECE_TOKENS = [
  ...PIECE_SPECIALS,
  ...Array.from({ length: BYTES }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
  ...["▁", "t", "h", "e", "i", "n", "a"],
  ...new Set(PIECE_MERGES.map((merge) => merge.replace(" ", ""))),
];
const FIRST_PIECE = PIECE_SPECIALS.length + BYTES;
const typeOfPiece = (id: number): number => (id === 0 ? 2 : id < PIECE_SPECIALS.length ? 3 : id < FIRST_PIECE ? 6 : 1);
const pieceAdded = PIECE_SPECIALS.map((content, id) => special(id, content));

/** LLaMA-2's kind: SentencePiece's. */
export const PIECES: Words = {
  bos: "<s>",
  eos: "</s>",
  bosId: 1,
  eosId: 2,
  metadata: [
    ...metadataOf(
      "llama",
      PIECE_TOKENS,
      PIECE_TOKENS.map((_, id) => typeOfPiece(id)),
      1,
      2,
    ),
    {
      key: "tokenizer.ggml.scores",
      type: "array",
      elementType: "float32",
      value: PIECE_TOKENS.map((_, id) => Math.min(0, FIRST_PIECE - id)),
    },
  ],
  added: pieceAdded,
  json: {
    version: "1.0",
    added_tokens: pieceAdded,
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: before("<s>", 1),
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      byte_fallback: true,
      unk_token: "<unk>",
      fuse_unk: true,
      vocab: Object.fromEntries(PIECE_TOKENS.map((token, id) => [token, id])),
      merges: PIECE_MERGES,
    },
  },
};
