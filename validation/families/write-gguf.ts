/**
 * A family's model as GGUF, written from its numbers with encoders of its own, not by the engine's converter: an error in that one can't
 * hide in both.
 */
import type { NewTensor } from "../../engine/container/checkpoint.js";
import type { GgufEntry, GgufValueType } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import {
  CONTEXT,
  dequantized,
  type FamilyModel,
  isPacked,
  LINEARS,
  type Linear,
  type Llama3Scaling,
  type NormName,
  type Shape,
  type Table,
} from "./model.js";
import { f16Bits } from "./random.js";
import { vocabularyOf } from "./vocabulary.js";

/** Of the ternary layers, with the number of `general.file_type`. */
const FILE_TYPES = { F32: 0, F16: 1, I2_S: 40, TQ2_0: 37, Q2_0: 42, Q2_0_128: 42, PQ2_0: 142, PTQ1_0: 143 };
export type FamilyType = keyof typeof FILE_TYPES;

/** Columns that the type needs rows to be a multiple of. */
const ROW_UNITS: Readonly<Record<FamilyType, number>> = {
  F32: 1,
  F16: 1,
  I2_S: 32,
  TQ2_0: 256,
  Q2_0: 64,
  Q2_0_128: 128,
  PQ2_0: 128,
  PTQ1_0: 128,
};

/** The types that hold this model without loss of a code or a group's scale. */
export function typesOf({ hidden, heads, headDim, ffn, group, family }: Shape): FamilyType[] {
  const rows = [hidden, heads * headDim, ffn];
  return (Object.keys(ROW_UNITS) as FamilyType[]).filter((type) => {
    const unit = ROW_UNITS[type];
    if (!rows.every((columns) => columns % unit === 0)) return false;
    if (type.startsWith("P")) return false; // of families of their own
    if (type.startsWith("Q2_0")) return family === "qwen3" && (group === undefined || group % unit === 0);
    return group === undefined || unit === 1 || (type !== "I2_S" && group % unit === 0);
  });
}

/** Of those, the types in which each number is the SafeTensors' own: an inverse scale in bf16 has no f16. */
export function exactTypesOf(shape: Shape): FamilyType[] {
  return typesOf(shape).filter((type) => !isPacked(shape) || type === "F32" || type === "I2_S");
}

const LINEAR_NAMES = {
  q: "attn_q",
  k: "attn_k",
  v: "attn_v",
  o: "attn_output",
  gate: "ffn_gate",
  up: "ffn_up",
  down: "ffn_down",
};

const NORM_NAMES: Readonly<Record<NormName, string>> = {
  attnNorm: "attn_norm",
  attnSubNorm: "attn_sub_norm",
  qNorm: "attn_q_norm",
  kNorm: "attn_k_norm",
  ffnNorm: "ffn_norm",
  ffnSubNorm: "ffn_sub_norm",
  qInputNorm: "attn_q_norm_in",
  kInputNorm: "attn_k_norm_in",
  vInputNorm: "attn_v_norm_in",
  gateInputNorm: "ffn_gate_norm_in",
  upInputNorm: "ffn_up_norm_in",
  attnPostNorm: "post_attention_norm",
  ffnPostNorm: "post_ffw_norm",
};

/** What a norm is called: before o and down, by what it is of. */
function normName({ innerNorms }: Shape, role: NormName): string {
  if (innerNorms && role === "attnSubNorm") return "attn_output_norm_in";
  if (innerNorms && role === "ffnSubNorm") return "ffn_down_norm_in";
  return NORM_NAMES[role];
}

