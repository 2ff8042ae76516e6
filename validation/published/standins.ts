/**
 * A small stand-in for each published model: its keys, configuration, file names and habits, exactly as far as they are known, over small weights.
 * The real files are too large to test with, and a file of our own making would have our own habits. How sure each is stands in `known`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NewTensor } from "../../engine/container/checkpoint.js";
import type { FamilyModel } from "../families/model.js";
import { vocabularyOf } from "../families/vocabulary.js";
import { familyTensors } from "../families/write-gguf.js";
import { configOf, familySafetensors } from "../families/write-safetensors.js";
import {
  entries,
  type Json,
  STORY_PACKED,
  smallModel,
  storyJson,
  storyPackedTensors,
  storyParts,
  writeDirectory,
  writeGgufFile,
} from "./parts.js";

export interface Standin {
  readonly name: string;
  /** The public repository whose file this stands for. */
  readonly repository: string;
  /**
   * `dump`: every key was seen in a full listing; `part`: some were; `source`: from the converter or class that writes such files, which was read;
   * `inferred`: the rest follows from siblings.
   */
  readonly known: "dump" | "part" | "source" | "inferred";
  /** Writes it. @returns the path to give as a model */
  readonly write: (folder: string) => Promise<string>;
}

// --- BitNet b1.58 2B4T -------------------------------------------------------------------------------------------------------------------

/** In bitnet.cpp's convert-ms-to-gguf-bitnet.py, which made the published file: "Human" and an end of text, and no system message. */
export const PLACEHOLDER =
  "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{% if message['role'] == 'user' %}{{ 'Human: ' + message['content'] + '\\n\\nBITNETAssistant: ' + eos_token }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}";

/** The 24 keys of the published file, in its order: no `tokenizer.ggml.pre`, no activation function. */
async function write2b4t(folder: string, architecture: string, name: string, untied: boolean): Promise<string> {
  const { tensors, tokens, types, merges } = await storyParts();
  const keys = {
    "general.architecture": architecture,
    "general.name": name,
    "A.vocab_size": tokens.length,
    "A.context_length": 2048,
    "A.embedding_length": 256,
    "A.block_count": 4,
    "A.feed_forward_length": 768,
    "A.rope.dimension_count": 64,
    "A.attention.head_count": 4,
    "A.attention.head_count_kv": 2,
    "tokenizer.ggml.add_bos_token": true,
    "A.attention.layer_norm_rms_epsilon": 1e-5,
    "A.rope.freq_base": 500_000,
    "general.file_type": 40,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": new Float32Array(tokens.length),
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.merges": merges,
    "tokenizer.ggml.bos_token_id": 4080,
    "tokenizer.ggml.eos_token_id": 4081,
    "tokenizer.ggml.padding_token_id": 4081,
    "tokenizer.chat_template": PLACEHOLDER,
    "general.quantization_version": 2,
  };
  const head = tensors.filter((tensor) => tensor.name === "token_embd.weight").map((tensor) => ({ ...tensor, name: "output.weight" }));
  return writeGgufFile(folder, "ggml-model-i2_s.gguf", entries(architecture, keys), [...tensors, ...(untied ? head : [])]);
}

/** config.json of microsoft/bitnet-b1.58-2B-4T-bf16, with the small model's sizes. */
const config2b4t = (mode: "offline" | "online"): Json => ({
  architectures: ["BitNetForCausalLM"],
  auto_map: { AutoConfig: "configuration_bitnet.BitNetConfig", AutoModelForCausalLM: "modeling_bitnet.BitNetForCausalLM" },
  bos_token_id: 4080,
  eos_token_id: 4081,
  hidden_act: "relu2",
  hidden_size: 256,
  initializer_range: 0.02,
  intermediate_size: 768,
  max_position_embeddings: 2048,
  model_type: "bitnet",
  rms_norm_eps: 1e-5,
  num_attention_heads: 4,
  num_hidden_layers: 4,
  num_key_value_heads: 2,
  rope_theta: 500_000.0,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  use_cache: true,
  vocab_size: 4096,
  quantization_config: { quant_method: "bitnet", linear_class: "autobitlinear", quantization_mode: mode },
});

