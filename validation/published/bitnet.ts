/** Stand-ins of BitNet's own models: Microsoft's 2B4T, and 1bitLLM's of 2024. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { vocabularyOf } from "../families/vocabulary.js";
import { familyTensors } from "../families/write-gguf.js";
import { configOf, familySafetensors } from "../families/write-safetensors.js";
import {
  entries,
  type Json,
  STORY_PACKED,
  type Standin,
  smallModel,
  storyJson,
  storyPackedTensors,
  storyParts,
  writeDirectory,
  writeGgufFile,
} from "./parts.js";

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

export const BITNET: readonly Standin[] = [
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
];