/** llama.cpp's order of q's and k's rows in `llama` files: the halves of each head interleaved, row d/2·half + i to 2i + half. */
export function permuted({ rows, columns, codes, scales }: Linear, headDim: number): Linear {
  const out = new Int8Array(codes.length);
  for (let row = 0; row < rows; row++) {
    const within = row % headDim;
    const to = row - within + 2 * (within % (headDim / 2)) + Math.floor(within / (headDim / 2));
    out.set(codes.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  if (scales.length !== 1) throw new Error("a permuted layer has one scale");
  return { rows, columns, codes: out, scales };
}

/** What each of the d/2 frequencies is divided by. (Meta's llama3 `apply_scaling`.) */
export function ropeFactors(theta: number, headDim: number, scaling: Llama3Scaling): Float32Array {
  const { factor, lowFreqFactor, highFreqFactor, originalContext } = scaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const turns = originalContext / (2 * Math.PI * theta ** ((2 * i) / headDim)); // of this pair in the original context
    if (turns > highFreqFactor) return 1;
    if (turns < lowFreqFactor) return factor;
    const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** Blocks of 128: 24 bytes of five trits, 2 of four, the scale; the n-th trit, the highest first, is of element 16n + m, then 80 + 8n + m, then 120 + 2n + m. */
function ptq1({ codes, scales }: Linear): Uint8Array {
  const out = new Uint8Array((codes.length / 128) * 28);
  const group = codes.length / scales.length;
  for (let block = 0; block * 128 < codes.length; block++) {
    const code = (i: number): number => codes[block * 128 + i]! + 1;
    const byte = (first: number, step: number, trits: number): number => {
      let value = 0;
      for (let n = 0; n < 5; n++) value = 3 * value + (n < trits ? code(first + n * step) : 0);
      return Math.floor((value * 256 + 242) / 243);
    };
    for (let m = 0; m < 16; m++) out[block * 28 + m] = byte(m, 16, 5);
    for (let m = 0; m < 8; m++) out[block * 28 + 16 + m] = byte(80 + m, 8, 5);
    for (let m = 0; m < 2; m++) out[block * 28 + 24 + m] = byte(120 + m, 2, 4);
    new DataView(out.buffer).setUint16(block * 28 + 26, f16Bits(scales[Math.floor((block * 128) / group)]!), true);
  }
  return out;
}

const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

function halves(values: Float32Array): Uint8Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = f16Bits(values[i]!);
  return new Uint8Array(out.buffer);
}

function i2s({ codes, scales }: Linear): Uint8Array {
  const out = new Uint8Array(codes.length / 4 + 32);
  for (let i = 0; i < codes.length; i++) out[(i >> 7) * 32 + (i & 31)]! |= (codes[i]! + 1) << (6 - 2 * ((i & 127) >> 5));
  new DataView(out.buffer).setFloat32(codes.length / 4, scales[0]!, true);
  return out;
}

/** Blocks of 256: two times 32 bytes of four planes of 32 elements, then the scale. */
function tq2({ codes, scales }: Linear): Uint8Array {
  const out = new Uint8Array((codes.length / 256) * 66);
  for (let i = 0; i < codes.length; i++) {
    const at = 66 * (i >> 8) + 32 * ((i & 255) >> 7) + (i & 31);
    out[at]! |= (codes[i]! + 1) << (2 * ((i & 127) >> 5));
  }
  for (let at = 64; at < out.length; at += 66) new DataView(out.buffer).setUint16(at, f16Bits(scales[0]!), true);
  return out;
}

/** Blocks of `unit`: the scale, then four codes a byte in order, low bits first. */
function q2({ codes, scales }: Linear, unit: number): Uint8Array {
  const block = 2 + unit / 4;
  const out = new Uint8Array((codes.length / unit) * block);
  const group = codes.length / scales.length;
  for (let i = 0; i < codes.length; i++) {
    const at = Math.floor(i / unit) * block;
    if (i % unit === 0) new DataView(out.buffer).setUint16(at, f16Bits(scales[Math.floor(i / group)]!), true);
    out[at + 2 + Math.floor((i % unit) / 4)]! |= (codes[i]! + 1) << (2 * (i % 4));
  }
  return out;
}

/** Bytes of a ternary matrix in each type. */
export const ENCODERS: Readonly<Record<FamilyType, (linear: Linear) => Uint8Array>> = {
  F32: (linear) => bytesOf(dequantized(linear)),
  F16: (linear) => halves(dequantized(linear)),
  I2_S: i2s,
  TQ2_0: tq2,
  Q2_0: (linear) => q2(linear, 64),
  Q2_0_128: (linear) => q2(linear, 128),
  PQ2_0: (linear) => q2(linear, 128),
  PTQ1_0: ptq1,
};

function metadataOf(shape: Shape, type: FamilyType): GgufEntry[] {
  const { family, heads, headDim } = shape;
  const entry = (key: string, value: number, as: GgufValueType = "uint32"): GgufEntry => ({ key: `${family}.${key}`, type: as, value });
  return [
    { key: "general.architecture", type: "string", value: family },
    { key: "general.name", type: "string", value: `random ${shape.name}` },
    entry("block_count", shape.layers),
    entry("context_length", CONTEXT),
    entry("embedding_length", shape.hidden),
    entry("feed_forward_length", shape.ffn),
    entry("attention.head_count", heads),
    entry("attention.head_count_kv", shape.kvHeads),
    entry("attention.layer_norm_rms_epsilon", shape.eps, "float32"),
    entry("rope.freq_base", shape.theta, "float32"),
    ...(shape.yarn
      ? [
          { key: `${family}.rope.scaling.type`, type: "string" as const, value: "yarn" },
          entry("rope.scaling.factor", shape.yarn.factor, "float32"),
          entry("rope.scaling.original_context_length", shape.yarn.originalContext),
        ]
      : []),
    ...(shape.factors
      ? [
          entry("embedding_scale", shape.factors.embedding, "float32"),
          entry("residual_scale", shape.factors.residual, "float32"),
          entry("logit_scale", shape.factors.logits, "float32"),
        ]
      : []),
    ...(family === "qwen3" || family === "gemma3"
      ? [entry("attention.key_length", headDim), entry("attention.value_length", headDim)]
      : [entry("rope.dimension_count", headDim), entry("vocab_size", shape.vocab)]),
    { key: "general.file_type", type: "uint32", value: FILE_TYPES[type] },
    ...vocabularyOf(shape).metadata,
  ];
}

/** The model's tensors in the order of llama.cpp's converter. Tables are F32 beside F32 layers, of the layers' type where that is a Q2_0, else F16; norms always F32. */
export function familyTensors(model: FamilyModel, type: FamilyType): NewTensor[] {
  const { shape } = model;
  const table = (name: string, { values, linear }: Table): NewTensor => {
    const tensor = { name: `${name}.weight`, shape: [shape.vocab, shape.hidden] };
    if (linear && type.startsWith("Q2_0")) return { ...tensor, type, data: ENCODERS[type](linear) };
    return type === "F32" ? { ...tensor, type: "F32", data: bytesOf(values) } : { ...tensor, type: "F16", data: halves(values) };
  };
  const vector = (name: string, values: Float32Array): NewTensor => ({
    name: `${name}.weight`,
    shape: [values.length],
    type: "F32",
    data: bytesOf(values),
  });
  const tensors: NewTensor[] = [table("token_embd", model.embedding)];
  if (shape.scaling) tensors.push(vector("rope_freqs", ropeFactors(shape.theta, shape.headDim, shape.scaling)));
  for (const [index, { linears, norms }] of model.layers.entries()) {
    for (const [norm, values] of Object.entries(norms)) tensors.push(vector(`blk.${index}.${normName(shape, norm as NormName)}`, values));
    for (const role of LINEARS) {
      const moved = (shape.family === "llama" || shape.family === "minicpm") && (role === "q" || role === "k");
      const linear = moved ? permuted(linears[role], shape.headDim) : linears[role];
      const name = `blk.${index}.${LINEAR_NAMES[role]}.weight`;
      tensors.push({ name, shape: [linear.rows, linear.columns], type, data: ENCODERS[type](linear) });
    }
  }
  tensors.push(vector("output_norm", model.outputNorm));
  if (!shape.tied) tensors.push(table("output", model.head));
  return tensors;
}

/** Writes one file. */
export async function writeFamilyGguf(path: string, model: FamilyModel, type: FamilyType): Promise<string> {
  await writeGguf(path, { metadata: metadataOf(model.shape, type), tensors: familyTensors(model, type) });
  return path;
}
