/** GGUF models of Qwen3's, Qwen3.5's and Gemma 3's shapes with random ternary weights: Ternary-Bonsai of both generations, and bitnet-embedding. */
import { cacheHeadBytes } from "../engine/compute/kernels.js";
import type { NewTensor } from "../engine/container/checkpoint.js";
import type { GgufEntry, GgufValueType } from "../engine/container/gguf.js";
import { writeGguf } from "../engine/container/gguf-writer.js";
import { KV_BLOCK, type KvType } from "../engine/numerics.js";
import { f16, i2s, ones, ptq1, QWEN, q2, q8, Random, tq2, vocabulary } from "./random-weights.js";

/** Of the ternary layers, and of the tables but for I2_S, TQ2_0 and Q8_0, beside which they are F16. Q8_0 is no ternary type: other engines run it. */
export type BonsaiType = "i2_s" | "tq2_0" | "q2_0" | "pq2_0" | "ptq1_0" | "q8_0";

/** Settings of an engine that change what it reads. */
export interface PeersSettings {
  readonly kv?: KvType;
  readonly head?: string;
}

export interface BonsaiShape {
  readonly architecture: "qwen3" | "qwen35" | "gemma3";
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocab: number;
  readonly context: number;
  readonly theta: number;
  readonly tied: boolean;
  /** The first is the one that people use. */
  readonly types: readonly BonsaiType[];
  /** Of `qwen35`: heads of 128 of the recurrent layers. */
  readonly keyHeads?: number;
  readonly valueHeads?: number;
  /** Of `qwen35` but as TQ2_0, which engines without rotation run: blocks of the transform. */
  readonly block?: number;
  /** A norm before each ternary layer. */
  readonly innerNorms?: true;
}

const QWEN3 = { architecture: "qwen3", headDim: 128, kvHeads: 8, vocab: 151_936, theta: 1e6, types: ["q2_0", "pq2_0", "tq2_0"] } as const;
const QWEN35 = {
  architecture: "qwen35",
  headDim: 256,
  vocab: 248_320,
  context: 262_144,
  theta: 1e7,
  keyHeads: 16,
  types: ["ptq1_0", "pq2_0", "tq2_0"],
} as const;

export const BONSAI_SHAPES: Readonly<Record<string, BonsaiShape>> = {
  "bonsai-1.7b": { ...QWEN3, layers: 28, hidden: 2048, heads: 16, ffn: 6144, context: 32_768, tied: true },
  "bonsai-8b": { ...QWEN3, layers: 36, hidden: 4096, heads: 32, ffn: 12_288, context: 65_536, tied: false },
  "bonsai-2-2b": { ...QWEN35, layers: 24, hidden: 2048, heads: 8, kvHeads: 2, ffn: 6144, valueHeads: 16, block: 1024, tied: true },
  "bonsai-2-4b": { ...QWEN35, layers: 32, hidden: 2560, heads: 16, kvHeads: 4, ffn: 9216, valueHeads: 32, block: 512, tied: true },
  "bonsai-2-9b": { ...QWEN35, layers: 32, hidden: 4096, heads: 16, kvHeads: 4, ffn: 12_288, valueHeads: 32, block: 1024, tied: false },
  "embedding-0.6b": {
    ...{ ...QWEN3, layers: 28, hidden: 1024, heads: 16, ffn: 3072, context: 32_768, tied: true, types: ["i2_s", "q8_0"], innerNorms: true },
  },
  "embedding-270m": {
    ...{ architecture: "gemma3", layers: 18, hidden: 640, heads: 4, kvHeads: 1, headDim: 256, ffn: 2048, vocab: 262_144 },
    ...{ context: 32_768, theta: 1e4, tied: true, types: ["i2_s", "q8_0"], innerNorms: true },
  },
};

const STATE = 128;
/** Every fourth layer of Qwen3.5 has attention. */
const INTERVAL = 4;
const FILE_TYPES: Readonly<Record<BonsaiType, number>> = { i2_s: 40, tq2_0: 37, q2_0: 42, pq2_0: 142, ptq1_0: 143, q8_0: 7 };

/** Whether a layer of this architecture is recurrent. */
const isRecurrent = ({ architecture }: BonsaiShape, layer: number): boolean => architecture === "qwen35" && (layer + 1) % INTERVAL !== 0;

