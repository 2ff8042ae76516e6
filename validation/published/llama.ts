/** Stand-ins of models with LLaMA's architecture: Falcon-E, Falcon3-1.58, Llama3-8B-1.58, TriLM. */
import type { NewTensor } from "../../engine/container/checkpoint.js";
import type { FamilyModel } from "../families/model.js";
import { vocabularyOf } from "../families/vocabulary.js";
import { familyTensors } from "../families/write-gguf.js";
import { configOf, familySafetensors } from "../families/write-safetensors.js";
import { CHATML, entries, type Json, type Standin, smallModel, writeDirectory, writeGgufFile } from "./parts.js";

// --- LLaMA's architecture: Falcon-E, Falcon3-1.58, Llama3-8B-1.58, TriLM --------------------------------------------------------------------

const FALCON = smallModel("llama", { tied: false, theta: 1_000_042 });
const FALCON_SPECIALS = [
  "<|end_of_text|>",
  "<|pad|>",
  "<|im_start|>",
  "<|im_end|>",
  ">>UNUSED_0<<",
  ">>UNUSED_1<<",
  ">>UNUSED_2<<",
  ">>UNUSED_3<<",
];

/** A small vocabulary with other special tokens; ids of the specials are the last eight. */
function tokenizerOf(
  { shape }: FamilyModel,
  specials: readonly string[],
): { tokens: string[]; types: Int32Array; merges: string[]; first: number; json: Json } {
  const { metadata, json } = vocabularyOf(shape);
  const found = (key: string) => metadata.find((entry) => entry.key === key)!.value as string[] & number[];
  const first = shape.vocab - specials.length;
  const tokens = [...found("tokenizer.ggml.tokens").slice(0, first), ...specials];
  const types = Int32Array.from(found("tokenizer.ggml.token_type"));
  const given = json as { added_tokens: readonly Json[] };
  const added = given.added_tokens.map((token, i) => ({ ...token, content: specials[i] }));
  return { tokens, types, merges: found("tokenizer.ggml.merges"), first, json: { ...given, added_tokens: added } };
}

interface LlamaFile {
  readonly name: string;
  readonly pre: string;
  readonly specials: readonly string[];
  /** Special ids that the file names, counted from the first special token. */
  readonly ids: Json;
  readonly template: string;
}

/** bitnet.cpp's 22 keys for a LLaMA. */
async function writeLlamaGguf(folder: string, { name, pre, specials, ids, template }: LlamaFile): Promise<string> {
  const { tokens, types, merges, first } = tokenizerOf(FALCON, specials);
  const keys = {
    ...llamaKeys(name),
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.merges": merges,
    ...idKeys(ids, first),
    "tokenizer.chat_template": template,
    "general.quantization_version": 2,
  };
  return writeGgufFile(folder, "ggml-model-i2_s.gguf", entries("llama", keys), familyTensors(FALCON, "I2_S"));
}

/** The first 13. */
function llamaKeys(name: string): Json {
  const { shape } = FALCON;
  return {
    "general.architecture": "llama",
    "general.name": name,
    "A.block_count": shape.layers,
    "A.context_length": 32_768,
    "A.embedding_length": shape.hidden,
    "A.feed_forward_length": shape.ffn,
    "A.attention.head_count": shape.heads,
    "A.attention.head_count_kv": shape.kvHeads,
    "A.rope.freq_base": shape.theta,
    "A.attention.layer_norm_rms_epsilon": shape.eps,
    "general.file_type": 40,
    "A.vocab_size": shape.vocab,
    "A.rope.dimension_count": shape.headDim,
  };
}

const idKeys = (ids: Json, first: number): Json =>
  Object.fromEntries(Object.entries(ids).map(([key, at]) => [`tokenizer.ggml.${key}`, first + (at as number)]));

/** As a community converter writes Falcon3: with scores, without a split's name, and with the special tokens as ordinary ones. */
async function writeCommunityFalcon3(folder: string): Promise<string> {
  const { tokens, merges, first } = tokenizerOf(FALCON, ["<|endoftext|>", "<|pad|>", ...FALCON_SPECIALS.slice(2)]);
  const keys = {
    ...llamaKeys("Falcon3 1B Instruct"),
    "general.type": "model",
    "general.finetune": "Instruct",
    "general.basename": "Falcon3",
    "general.size_label": "1B",
    "general.license": "other",
    "general.tags": ["falcon3", "text-generation"],
    "general.languages": ["en", "fr", "es", "pt"],
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": new Float32Array(tokens.length),
    "tokenizer.ggml.token_type": Int32Array.from(tokens, () => 1),
    "tokenizer.ggml.merges": merges,
    ...idKeys({ eos_token_id: 0, padding_token_id: 1 }, first),
    "general.quantization_version": 2,
  };
  return writeGgufFile(folder, "Falcon3-1B-Instruct-i2_s.gguf", entries("llama", keys), familyTensors(FALCON, "I2_S"));
}

