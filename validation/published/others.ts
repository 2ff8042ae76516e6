/** Stand-ins of published models that are not computed here. Nothing behind the place of the refusal is like theirs: it isn't read. */
import type { NewTensor } from "../../engine/container/checkpoint.js";
import { vocabularyOf } from "../families/vocabulary.js";
import { familyTensors } from "../families/write-gguf.js";
import { configOf, familySafetensors } from "../families/write-safetensors.js";
import { CHATML, entries, type Json, type Standin, smallModel, writeDirectory, writeGgufFile } from "./parts.js";

const MODEL = smallModel("qwen3", { tied: true, theta: 1_000_000 });
const { shape: SHAPE } = MODEL;

/** A GGUF of another architecture, or with keys that change what is computed. */
async function writeOther(folder: string, name: string, architecture: string, more: Json) {
  const keys = {
    "general.architecture": architecture,
    "A.block_count": SHAPE.layers,
    "A.context_length": 32_768,
    "A.embedding_length": SHAPE.hidden,
    "A.feed_forward_length": SHAPE.ffn,
    "A.attention.head_count": SHAPE.heads,
    "A.attention.head_count_kv": SHAPE.kvHeads,
    "A.attention.key_length": SHAPE.headDim,
    "A.attention.value_length": SHAPE.headDim,
    "A.rope.freq_base": SHAPE.theta,
    "A.attention.layer_norm_rms_epsilon": SHAPE.eps,
    ...more,
  };
  const { metadata } = vocabularyOf(SHAPE);
  return writeGgufFile(folder, name, [...entries(architecture, keys), ...metadata], familyTensors(MODEL, "I2_S"));
}

/** Bonsai 2's keys: its weights are rotated. */
const HADAMARD = {
  "prism.hadamard.version": 1,
  "prism.hadamard.block_size": 256,
  "prism.hadamard.transform": "normalized-sylvester-walsh-hadamard",
  "prism.hadamard.axis": "input-last-dimension",
  "prism.hadamard.sign_mode": "identity",
  "prism.hadamard.weight_names": ["blk.0.attn_q.weight"],
};

/** BitCPM4: MiniCPM's factors, and LongRoPE's for each pair, which begin below 1. */
async function writeBitCpm(folder: string): Promise<string> {
  const model = smallModel("minicpm", { tied: false, theta: 10_000, factors: { embedding: 12.5, residual: 0.25, logits: 6.5 } });
  const { shape } = model;
  const keys = {
    "general.architecture": "minicpm",
    "A.block_count": shape.layers,
    "A.context_length": 32_768,
    "A.embedding_length": shape.hidden,
    "A.feed_forward_length": shape.ffn,
    "A.attention.head_count": shape.heads,
    "A.attention.head_count_kv": shape.kvHeads,
    "A.rope.freq_base": shape.theta,
    "A.attention.layer_norm_rms_epsilon": shape.eps,
    "A.embedding_scale": 12.5,
    "A.residual_scale": 0.25,
    "A.logit_scale": 6.5,
    "A.rope.scaling.type": "longrope",
    "A.rope.scaling.original_context_length": 32_768,
    "A.rope.dimension_count": shape.headDim,
    "A.vocab_size": shape.vocab,
    "general.file_type": 37,
    "tokenizer.chat_template": CHATML,
  };
  const pairs = Float32Array.from({ length: shape.headDim / 2 }, (_, i) => 0.9978 + i / 8);
  const factors = ["rope_factors_long", "rope_factors_short"].map(
    (name): NewTensor => ({
      name: `${name}.weight`,
      shape: [pairs.length],
      type: "F32",
      data: new Uint8Array(pairs.buffer),
    }),
  );
  const { metadata } = vocabularyOf(shape);
  return writeGgufFile(
    folder,
    "BitCPM4-1B-tq2_0.gguf",
    [...entries("minicpm", keys), ...metadata],
    [...factors, ...familyTensors(model, "TQ2_0")],
  );
}

/** deepgrove's Bonsai: latent weights in BF16 beside `.scales`. */
async function writeQLlama(folder: string): Promise<string> {
  const model = smallModel("llama", { tied: true, theta: 10_000 });
  const { json, config } = vocabularyOf(model.shape);
  return writeDirectory(folder, familySafetensors(model, false), {
    "config.json": { ...configOf(model.shape), architectures: ["QLlamaForCausalLM"], quantization_config: null },
    "tokenizer.json": json,
    "tokenizer_config.json": config,
  });
}

export const OTHERS: readonly Standin[] = [
  { name: "bitcpm", repository: "openbmb/BitCPM4-1B-GGUF", known: "part", write: writeBitCpm },
  {
    name: "maple",
    repository: "deepgrove/maple-preview",
    known: "source",
    write: (folder) => writeOther(folder, "maple-TQ2_0.gguf", "maple", { "A.expert_count": 256, "A.expert_used_count": 8 }),
  },
  {
    name: "bonsai-2-of-qwen3",
    repository: "a rotated qwen3 file of PrismML's fork",
    known: "source",
    write: (folder) => writeOther(folder, "rotated-Q2_0-prism-fork-required.gguf", "qwen3", HADAMARD),
  },
  {
    name: "image-encoder",
    repository: "the mmproj file beside a Bonsai",
    known: "inferred",
    write: (folder) => writeOther(folder, "mmproj-F16.gguf", "clip", { "clip.has_vision_encoder": true }),
  },
  { name: "bonsai-deepgrove", repository: "deepgrove/Bonsai", known: "source", write: writeQLlama },
];