/** Bytes that every token must touch, as `bytesPerToken` has it for other shapes: packed weights with a scale for each 64 columns, the head among them, the cache, and states, which are read and written. */
export function bonsaiBytesPerToken(shape: BonsaiShape, depth: number, { kv = "f32", head = "two-stage" }: PeersSettings): number {
  const { layers, hidden, heads, kvHeads, headDim, ffn, vocab, keyHeads = 0, valueHeads = 0 } = shape;
  let weights = 0;
  let memory = 0;
  for (let layer = 0; layer < layers; layer++) {
    weights += 3 * hidden * ffn;
    if (isRecurrent(shape, layer)) {
      weights += hidden * STATE * (2 * keyHeads + 3 * valueHeads);
      memory += 2 * 4 * valueHeads * STATE * STATE;
    } else {
      weights += hidden * headDim * ((shape.architecture === "qwen35" ? 3 : 2) * heads + 2 * kvHeads);
      memory += (depth * kvHeads * cacheHeadBytes(kv, headDim)) / KV_BLOCK;
    }
  }
  const packed = 1 / 4 + 4 / 64;
  return weights * packed + vocab * (head === "exact" ? hidden * 4 : hidden * packed + 8) + memory;
}

export async function makeBonsai(path: string, shape: BonsaiShape, type: BonsaiType, seed = 1): Promise<void> {
  const { architecture, layers, hidden, heads, kvHeads, headDim, ffn, vocab, tied, keyHeads = 0, valueHeads = 0, block } = shape;
  const random = new Random(seed);
  // Other engines don't know norms inside of layers.
  const innerNorms = shape.innerNorms === true && type !== "q8_0";
  const rotated: string[] = [];
  const widths = new Set<number>();

  /** Bytes of random weights that keep the size of what they multiply, about. */
  const weights = (rows: number, columns: number): AsyncGenerator<Uint8Array> => {
    const elements = rows * columns;
    const exponent = -Math.round(Math.log2(columns) / 2);
    if (type === "q8_0") return q8(elements, random, exponent);
    if (type === "i2_s") return i2s(elements, random, 2 ** exponent);
    if (type === "tq2_0") return tq2(elements, random, exponent);
    return type === "ptq1_0" ? ptq1(elements, random, exponent) : q2(elements, random, type === "q2_0" ? 64 : 128, exponent);
  };
  const linear = (name: string, rows: number, columns: number): NewTensor => {
    rotated.push(`${name}.weight`);
    widths.add(columns);
    return { name: `${name}.weight`, shape: [rows, columns], type: type.toUpperCase(), data: weights(rows, columns) };
  };
  const table = (name: string): NewTensor =>
    ["i2_s", "tq2_0", "q8_0"].includes(type)
      ? { name: `${name}.weight`, shape: [vocab, hidden], type: "F16", data: f16(vocab * hidden, random) }
      : { name: `${name}.weight`, shape: [vocab, hidden], type: type.toUpperCase(), data: weights(vocab, hidden) };
  const norm = (name: string, n: number): NewTensor => ({ name: `${name}.weight`, shape: [n], type: "F32", data: ones(n) });
  const inner = (name: string, n: number): NewTensor[] => (innerNorms ? [norm(name, n)] : []);
  const postNorm = (name: string): NewTensor[] => (architecture === "gemma3" ? [norm(name, hidden)] : []);
  const floats = (name: string, extents: readonly number[], middle: number, spread: number): NewTensor => {
    const n = extents.reduce((product, extent) => product * extent, 1);
    const values = Float32Array.from({ length: n }, () => middle + spread * (random.next() / 2 ** 31 - 1));
    return { name, shape: [...extents], type: "F32", data: new Uint8Array(values.buffer) };
  };

  const attention = (blk: string): NewTensor[] => [
    linear(`${blk}.attn_q`, heads * headDim * (architecture === "qwen35" ? 2 : 1), hidden),
    linear(`${blk}.attn_k`, kvHeads * headDim, hidden),
    linear(`${blk}.attn_v`, kvHeads * headDim, hidden),
    ...[norm(`${blk}.attn_q_norm`, headDim), norm(`${blk}.attn_k_norm`, headDim)],
    ...["attn_q", "attn_k", "attn_v"].flatMap((name) => inner(`${blk}.${name}_norm_in`, hidden)),
    ...inner(`${blk}.attn_output_norm_in`, heads * headDim),
    linear(`${blk}.attn_output`, hidden, heads * headDim),
  ];
  const size = valueHeads * STATE;
  const channels = 2 * keyHeads * STATE + size;
  const recurrent = (blk: string): NewTensor[] => [
    linear(`${blk}.attn_qkv`, channels, hidden),
    linear(`${blk}.attn_gate`, size, hidden),
    floats(`${blk}.ssm_conv1d.weight`, [channels, 4], 0, 0.5),
    floats(`${blk}.ssm_dt.bias`, [valueHeads], 0, 1),
    floats(`${blk}.ssm_a`, [valueHeads], -1, 0.9),
    floats(`${blk}.ssm_beta.weight`, [valueHeads, hidden], 0, 0.02),
    floats(`${blk}.ssm_alpha.weight`, [valueHeads, hidden], 0, 0.02),
    norm(`${blk}.ssm_norm`, STATE),
    linear(`${blk}.ssm_out`, hidden, size),
  ];
  const tensors = [
    table("token_embd"),
    ...Array.from({ length: layers }, (_, layer) => `blk.${layer}`).flatMap((blk, layer) => [
      norm(`${blk}.attn_norm`, hidden),
      ...(isRecurrent(shape, layer) ? recurrent(blk) : attention(blk)),
      ...postNorm(`${blk}.post_attention_norm`),
      norm(`${blk}.${architecture === "qwen35" ? "post_attention_norm" : "ffn_norm"}`, hidden),
      ...["ffn_gate", "ffn_up"].flatMap((name) => [...inner(`${blk}.${name}_norm_in`, hidden), linear(`${blk}.${name}`, ffn, hidden)]),
      ...inner(`${blk}.ffn_down_norm_in`, ffn),
      linear(`${blk}.ffn_down`, hidden, ffn),
      ...postNorm(`${blk}.post_ffw_norm`),
    ]),
    norm("output_norm", hidden),
    ...(tied ? [] : [table("output")]),
  ];

  const entry = (key: string, value: number, as: GgufValueType = "uint32"): GgufEntry => ({
    key: `${architecture}.${key}`,
    type: as,
    value,
  });
  const ofRecurrent: GgufEntry[] = [
    ...[entry("rope.dimension_count", 64), entry("full_attention_interval", INTERVAL), entry("ssm.conv_kernel", 4)],
    { key: "qwen35.rope.dimension_sections", type: "array", elementType: "int32", value: [11, 11, 10, 0] },
    ...[entry("ssm.inner_size", size), entry("ssm.state_size", STATE), entry("ssm.group_count", keyHeads)],
    entry("ssm.time_step_rank", valueHeads),
  ];
  const prism = (key: string): string => `prism.hadamard.${key}`;
  const rotation = (signs: readonly number[]): GgufEntry[] => [
    { key: prism("version"), type: "uint32", value: tied ? 2 : 1 },
    { key: prism("block_size"), type: "uint32", value: block! },
    { key: prism("transform"), type: "string", value: "normalized-sylvester-walsh-hadamard" },
    { key: prism("axis"), type: "string", value: "input-last-dimension" },
    { key: prism("sign_mode"), type: "string", value: "explicit" },
    { key: prism("sign_widths"), type: "array", elementType: "int32", value: [...widths] },
    { key: prism("sign_values"), type: "array", elementType: "int32", value: [...signs] },
    { key: prism("weight_names"), type: "array", elementType: "string", value: tied ? rotated : [...rotated, "output.weight"] },
    { key: prism("inverse_weight_names"), type: "array", elementType: "string", value: ["token_embd.weight"] },
    { key: prism("gdn_v_grouped"), type: "bool", value: true },
    ...(tied ? [{ key: prism("tied_output"), type: "bool", value: true } as const] : []),
  ];
  const signs = Array.from({ length: [...widths].reduce((sum, width) => sum + width, 0) }, () => (random.next() & 1 ? 1 : -1));
  const metadata: GgufEntry[] = [
    { key: "general.architecture", type: "string", value: architecture },
    { key: "general.name", type: "string", value: "random ternary weights" },
    ...[entry("block_count", layers), entry("context_length", shape.context), entry("embedding_length", hidden)],
    ...[entry("feed_forward_length", ffn), entry("attention.head_count", heads), entry("attention.head_count_kv", kvHeads)],
    ...[entry("attention.key_length", headDim), entry("attention.value_length", headDim), entry("vocab_size", vocab)],
    ...[entry("rope.freq_base", shape.theta, "float32"), entry("attention.layer_norm_rms_epsilon", 1e-6, "float32")],
    ...(architecture === "qwen35" ? ofRecurrent : []),
    ...(block !== undefined && type !== "tq2_0" ? rotation(signs) : []),
    ...(innerNorms ? [entry("pooling_type", 1)] : []),
    { key: "general.file_type", type: "uint32", value: FILE_TYPES[type] },
    ...vocabulary(vocab, architecture === "qwen35" ? { ...QWEN, pre: "qwen35" } : QWEN),
    ...(innerNorms ? [{ key: "tokenizer.ggml.add_eos_token", type: "bool", value: true } as const] : []),
  ];
  await writeGguf(path, { metadata, tensors });
}