/** As onebitllms saves Falcon-E: scales divide, since neither linear_class nor quantization_mode is there. */
async function writeFalconE(folder: string, revision: "main" | "bfloat16" | "prequantized", tied = false): Promise<string> {
  const model = tied ? smallModel("llama", { tied, theta: FALCON.shape.theta }) : FALCON;
  const { json, first } = tokenizerOf(model, FALCON_SPECIALS);
  const { bos_token_id: _, ...config } = configOf(model.shape) as Json;
  const quantization = {
    modules_to_not_convert: tied ? ["lm_head", "model.embed_tokens", "model.norm"] : ["lm_head"],
    quant_method: "bitnet",
  };
  const { quantization_config: __, ...plain } = config;
  const masters = familySafetensors(model, false).map((tensor) => (/_proj/.test(tensor.name) ? withNoise(tensor) : tensor));
  return writeDirectory(folder, revision === "prequantized" ? masters : familySafetensors(model, revision === "main"), {
    "config.json": {
      ...plain,
      _name_or_path: "Falcon-E-1B-Instruct",
      attention_dropout: 0.0,
      eos_token_id: first + 3,
      max_position_embeddings: 32_768,
      pretraining_tp: 1,
      ...(revision === "main" && { is_bitnet_config: true, quantization_config: quantization }),
      transformers_version: "4.51.3",
    },
    "tokenizer.json": { ...json, post_processor: null },
    "tokenizer_config.json": {
      chat_template: CHATML,
      eos_token: "<|im_end|>",
      pad_token: "<|pad|>",
      tokenizer_class: "PreTrainedTokenizerFast",
    },
  });
}

/** Master weights: no two alike. bf16 with its low bits changed. */
function withNoise(tensor: NewTensor): NewTensor {
  const bytes = tensor.data as Uint8Array;
  const data = bytes.map((byte, i) => (i % 2 === 0 ? byte ^ ((i * 37) & 0x7f) : byte));
  return { ...tensor, data };
}

/** Falcon3's packed checkpoint of 7B has 8 rows more than its tokenizer has tokens. */
async function writeFalcon3(folder: string): Promise<string> {
  const { json } = tokenizerOf(FALCON, FALCON_SPECIALS);
  const { added_tokens: added, ...rest } = json as Json & { added_tokens: readonly Json[] };
  return writeDirectory(folder, familySafetensors(FALCON), {
    "config.json": { ...configOf(FALCON.shape), bos_token_id: null, eos_token_id: FALCON.shape.vocab - 8 },
    "tokenizer.json": { ...rest, added_tokens: added.slice(0, 4), post_processor: null },
    "tokenizer_config.json": { eos_token: FALCON_SPECIALS[0], tokenizer_class: "PreTrainedTokenizerFast" },
  });
}

const LLAMA3_SPECIALS = [
  "<|begin_of_text|>",
  "<|end_of_text|>",
  "<|reserved_special_token_0|>",
  "<|start_header_id|>",
  "<|end_header_id|>",
  "<|eot_id|>",
  "<|reserved_special_token_1|>",
  "<|reserved_special_token_2|>",
];
const LLAMA3_TEMPLATE =
  "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}";

/** HF1BitLLM's Llama3-8B: as LLaMA-3-8B-Instruct, with two keys more. */
async function writeLlama3(folder: string): Promise<string> {
  const { json, first } = tokenizerOf(FALCON, LLAMA3_SPECIALS);
  const config = configOf(FALCON.shape) as Json;
  const bos = { id: LLAMA3_SPECIALS[0], ids: [first], tokens: [LLAMA3_SPECIALS[0]] };
  return writeDirectory(folder, familySafetensors(FALCON), {
    "config.json": {
      ...config,
      bos_token_id: first,
      eos_token_id: first + 5,
      is_bitnet_config: true,
      rope_interleaved: false,
      quantization_config: { modules_to_not_convert: null, quant_method: "bitnet" },
      transformers_version: "4.44.0.dev0",
    },
    "tokenizer.json": {
      ...json,
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: LLAMA3_SPECIALS[0], type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
        pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
        special_tokens: { [LLAMA3_SPECIALS[0]!]: bos },
      },
    },
    "tokenizer_config.json": {
      bos_token: LLAMA3_SPECIALS[0],
      chat_template: LLAMA3_TEMPLATE,
      eos_token: "<|eot_id|>",
      tokenizer_class: "PreTrainedTokenizerFast",
    },
  });
}

