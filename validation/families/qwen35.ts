/**
 * Small random models of Qwen3.5's network, in which most layers are recurrent, and the same stored for rotated inputs as Bonsai 2 is; their GGUF
 * files, written with nothing of the engine's model code.
 */
import type { NewTensor } from "../../engine/container/checkpoint.js";
import type { GgufEntry, GgufValueType } from "../../engine/container/gguf.js";
import { writeGguf } from "../../engine/container/gguf-writer.js";
import { CONTEXT, dequantized, type Linear, linear, norm, type Shape, SPECIALS, type Table, table } from "./model.js";
import { Random } from "./random.js";
import { vocabularyOf } from "./vocabulary.js";
import { ENCODERS, type FamilyType } from "./write-gguf.js";

/** What is rotated: everything ternary. */
export interface RotationShape {
  readonly block: number;
  /** The input of ssm_out has its value heads in the order of their key heads. */
  readonly grouped: boolean;
}

export interface Qwen35Shape extends Shape {
  readonly family: "qwen35";
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly stateSize: number;
  readonly ropeSize: number;
  /** Every so many layers have attention. */
  readonly interval: number;
  readonly rotation?: RotationShape;
}

const COMMON = {
  family: "qwen35" as const,
  ...{ vocab: 640, hidden: 256, heads: 4, kvHeads: 2, headDim: 64, ropeSize: 16, ffn: 512, theta: 10_000 },
  ...{ keyHeads: 2, valueHeads: 6, stateSize: 64, interval: 4, windows: [200, 60], quick: 48 },
};

export const QWEN35_SHAPES: readonly Qwen35Shape[] = [
  // ε so large that where it stands in a norm shows.
  { ...COMMON, name: "qwen35", seed: 71, layers: 5, tied: false, eps: 0.01, group: 64 },
  { ...COMMON, name: "qwen35-rotated", seed: 72, layers: 4, tied: true, eps: 1e-6, group: 128, rotation: { block: 128, grouped: true } },
];

/** Types that hold the model's groups of columns, besides F32. */
export const QWEN35_TYPES = ({ group }: Qwen35Shape): readonly FamilyType[] => (group === 128 ? ["PTQ1_0", "PQ2_0", "Q2_0_128"] : ["Q2_0"]);

/** A layer's parts by the names that GGUF gives them, without `blk.N.`. */
export interface Qwen35Layer {
  readonly recurrent: boolean;
  readonly linears: Readonly<Record<string, Linear>>;
  /** f32, with shapes. */
  readonly floats: Readonly<Record<string, { readonly shape: readonly number[]; readonly values: Float32Array }>>;
}

export interface Qwen35Model {
  readonly shape: Qwen35Shape;
  readonly embedding: Table;
  readonly head: Table;
  readonly layers: readonly Qwen35Layer[];
  readonly outputNorm: Float32Array;
  /** By width, where inputs are rotated. */
  readonly signs: ReadonlyMap<number, Int8Array>;
  readonly windows: readonly (readonly number[])[];
}