const storyFiles = (): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"].map((name) => [
      name,
      readFileSync(join(STORY_PACKED, name), "utf8"),
    ]),
  );

/** As transformers 5 saves it: other names for two keys, the template in a file of its own, a list of special tokens. */
async function writeTransformers5(folder: string): Promise<string> {
  const { torch_dtype: dtype, rope_theta, ...config } = config2b4t("offline");
  const { chat_template, ...tokenizerConfig } = storyJson("tokenizer_config.json");
  return writeDirectory(folder, await storyPackedTensors(), {
    ...storyFiles(),
    "config.json": {
      ...config,
      dtype,
      head_dim: null,
      rope_parameters: { rope_theta, rope_type: "default" },
      quantization_config: {
        ...(config.quantization_config as Json),
        modules_to_not_convert: null,
        rms_norm_eps: 1e-6,
        use_rms_norm: false,
      },
    },
    "chat_template.jinja": chat_template,
    "tokenizer_config.json": { ...tokenizerConfig, backend: "tokenizers", is_local: false, tokenizer_class: "TokenizersBackend" },
  });
}

// --- LLaMA's architecture: Falcon-E, Falcon3-1.58, Llama3-8B-1.58, TriLM --------------------------------------------------------------------

const FALCON = smallModel("llama", { tied: false, theta: 1_000_042 });
const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
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

