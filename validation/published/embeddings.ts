/** Stand-ins of bitnet-embedding, with the keys and types of its converter. (microsoft/BitNet, utils/convert-bitnet-embedding-to-gguf.py.) */
import type { NewTensor } from "../../engine/container/checkpoint.js";
import type { GgufEntry } from "../../engine/container/gguf.js";
import type { FamilyModel } from "../families/model.js";
import { f16Bits } from "../families/random.js";
import { vocabularyOf } from "../families/vocabulary.js";
import { familyTensors } from "../families/write-gguf.js";
import { entries, type Json, type Standin, smallModel, writeGgufFile } from "./parts.js";

const MEAN = 1;

function keysOf({ shape }: FamilyModel, name: string): Json {
  return {
    "general.architecture": shape.family,
    "general.name": name,
    "A.block_count": shape.layers,
    "A.context_length": 32_768,
    "A.embedding_length": shape.hidden,
    "A.feed_forward_length": shape.ffn,
    "A.attention.head_count": shape.heads,
    "A.attention.head_count_kv": shape.kvHeads,
    "A.vocab_size": shape.vocab,
    "A.rope.dimension_count": shape.headDim,
    "A.attention.key_length": shape.headDim,
    "A.attention.value_length": shape.headDim,
    "A.rope.freq_base": shape.theta,
    "A.attention.layer_norm_rms_epsilon": shape.eps,
    "general.file_type": 40,
    "A.pooling_type": MEAN,
  };
}

/** Norms are F16, as the embedding is. */
function tensorsOf(model: FamilyModel): NewTensor[] {
  return familyTensors(model, "I2_S").map((tensor) => {
    if (tensor.type !== "F32") return tensor;
    const bytes = tensor.data as Uint8Array;
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    return { ...tensor, type: "F16", data: new Uint8Array(Uint16Array.from(values, f16Bits).buffer) };
  });
}

/** 0.6B: Qwen's vocabulary, whose EOS is the end of a text and stands behind each. */
async function write06b(folder: string): Promise<string> {
  const model = smallModel("qwen3", { tied: true, theta: 1_000_000, headDim: 128, innerNorms: true });
  const { metadata, bosId } = vocabularyOf(model.shape);
  const changes: Json = { "tokenizer.ggml.bos_token_id": undefined, "tokenizer.ggml.eos_token_id": bosId };
  const vocabulary = metadata.flatMap((entry): GgufEntry[] => {
    if (!(entry.key in changes)) return [entry];
    const value = changes[entry.key];
    return value === undefined ? [] : [{ key: entry.key, type: "uint32", value: value as number }];
  });
  const end: GgufEntry = { key: "tokenizer.ggml.add_eos_token", type: "bool", value: true };
  const name = "bitnet-embeddings-0.6b";
  const all = [...entries("qwen3", keysOf(model, name)), ...vocabulary, end];
  return writeGgufFile(folder, `${name}-bf16-i2_s.gguf`, all, tensorsOf(model));
}

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;
const BYTE = 6;

/** Gemma's vocabulary: scores are merges by rank; runs of spaces and line feeds are tokens of the user's. */
function gemmaVocabulary(size: number): Json {
  const letters = [..."etaoinshrdlcumwfgypbvkjxqz"];
  const pairs = ["▁", ...letters].flatMap((first) => letters.map((second) => first + second));
  const kinds: (readonly [type: number, score: (index: number) => number, tokens: readonly string[]])[] = [
    [CONTROL, () => -1000, ["<pad>", "<eos>", "<bos>"]],
    [UNKNOWN, () => 0, ["<unk>"]],
    [CONTROL, () => -1000, ["<mask>", "<unused0>", "<start_of_turn>", "<end_of_turn>"]],
    [USER_DEFINED, () => -1000, ["\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁"]],
    [BYTE, () => 0, Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`)],
    [NORMAL, () => 0, ["▁", "\n", ...letters, ...letters.map((letter) => letter.toUpperCase()), ..."0123456789.,!?"]],
  ];
  const known = kinds.reduce((sum, [, , tokens]) => sum + tokens.length, 0);
  kinds.push([NORMAL, (rank) => -rank, pairs.slice(0, size - known - 4)]);
  kinds.push([UNUSED, () => -10_000, [4, 3, 2, 1].map((left) => `[PAD${size - left}]`)]);
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.tokens": kinds.flatMap(([, , tokens]) => tokens),
    "tokenizer.ggml.scores": Float32Array.from(kinds.flatMap(([, score, tokens]) => tokens.map((_, index) => score(index)))),
    "tokenizer.ggml.token_type": Int32Array.from(kinds.flatMap(([type, , tokens]) => tokens.map(() => type))),
    "tokenizer.ggml.add_space_prefix": false,
    "tokenizer.ggml.bos_token_id": 2,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.unknown_token_id": 3,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.add_bos_token": true,
    "tokenizer.ggml.add_eos_token": false,
  };
}

/** 270M: Gemma 3's network and vocabulary. */
async function write270m(folder: string): Promise<string> {
  const sizes = { hidden: 320, heads: 2, kvHeads: 1, headDim: 256, ffn: 384 };
  const model = smallModel("gemma3", { tied: true, theta: 10_000, innerNorms: true, ...sizes });
  const name = "bitnet-embeddings-270m";
  const keys = { ...keysOf(model, name), ...gemmaVocabulary(model.shape.vocab) };
  return writeGgufFile(folder, `${name}-bf16-i2_s.gguf`, entries("gemma3", keys), tensorsOf(model));
}

export const EMBEDDINGS: readonly Standin[] = [
  { name: "bitnet-embedding-0.6b", repository: "microsoft/bitnet-embedding-0.6b", known: "source", write: write06b },
  { name: "bitnet-embedding-270m", repository: "microsoft/bitnet-embedding-270m", known: "source", write: write270m },
];