export function makeQwen35(shape: Qwen35Shape): Qwen35Model {
  const { hidden, heads, kvHeads, headDim, ffn, keyHeads, valueHeads, stateSize } = shape;
  const random = new Random(shape.seed);
  const inner = valueHeads * stateSize;
  const channels = 2 * keyHeads * stateSize + inner;
  const vector = (values: Float32Array) => ({ shape: [values.length], values });
  const normal = (rows: number, columns: number, spread: number) => ({
    shape: [rows, columns],
    values: Float32Array.from({ length: rows * columns }, () => spread * random.normal()),
  });
  const embedding = table(shape, random);
  const layers = Array.from({ length: shape.layers }, (_, index): Qwen35Layer => {
    const recurrent = (index + 1) % shape.interval !== 0;
    const make = (rows: number, columns: number, gain = 1): Linear => linear(shape, random, rows, columns, gain);
    const mixer: Record<string, Linear> = recurrent
      ? { attn_qkv: make(channels, hidden), attn_gate: make(inner, hidden, 1.2), ssm_out: make(hidden, inner) }
      : {
          ...{ attn_q: make(2 * heads * headDim, hidden, 1.3), attn_k: make(kvHeads * headDim, hidden, 1.3) },
          ...{ attn_v: make(kvHeads * headDim, hidden), attn_output: make(hidden, heads * headDim) },
        };
    const floats: Qwen35Layer["floats"] = recurrent
      ? {
          "ssm_conv1d.weight": normal(channels, 4, 0.5),
          "ssm_dt.bias": vector(Float32Array.from({ length: valueHeads }, () => random.normal())),
          ssm_a: vector(Float32Array.from({ length: valueHeads }, () => -Math.exp(random.normal()))),
          "ssm_beta.weight": normal(valueHeads, hidden, 1 / Math.sqrt(hidden)),
          "ssm_alpha.weight": normal(valueHeads, hidden, 1 / Math.sqrt(hidden)),
          "ssm_norm.weight": vector(norm(random, stateSize)),
        }
      : { "attn_q_norm.weight": vector(norm(random, headDim)), "attn_k_norm.weight": vector(norm(random, headDim)) };
    return {
      recurrent,
      linears: { ...mixer, ffn_gate: make(ffn, hidden, 1.2), ffn_up: make(ffn, hidden), ffn_down: make(hidden, ffn) },
      floats: {
        "attn_norm.weight": vector(norm(random, hidden)),
        "post_attention_norm.weight": vector(norm(random, hidden)),
        ...floats,
      },
    };
  });
  const outputNorm = norm(random, hidden);
  const head = shape.tied ? embedding : table(shape, random);
  const windows = shape.windows.map((length) => Array.from({ length }, () => random.below(shape.vocab - SPECIALS)));
  const widths = shape.rotation ? [...new Set([hidden, inner, heads * headDim, ffn])] : [];
  const signs = new Map(widths.map((width) => [width, Int8Array.from({ length: width }, () => (random.below(2) === 0 ? -1 : 1))]));
  return { shape, embedding, head, layers, outputNorm, signs, windows };
}

/** What is done wrong with rotated weights. */
export const ROTATION_MISTAKES = [
  "no rotation",
  "no signs",
  "signs behind H",
  "the first block's signs repeated",
  "signs of another width",
  "value heads not by key head",
  "value heads by key head the wrong way round",
  "rows of ffn_down by head, too",
  "rows of the embedding turned forward",
  "the tied head not rotated",
  "gates of the states rotated, too",
  "sequency order",
  "1/B in place of 1/√B",
  "blocks of 64",
] as const;
export type RotationMistake = (typeof ROTATION_MISTAKES)[number];

/** The number of changes of sign in row r of a Sylvester matrix of this size: its bits reversed, as a Gray code. */
function sequency(r: number, block: number): number {
  let reversed = 0;
  for (let bit = 1; bit < block; bit *= 2) reversed = 2 * reversed + (r & bit ? 1 : 0);
  let binary = 0;
  for (let gray = reversed; gray > 0; gray >>= 1) binary ^= gray;
  return binary;
}

/** H of n numbers from `from` on, in place, without its factor, by Sylvester's definition: H₂ₙ = [Hₙ Hₙ; Hₙ −Hₙ]. */
function sylvester(x: Float64Array, from: number, n: number): void {
  if (n === 1) return;
  const half = n / 2;
  sylvester(x, from, half);
  sylvester(x, from + half, half);
  for (let i = from; i < from + half; i++) {
    const [a, b] = [x[i]!, x[i + half]!];
    x[i] = a + b;
    x[i + half] = a - b;
  }
}