/** bitnet.cpp's 22 keys for a LLaMA: `ids` are the special ids the file names, `rows` the tensors' rows. */
async function writeLlamaGguf(
  folder: string,
  about: { name: string; pre: string; specials: readonly string[]; ids: Json; template: string },
): Promise<string> {
  const { shape } = FALCON;
  const { tokens, types, merges, first } = tokenizerOf(FALCON, about.specials);
  const ids = Object.fromEntries(Object.entries(about.ids).map(([key, at]) => [`tokenizer.ggml.${key}`, first + (at as number)]));
  const keys = {
    "general.architecture": "llama",
    "general.name": about.name,
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
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": about.pre,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.merges": merges,
    ...ids,
    "tokenizer.chat_template": about.template,
    "general.quantization_version": 2,
  };
  return writeGgufFile(folder, "ggml-model-i2_s.gguf", entries("llama", keys), familyTensors(FALCON, "I2_S"));
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

// --- 1bitLLM's BitNet b1.58 ----------------------------------------------------------------------------------------------------------------

const OLD_BITNET = smallModel("bitnet", { kvHeads: 4, tied: true, theta: 10_000 });

/** Special tokens of 2023 are normalized, as LLaMA-2's. */
async function writeOldBitnet(folder: string): Promise<string> {
  const { json } = vocabularyOf(OLD_BITNET.shape);
  const given = json as Json & { added_tokens: readonly Json[] };
  const name = (content: string): Json => ({
    __type: "AddedToken",
    content,
    lstrip: false,
    normalized: true,
    rstrip: false,
    single_word: false,
  });
  return writeDirectory(folder, familySafetensors(OLD_BITNET), {
    "config.json": { ...configOf(OLD_BITNET.shape), pad_token_id: 3 },
    "tokenizer.json": { ...given, added_tokens: given.added_tokens.map((token) => ({ ...token, normalized: true })) },
    "tokenizer_config.json": {
      add_bos_token: true,
      add_eos_token: false,
      bos_token: name("<s>"),
      eos_token: name("</s>"),
      unk_token: name("<unk>"),
      legacy: false,
      tokenizer_class: "BitnetTokenizer",
    },
  });
}

/** bitnet.cpp's 26 keys of 2024, for `bitnet`; its converter of 2026 writes the same model as `bitnet-b1.58`. */
async function writeOldBitnetGguf(folder: string, architecture: "bitnet" | "bitnet-b1.58"): Promise<string> {
  const { shape } = OLD_BITNET;
  const { metadata } = vocabularyOf(shape);
  const keys = {
    "general.architecture": architecture,
    "general.name": "bitnet_b1_58-3B",
    "A.block_count": shape.layers,
    "A.context_length": 512,
    "A.embedding_length": shape.hidden,
    "A.feed_forward_length": shape.ffn,
    "A.attention.head_count": shape.heads,
    "A.attention.head_count_kv": shape.kvHeads,
    "A.rope.freq_base": shape.theta,
    "A.attention.layer_norm_rms_epsilon": shape.eps,
    "general.file_type": 40,
    "A.vocab_size": shape.vocab,
    ...(architecture === "bitnet" && { "A.rope.scaling.type": "linear", "A.rope.scaling.factor": 1 }),
  };
  const tokenizer = metadata.filter(({ key }) => !key.endsWith("add_space_prefix"));
  const padding: (typeof metadata)[number][] = [{ key: "tokenizer.ggml.padding_token_id", type: "uint32", value: 2 }];
  return writeGgufFile(
    folder,
    "ggml-model-i2_s.gguf",
    [...entries(architecture, keys), ...tokenizer, ...padding, ...entries(architecture, { "general.quantization_version": 2 })],
    familyTensors(OLD_BITNET, "I2_S"),
  );
}

// --- Ternary-Bonsai, first generation --------------------------------------------------------------------------------------------------------

/** Ternary-Bonsai: tied, tables ternary too, an odd number of rows, YaRN. */
const BONSAI = smallModel("qwen3", { tied: true, theta: 1_000_000, vocab: 637, group: 128 });

async function writeBonsai(folder: string, file: "Q2_0" | "Q2_0_g64" | "PQ2_0"): Promise<string> {
  const { shape } = BONSAI;
  const { metadata } = vocabularyOf(shape);
  const keys = {
    "general.architecture": "qwen3",
    "general.name": "Ternary Bonsai",
    "A.block_count": shape.layers,
    "A.context_length": 65_536,
    "A.embedding_length": shape.hidden,
    "A.feed_forward_length": shape.ffn,
    "A.attention.head_count": shape.heads,
    "A.attention.head_count_kv": shape.kvHeads,
    "A.rope.freq_base": shape.theta,
    "A.attention.layer_norm_rms_epsilon": shape.eps,
    "A.attention.key_length": shape.headDim,
    "A.attention.value_length": shape.headDim,
    "A.rope.scaling.type": "yarn",
    "A.rope.scaling.factor": 4,
    "A.rope.scaling.original_context_length": 16_384,
    "general.file_type": 42,
  };
  const tensors = familyTensors(BONSAI, file === "Q2_0_g64" ? "Q2_0" : "Q2_0_128");
  const all = [...entries("qwen3", keys), ...metadata, ...entries("qwen3", { "general.quantization_version": 2 })];
  const path = await writeGgufFile(folder, `Ternary-Bonsai-8B-${file}.gguf`, all, tensors);
  if (file === "PQ2_0") renumber(path, tensors, 42, 142);
  return path;
}

/** Gives tensors of a type another number: the writer has one number a type. */
function renumber(path: string, tensors: readonly NewTensor[], from: number, to: number): void {
  const bytes = readFileSync(path);
  for (const { name, shape } of tensors) {
    const at = bytes.lastIndexOf(name) + name.length + 4 + 8 * shape.length; // behind the name: the number of axes, the axes
    if (bytes.readUInt32LE(at) === from) bytes.writeUInt32LE(to, at);
  }
  writeFileSync(path, bytes);
}

const bonsaiConfig = (): Json => {
  const { rope_scaling: _, rope_theta: __, torch_dtype: ___, ...config } = configOf(BONSAI.shape) as Json;
  return {
    ...config,
    dtype: "float16",
    layer_types: Array(BONSAI.shape.layers).fill("full_attention"),
    max_position_embeddings: 65_536,
    rope_parameters: { factor: 4.0, original_max_position_embeddings: 16_384, rope_theta: 1_000_000, rope_type: "yarn" },
    transformers_version: "5.3.0",
  };
};

async function writeBonsaiUnpacked(folder: string): Promise<string> {
  const { json, config } = vocabularyOf(BONSAI.shape);
  return writeDirectory(folder, familySafetensors(BONSAI), {
    "config.json": bonsaiConfig(),
    "tokenizer.json": json,
    "tokenizer_config.json": { ...config, tokenizer_class: "Qwen2Tokenizer" },
    "chat_template.jinja": CHATML,
  });
}

/** MLX's own form: 2-bit codes in U32 with a scale and a bias for each group. Read by no key but config.json's. */
async function writeBonsaiMlx(folder: string): Promise<string> {
  const { json, config } = vocabularyOf(BONSAI.shape);
  const quantization = { group_size: 128, bits: 2, mode: "affine" };
  return writeDirectory(folder, familySafetensors(BONSAI), {
    "config.json": { ...bonsaiConfig(), quantization, quantization_config: quantization },
    "tokenizer.json": json,
    "tokenizer_config.json": config,
  });
}

export const STANDINS: readonly Standin[] = [
  {
    name: "2b4t-gguf",
    repository: "microsoft/bitnet-b1.58-2B-4T-gguf",
    known: "dump",
    write: (folder) => write2b4t(folder, "bitnet-b1.58", "bitnet2b", false),
  },
  {
    name: "2b4t-gguf-early",
    repository: "microsoft/bitnet-b1.58-2B-4T-gguf, first file",
    known: "part",
    write: (folder) => write2b4t(folder, "bitnet-25", "bitnet2b_2501", true),
  },
  {
    name: "2b4t-packed",
    repository: "microsoft/bitnet-b1.58-2B-4T",
    known: "part",
    write: async (folder) => writeDirectory(folder, await storyPackedTensors(), { ...storyFiles(), "config.json": config2b4t("offline") }),
  },
  { name: "2b4t-transformers5", repository: "microsoft/bitnet-b1.58-2B-4T, saved again", known: "source", write: writeTransformers5 },
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
  { name: "llama3-packed", repository: "HF1BitLLM/Llama3-8B-1.58-100B-tokens", known: "part", write: writeLlama3 },
  { name: "trilm", repository: "SpectraSuite/TriLM_3.9B_Unpacked", known: "inferred", write: writeTriLm },
  { name: "bitnet-3b", repository: "1bitLLM/bitnet_b1_58-3B", known: "part", write: writeOldBitnet },
  {
    name: "bitnet-3b-gguf",
    repository: "bitnet_b1_58-3B by bitnet.cpp, 2024",
    known: "part",
    write: (folder) => writeOldBitnetGguf(folder, "bitnet"),
  },
  {
    name: "bitnet-3b-gguf-2026",
    repository: "bitnet_b1_58-3B by bitnet.cpp, 2026",
    known: "source",
    write: (folder) => writeOldBitnetGguf(folder, "bitnet-b1.58"),
  },
  {
    name: "bonsai-q2_0",
    repository: "prism-ml/Ternary-Bonsai-8B-gguf, Q2_0",
    known: "part",
    write: (folder) => writeBonsai(folder, "Q2_0"),
  },
  {
    name: "bonsai-q2_0-g64",
    repository: "prism-ml/Ternary-Bonsai-8B-gguf, Q2_0_g64",
    known: "part",
    write: (folder) => writeBonsai(folder, "Q2_0_g64"),
  },
  {
    name: "bonsai-pq2_0",
    repository: "prism-ml/Ternary-Bonsai-8B-gguf, PQ2_0",
    known: "part",
    write: (folder) => writeBonsai(folder, "PQ2_0"),
  },
  { name: "bonsai-unpacked", repository: "prism-ml/Ternary-Bonsai-8B-unpacked", known: "inferred", write: writeBonsaiUnpacked },
  { name: "bonsai-mlx", repository: "prism-ml/Ternary-Bonsai-8B-mlx-2bit", known: "inferred", write: writeBonsaiMlx },
];