/** SpectraSuite's TriLM: a plain LLaMA of floats that are ternary, with GPT-NeoX's runs of spaces, no statement about quantisation, and more rows than tokens. */
async function writeTriLm(folder: string): Promise<string> {
  const model = smallModel("llama", { tied: false, theta: 10_000 });
  const { json } = vocabularyOf(model.shape);
  const given = json as Json & { added_tokens: readonly Json[]; model: Json };
  const first = model.shape.vocab - 8;
  const token = (content: string, special: boolean): Json => ({
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: !special,
    special,
  });
  const runs = Array.from({ length: 5 }, (_, i) => " ".repeat(6 - i));
  const step = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  return writeDirectory(folder, familySafetensors(model, false), {
    "config.json": {
      ...(({ quantization_config: _, ...config }) => config)(configOf(model.shape) as Json & { quantization_config?: unknown }),
      bos_token_id: first,
      eos_token_id: first,
      max_position_embeddings: 2048,
      torch_dtype: "float16",
    },
    "tokenizer.json": {
      ...given,
      added_tokens: [
        { id: first, ...token("<|endoftext|>", true) },
        ...runs.map((run, i) => ({ id: first + 1 + i, ...token(run, false) })),
      ],
      normalizer: { type: "NFC" },
      pre_tokenizer: step,
      post_processor: step,
      model: { ...given.model, ignore_merges: false },
    },
    "tokenizer_config.json": {
      bos_token: "<|endoftext|>",
      eos_token: "<|endoftext|>",
      unk_token: "<|endoftext|>",
      tokenizer_class: "GPTNeoXTokenizer",
    },
  });
}

export const LLAMA: readonly Standin[] = [
  {
    name: "falcon-e-gguf",
    repository: "tiiuae/Falcon-E-1B-Instruct-GGUF",
    known: "part",
    write: (folder) =>
      writeLlamaGguf(folder, {
        name: "Falcon-E-1B-Instruct",
        pre: "falcon_e",
        specials: FALCON_SPECIALS,
        ids: { eos_token_id: 3, padding_token_id: 1 },
        template: CHATML,
      }),
  },
  { name: "falcon-e-packed", repository: "tiiuae/Falcon-E-1B-Instruct", known: "source", write: (folder) => writeFalconE(folder, "main") },
  {
    name: "falcon-e-tied",
    repository: "a tied model saved by onebitllms",
    known: "source",
    write: (folder) => writeFalconE(folder, "main", true),
  },
  {
    name: "falcon-e-bfloat16",
    repository: "tiiuae/Falcon-E-1B-Instruct, revision bfloat16",
    known: "part",
    write: (folder) => writeFalconE(folder, "bfloat16"),
  },
  {
    name: "falcon-e-prequantized",
    repository: "tiiuae/Falcon-E-1B-Instruct, revision prequantized",
    known: "part",
    write: (folder) => writeFalconE(folder, "prequantized"),
  },
  {
    name: "falcon3-gguf",
    repository: "tiiuae/Falcon3-1B-Instruct-1.58bit-GGUF",
    known: "source",
    write: (folder) =>
      writeLlamaGguf(folder, {
        name: "Falcon3-1B-Instruct-1.58bit",
        pre: "falcon3",
        specials: ["<|endoftext|>", "<|pad|>", ...Array.from({ length: 6 }, (_, i) => `[PAD${634 + i}]`)],
        ids: { eos_token_id: 0, padding_token_id: 1 },
        template:
          "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '\n' }}{% endfor %}{{ '<|assistant|>\n' }}",
      }),
  },
  { name: "falcon3-packed", repository: "tiiuae/Falcon3-7B-Instruct-1.58bit", known: "part", write: writeFalcon3 },
  { name: "falcon3-gguf-community", repository: "a community's GGUF of Falcon3", known: "dump", write: writeCommunityFalcon3 },
  { name: "llama3-packed", repository: "HF1BitLLM/Llama3-8B-1.58-100B-tokens", known: "part", write: writeLlama3 },
  {
    name: "llama3-gguf",
    repository: "Llama3-8B-1.58-100B-tokens by bitnet.cpp",
    known: "part",
    write: (folder) =>
      writeLlamaGguf(folder, {
        name: "Llama3-8B-1.58-100B-tokens",
        pre: "llama-bpe",
        specials: LLAMA3_SPECIALS,
        ids: { bos_token_id: 0, eos_token_id: 5 },
        template: LLAMA3_TEMPLATE,
      }),
  },
  { name: "trilm", repository: "SpectraSuite/TriLM_3.9B_Unpacked", known: "inferred", write: writeTriLm },
];