/** H of each run of `block` numbers. */
function hadamard(x: Float64Array, block: number, mistake?: RotationMistake): Float64Array {
  const turned = x.slice();
  const out = new Float64Array(x.length);
  for (let from = 0; from < x.length; from += block) {
    sylvester(turned, from, block);
    for (let r = 0; r < block; r++)
      out[from + (mistake === "sequency order" ? sequency(r, block) : r)] =
        turned[from + r]! / (mistake === "1/B in place of 1/√B" ? block : Math.sqrt(block));
  }
  return out;
}

/**
 * Rows of a matrix as they are without rotation: w = s ⊙ (H w′); those of ssm_out with their columns back in the order of the value heads.
 * @param name as GGUF has it, without layer and `.weight`; "output" of a tied head: the embedding's rows
 */
export function unfolded(model: Qwen35Model, name: string, stored: Linear, mistake?: RotationMistake): Float64Array {
  return unfold(model, name, new Float64Array(dequantized(stored)), stored.columns, mistake);
}

/** The same of numbers, [rows, columns]. */
export function unfold(
  { shape, signs }: Qwen35Model,
  name: string,
  given: Float64Array,
  columns: number,
  mistake?: RotationMistake,
): Float64Array {
  const values = given.slice();
  const { rotation, keyHeads, valueHeads, stateSize } = shape;
  if (!rotation || mistake === "no rotation" || (name === "output" && mistake === "the tied head not rotated")) return values;
  const block = mistake === "blocks of 64" ? 64 : rotation.block;
  const own = signs.get(columns)!;
  const other = [...signs.values()].find((list) => list.length > columns) ?? [...signs.values()][0]!;
  const signAt = (i: number): number => {
    if (mistake === "no signs") return 1;
    if (mistake === "the first block's signs repeated") return own[i % block]!;
    return mistake === "signs of another width" ? other[i % other.length]! : own[i]!;
  };
  const repeated = valueHeads / keyHeads;
  const isByHead =
    (name === "ssm_out" && mistake !== "value heads not by key head") ||
    (name === "ffn_down" && mistake === "rows of ffn_down by head, too");
  for (let at = 0; at < values.length; at += columns) {
    const w = values.slice(at, at + columns);
    const isForward = mistake === "signs behind H" || (name === "token_embd" && mistake === "rows of the embedding turned forward");
    const turned = isForward
      ? hadamard(
          w.map((value, i) => value * signAt(i)),
          block,
          mistake,
        )
      : hadamard(w, block, mistake).map((value, i) => value * signAt(i));
    values.set(turned, at);
    if (!isByHead || !rotation.grouped) continue;
    for (let head = 0; head < valueHeads; head++) {
      const place = ((head % keyHeads) * repeated + Math.floor(head / keyHeads)) * stateSize;
      const [from, to] = mistake === "value heads by key head the wrong way round" ? [head * stateSize, place] : [place, head * stateSize];
      values.set(turned.subarray(from, from + stateSize), at + to);
    }
  }
  return values;
}

