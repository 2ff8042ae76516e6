/** Stand-ins of published models that are not computed here. Nothing behind the place of the refusal is like theirs: it isn't read. */
import { vocabularyOf } from "../families/vocabulary.js";
import { familyTensors } from "../families/write-gguf.js";
import { configOf, familySafetensors } from "../families/write-safetensors.js";
import { entries, type Json, type Standin, smallModel, writeDirectory, writeGgufFile } from "./parts.js";

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
  {
    name: "bitcpm",
    repository: "openbmb/BitCPM4-1B-GGUF",
    known: "part",
    write: (folder) => writeOther(folder, "BitCPM4-1B-tq2_0.gguf", "minicpm", { "A.embedding_scale": 12, "A.residual_scale": 0.25 }),
  },
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
