/** Stand-ins of PrismML's Ternary-Bonsai. */
import { readFileSync, writeFileSync } from "node:fs";
import type { NewTensor } from "../../engine/container/checkpoint.js";
import type { GgufEntry } from "../../engine/container/gguf.js";
import { encodeFloats } from "../../engine/packing/float-encode.js";
import { makeQwen35, qwen35Metadata, qwen35Tensors } from "../families/qwen35.js";
import { vocabularyOf } from "../families/vocabulary.js";
import { familyTensors } from "../families/write-gguf.js";
import { configOf, familySafetensors } from "../families/write-safetensors.js";
import { CHATML, entries, type Json, type Standin, smallModel, writeDirectory, writeGgufFile } from "./parts.js";

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

// --- Bonsai 2 ----------------------------------------------------------------------------------------------------------------------------------

/** Qwen3.5's turns: an answer begins with a thought, unless that is turned off; so it is from 4B on. */
const QWEN35_TEMPLATE = `{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}{{- '<think>\\n' }}{%- endif %}{%- endif %}`;

const QWEN35 = {
  family: "qwen35" as const,
  ...{ name: "bonsai-2", seed: 81, layers: 4, hidden: 256, heads: 4, kvHeads: 2, headDim: 64, ropeSize: 16, ffn: 512 },
  ...{
    vocab: 640,
    theta: 10_000_000,
    eps: 1e-6,
    group: 128,
    keyHeads: 2,
    valueHeads: 4,
    stateSize: 64,
    interval: 4,
    windows: [8],
    quick: 8,
  },
} as const;

/**
 * The 27B's keys (a listing of 49, of which these matter), with the sizes of the stand-in; the gates of the states in BF16, as there. Tied heads are
 * version 2, as the 2B and 4B must be.
 */
async function writeBonsai2(folder: string, type: "PTQ1_0" | "PQ2_0", tied: boolean, extra = false): Promise<string> {
  const model = makeQwen35({ ...QWEN35, tied, rotation: { block: 128, grouped: true } });
  const { layers } = model.shape;
  const tensors = qwen35Tensors(model, type).map((tensor): NewTensor => {
    if (!/ssm_(alpha|beta)/.test(tensor.name)) return tensor;
    const bytes = tensor.data as Uint8Array;
    return { ...tensor, type: "BF16", data: encodeFloats("BF16", new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)) };
  });
  const metadata = qwen35Metadata(model).flatMap((entry): GgufEntry[] => {
    if (entry.key === "qwen35.context_length") return [{ ...entry, type: "uint32", value: 262_144 }];
    if (entry.key !== "qwen35.block_count" || !extra) return [entry];
    return [
      { ...entry, type: "uint32", value: layers + 1 },
      { key: "qwen35.nextn_predict_layers", type: "uint32", value: 1 },
    ];
  });
  // A block that guesses the token after the next one.
  const guesses = tensors.filter(({ name }) => name.startsWith("blk.3.")).map((one) => ({ ...one, name: one.name.replace("3", "4") }));
  const more: NewTensor = { name: "blk.4.nextn.eh_proj.weight", shape: [4, 4], type: "F32", data: new Uint8Array(64) };
  const all = [...metadata, ...entries("qwen35", { "tokenizer.chat_template": QWEN35_TEMPLATE, "general.file_type": 143 })];
  return writeGgufFile(
    folder,
    `Ternary-Bonsai-2-${tied ? "4B" : "9B"}-${type}.gguf`,
    all,
    extra ? [...tensors, ...guesses, more] : tensors,
  );
}

export const BONSAI_FILES: readonly Standin[] = [
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
  {
    name: "bonsai-2-tied",
    repository: "prism-ml/Ternary-Bonsai-2-4B-gguf, PTQ1_0",
    known: "inferred",
    write: (folder) => writeBonsai2(folder, "PTQ1_0", true),
  },
  {
    name: "bonsai-2-tied-pq2_0",
    repository: "prism-ml/Ternary-Bonsai-2-4B-gguf, PQ2_0",
    known: "inferred",
    write: (folder) => writeBonsai2(folder, "PQ2_0", true),
  },
  {
    name: "bonsai-2",
    repository: "prism-ml/Ternary-Bonsai-2-27B-gguf, PTQ1_0",
    known: "part",
    write: (folder) => writeBonsai2(folder, "PTQ1_0", false),
  },
  {
    name: "bonsai-2-with-guesses",
    repository: "a Qwen3.5 of llama.cpp's converter, with a block for the token after the next",
    known: "source",
    write: (folder) => writeBonsai2(folder, "PQ2_0", false, true),
  },
  { name: "bonsai-mlx", repository: "prism-ml/Ternary-Bonsai-8B-mlx-2bit", known: "inferred", write: writeBonsaiMlx },
];