const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** @param rotated with the keys that say so */
export function qwen35Metadata({ shape, signs, layers }: Qwen35Model, rotated = shape.rotation !== undefined): GgufEntry[] {
  const { rotation, ropeSize } = shape;
  const entry = (key: string, value: number, as: GgufValueType = "uint32"): GgufEntry => ({ key: `qwen35.${key}`, type: as, value });
  const prism = (key: string, type: GgufValueType, value: number | string | boolean): GgufEntry =>
    ({ key: `prism.hadamard.${key}`, type, value }) as GgufEntry;
  const list = (key: string, elementType: GgufValueType, value: readonly (string | number)[]): GgufEntry =>
    ({ key: `prism.hadamard.${key}`, type: "array", elementType, value: [...value] }) as GgufEntry;
  const names = layers.flatMap(({ linears }, index) => Object.keys(linears).map((name) => `blk.${index}.${name}.weight`));
  return [
    { key: "general.architecture", type: "string", value: "qwen35" },
    { key: "general.name", type: "string", value: `random ${shape.name}` },
    ...[entry("block_count", shape.layers), entry("context_length", CONTEXT), entry("embedding_length", shape.hidden)],
    ...[
      entry("feed_forward_length", shape.ffn),
      entry("attention.head_count", shape.heads),
      entry("attention.head_count_kv", shape.kvHeads),
    ],
    ...[entry("attention.key_length", shape.headDim), entry("attention.value_length", shape.headDim)],
    ...[entry("attention.layer_norm_rms_epsilon", shape.eps, "float32"), entry("rope.freq_base", shape.theta, "float32")],
    entry("rope.dimension_count", ropeSize),
    {
      key: "qwen35.rope.dimension_sections",
      type: "array",
      elementType: "int32",
      value: [...[0, 1, 2].map((stream) => Math.ceil((ropeSize / 2 - stream) / 3)), 0], // one pair after another
    },
    ...[entry("full_attention_interval", shape.interval), entry("ssm.conv_kernel", 4), entry("ssm.state_size", shape.stateSize)],
    ...[entry("ssm.inner_size", shape.valueHeads * shape.stateSize), entry("ssm.time_step_rank", shape.valueHeads)],
    ...[entry("ssm.group_count", shape.keyHeads), entry("vocab_size", shape.vocab)],
    ...(rotation && rotated
      ? [
          ...[prism("version", "uint32", shape.tied ? 2 : 1), prism("block_size", "uint32", rotation.block)],
          prism("transform", "string", "normalized-sylvester-walsh-hadamard"),
          ...[prism("axis", "string", "input-last-dimension"), prism("sign_mode", "string", "explicit")],
          ...[
            list("sign_widths", "int32", [...signs.keys()]),
            list(
              "sign_values",
              "int32",
              [...signs.values()].flatMap((own) => [...own]),
            ),
          ],
          list("weight_names", "string", shape.tied ? names : [...names, "output.weight"]),
          list("inverse_weight_names", "string", ["token_embd.weight"]),
          prism("gdn_v_grouped", "bool", rotation.grouped),
          ...(shape.tied ? [prism("tied_output", "bool", true)] : []),
        ]
      : []),
    ...vocabularyOf(shape).metadata,
  ];
}

/** @param type of what is ternary; "unfolded": F32 without rotation, for engines that know none */
export function qwen35Tensors(model: Qwen35Model, type: FamilyType | "unfolded"): NewTensor[] {
  const { shape, embedding, head, layers, outputNorm } = model;
  const matrix = (name: string, whole: string, stored: Linear): NewTensor => {
    const tensor = { name: whole, shape: [stored.rows, stored.columns] };
    return type === "unfolded"
      ? { ...tensor, type: "F32", data: bytesOf(Float32Array.from(unfolded(model, name, stored))) }
      : { ...tensor, type, data: ENCODERS[type](stored) };
  };
  return [
    matrix("token_embd", "token_embd.weight", embedding.linear!),
    ...layers.flatMap(({ linears, floats }, index) => [
      ...Object.entries(floats).map(
        ([name, { shape: extents, values }]): NewTensor => ({
          name: `blk.${index}.${name}`,
          shape: extents,
          type: "F32",
          data: bytesOf(values),
        }),
      ),
      ...Object.entries(linears).map(([name, stored]) => matrix(name, `blk.${index}.${name}.weight`, stored)),
    ]),
    { name: "output_norm.weight", shape: [shape.hidden], type: "F32", data: bytesOf(outputNorm) },
    ...(shape.tied ? [] : [matrix("output", "output.weight", head.linear!)]),
  ];
}

/** Writes one file. */
export async function writeQwen35(path: string, model: Qwen35Model, type: FamilyType | "unfolded"): Promise<string> {
  await writeGguf(path, {
    metadata: qwen35Metadata(model, type !== "unfolded" && model.shape.rotation !== undefined),
    tensors: qwen35Tensors(model, type),
  });
  return path;
}
