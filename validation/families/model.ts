/**
 * Small models with random ternary weights, one or more of each family, the same numbers from the same seed on every machine. They say
 * nothing; each of their parts changes every logit, so that a part that is wrong or in the wrong place shows.
 */
import { bf16, f16, Random } from "./random.js";

/** RoPE scaling of LLaMA 3, as its config.json has it. */
export interface Llama3Scaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalContext: number;
}

/** YaRN, as both containers have it. */
export interface YarnScaling {
  readonly factor: number;
  readonly originalContext: number;
}

/** What a model is like. */
export interface Shape {
  readonly name: string;
  readonly family: "bitnet" | "llama" | "qwen3" | "qwen35" | "minicpm" | "gemma3";
  readonly seed: number;
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocab: number;
  /** The output head is the embedding. */
  readonly tied: boolean;
  readonly theta: number;
  readonly eps: number;
  readonly scaling?: Llama3Scaling;
  readonly yarn?: YarnScaling;
  /** Factors of MiniCPM: of the embedding's rows, of what blocks add, and a divisor of logits. */
  readonly factors?: { readonly embedding: number; readonly residual: number; readonly logits: number };
  /** A norm before each ternary layer: bitnet-embedding, in 8 bits. */
  readonly innerNorms?: boolean;
  /** Columns that share a scale, of the tables too, which are ternary then; without it one scale holds for a tensor. */
  readonly group?: number;
  /** Tokens of each window that is compared. */
  readonly windows: readonly number[];
  /** Of those, how many of the first window's the slow lanes are run on in `npm test`. */
  readonly quick: number;
}

const COMMON = { vocab: 640, tied: true, eps: 1e-5, quick: 48 };

/** Each family, with what sets its published models apart. */
export const SHAPES: readonly Shape[] = [
  // bitnet_b1_58-large: sub-norms and SiLU.
  {
    ...COMMON,
    name: "bitnet",
    family: "bitnet",
    seed: 11,
    layers: 4,
    hidden: 256,
    heads: 4,
    kvHeads: 4,
    headDim: 64,
    ffn: 512,
    theta: 10_000,
    windows: [300, 100],
  },
  // bitnet_b1_58-3B: heads of 100, and rows of a length that I2_S blocks of 128 straddle.
  {
    ...COMMON,
    name: "bitnet-3b",
    family: "bitnet",
    seed: 12,
    layers: 2,
    hidden: 800,
    heads: 8,
    kvHeads: 8,
    headDim: 100,
    ffn: 352,
    theta: 10_000,
    windows: [96, 40],
    quick: 24,
  },
  // Falcon3-1.58, Falcon-E: an output head of its own.
  {
    ...COMMON,
    name: "llama",
    family: "llama",
    seed: 21,
    layers: 3,
    hidden: 256,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    ffn: 512,
    tied: false,
    theta: 1_000_042,
    windows: [300, 100],
  },
  // LLaMA 3.1 and later: scaled RoPE, here from so short a context that 300 tokens see all of it.
  {
    ...COMMON,
    name: "llama-scaled",
    family: "llama",
    seed: 22,
    layers: 3,
    hidden: 256,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    ffn: 512,
    theta: 500_000,
    scaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 64 },
    windows: [300, 100],
  },
  // Qwen 3: norms of each head's q and k, and attention wider than the hidden state.
  {
    ...COMMON,
    name: "qwen3",
    family: "qwen3",
    seed: 31,
    layers: 3,
    hidden: 256,
    heads: 8,
    kvHeads: 2,
    headDim: 64,
    ffn: 512,
    eps: 1e-6,
    theta: 1_000_000,
    windows: [300, 100],
  },
  // Bonsai 8B: YaRN, here from so short a context that 200 tokens see four of it.
  {
    ...COMMON,
    name: "qwen3-yarn",
    family: "qwen3",
    seed: 34,
    layers: 2,
    hidden: 128,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    ffn: 256,
    eps: 1e-6,
    theta: 10_000,
    yarn: { factor: 4, originalContext: 64 },
    windows: [200, 60],
    quick: 96,
  },
  // Ternary-Bonsai: a scale for each 64 or 128 columns, and tables that are ternary too.
  {
    ...COMMON,
    name: "qwen3-groups-64",
    family: "qwen3",
    seed: 32,
    layers: 2,
    hidden: 192,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    ffn: 320,
    eps: 1e-6,
    theta: 1_000_000,
    group: 64,
    windows: [200, 60],
  },
  {
    ...COMMON,
    name: "qwen3-groups-128",
    family: "qwen3",
    seed: 33,
    layers: 2,
    hidden: 256,
    heads: 3,
    kvHeads: 1,
    headDim: 128,
    ffn: 640,
    tied: false,
    eps: 1e-6,
    theta: 1_000_000,
    group: 128,
    windows: [200, 60],
  },
  // BitCPM4: a LLaMA with three factors, none of them a power of 2.
  {
    ...COMMON,
    name: "minicpm",
    family: "minicpm",
    seed: 41,
    layers: 3,
    hidden: 256,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    ffn: 512,
    tied: false,
    theta: 10_000,
    factors: { embedding: 12, residual: 0.35, logits: 1.5 },
    windows: [200, 60],
  },
  // Gemma 3, the network of bitnet-embedding 270M: heads of 256, wider together than the hidden state, whose size has no whole root.
  {
    ...COMMON,
    name: "gemma3",
    family: "gemma3",
    seed: 51,
    layers: 2,
    hidden: 512,
    heads: 3,
    kvHeads: 1,
    headDim: 256,
    ffn: 768,
    eps: 1e-6,
    theta: 10_000,
    windows: [200, 60],
    quick: 24,
  },
];

/** The hub has no SafeTensors of this family that are read. */
export function isGgufOnly({ family }: Shape): boolean {
  return family === "minicpm";
}

/** SafeTensors of this family hold norms as what they differ from 1 by, all but those before single ternary layers. */
export function isFromOne({ family }: Shape): boolean {
  return family === "gemma3";
}

/** Inputs of the ternary layers are not quantised. */
export function isFloat({ family }: Shape): boolean {
  return family === "qwen3" || family === "minicpm" || family === "gemma3";
}

/** A ternary layer. */
export interface Linear {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] −1, 0, 1 */
  readonly codes: Int8Array;
  /** [rows, columns / group] f32, exact in f16 but for packed models; one number for the whole tensor where there are no groups. */
  readonly scales: Float32Array;
}

export const LINEARS = ["q", "k", "v", "o", "gate", "up", "down"] as const;
export type LinearName = (typeof LINEARS)[number];

/** Norms of the inputs of single layers; those of o and down are the sub-norms. */
export type InnerNorm = "qInputNorm" | "kInputNorm" | "vInputNorm" | "gateInputNorm" | "upInputNorm";
/** Of what blocks give, before it is added. */
type PostNorm = "attnPostNorm" | "ffnPostNorm";
export type NormName = "attnNorm" | "attnSubNorm" | "qNorm" | "kNorm" | "ffnNorm" | "ffnSubNorm" | InnerNorm | PostNorm;

/** Norm weights are exact in bf16; where they are stored as the difference from 1, that is. */
export interface Layer {
  readonly linears: Readonly<Record<LinearName, Linear>>;
  readonly norms: Readonly<Partial<Record<NormName, Float32Array>>>;
}

/** An embedding or output head. */
export interface Table {
  /** [vocab, hidden], exact in bf16 and in f16. */
  readonly values: Float32Array;
  /** The same as codes and scales, if it is ternary. */
  readonly linear: Linear | undefined;
}

export interface FamilyModel {
  readonly shape: Shape;
  readonly embedding: Table;
  /** The embedding itself where tied. */
  readonly head: Table;
  readonly layers: readonly Layer[];
  /** [hidden] */
  readonly outputNorm: Float32Array;
  /** Token ids of each window. */
  readonly windows: readonly (readonly number[])[];
}

/** SafeTensors of this family hold 2-bit codes with the inverse of the scale in bf16; the others hold floats. */
export function isPacked({ family }: Shape): boolean {
  return family === "llama";
}

/** The scale as near to `about` as the family's SafeTensors can hold it. */
function storable(shape: Shape, about: number): number {
  return isPacked(shape) ? Math.fround(1 / bf16(1 / about)) : bf16(about);
}

/** Scores that are large enough for attention to choose, other products of about unit variance. */
const GAINS: Readonly<Record<LinearName, number>> = { q: 1.3, k: 1.3, v: 1, o: 1, gate: 1.2, up: 1, down: 1 };
/** In a table, so that logits have a standard deviation of about 2. */
const LOGIT_SPREAD = 2;

export function linear(shape: Shape, random: Random, rows: number, columns: number, gain: number): Linear {
  const codes = new Int8Array(rows * columns);
  for (let i = 0; i < codes.length; i++) codes[i] = random.below(3) - 1;
  const groups = shape.group === undefined ? 1 : (rows * columns) / shape.group;
  const spread = shape.group === undefined ? 0.2 : 0.5;
  const about = gain / Math.sqrt((columns * 2) / 3);
  const scales = Float32Array.from({ length: groups }, () => storable(shape, about * (1 + spread * (2 * random.uniform() - 1))));
  return { rows, columns, codes, scales };
}

/** Around 1, and far enough from it that a norm's weights show. */
export function norm(random: Random, n: number): Float32Array {
  return Float32Array.from({ length: n }, () => bf16(1 + 0.3 * Math.max(-2, Math.min(2, random.normal()))));
}

/** The same where the difference from 1 is stored. */
function normFromOne(random: Random, n: number): Float32Array {
  return Float32Array.from({ length: n }, () => 1 + bf16(0.3 * Math.max(-2, Math.min(2, random.normal()))));
}

export function table(shape: Shape, random: Random): Table {
  const { vocab, hidden, group } = shape;
  if (group !== undefined) {
    const ternary = linear(shape, random, vocab, hidden, LOGIT_SPREAD);
    return { values: dequantized(ternary), linear: ternary };
  }
  const deviation = LOGIT_SPREAD / Math.sqrt(hidden);
  const values = new Float32Array(vocab * hidden);
  for (let i = 0; i < values.length; i++) values[i] = f16(bf16(deviation * random.normal()));
  return { values, linear: undefined };
}

export function makeFamilyModel(shape: Shape): FamilyModel {
  const { hidden, heads, kvHeads, headDim, ffn, vocab } = shape;
  const random = new Random(shape.seed);
  const sizes: Readonly<Record<LinearName, readonly [rows: number, columns: number]>> = {
    q: [heads * headDim, hidden],
    k: [kvHeads * headDim, hidden],
    v: [kvHeads * headDim, hidden],
    o: [hidden, heads * headDim],
    gate: [ffn, hidden],
    up: [ffn, hidden],
    down: [hidden, ffn],
  };
  const own = isFromOne(shape) ? normFromOne : norm;
  const embedding = table(shape, random);
  const layers = Array.from({ length: shape.layers }, (): Layer => {
    const linears = Object.fromEntries(LINEARS.map((name) => [name, linear(shape, random, ...sizes[name], GAINS[name])]));
    const innerNorms = shape.innerNorms && {
      ...{ qInputNorm: norm(random, hidden), kInputNorm: norm(random, hidden), vInputNorm: norm(random, hidden) },
      ...{ gateInputNorm: norm(random, hidden), upInputNorm: norm(random, hidden) },
    };
    const subNorms = (shape.family === "bitnet" || shape.innerNorms) && {
      attnSubNorm: norm(random, heads * headDim),
      ffnSubNorm: norm(random, ffn),
    };
    const hasHeadNorms = shape.family === "qwen3" || shape.family === "gemma3";
    const headNorms = hasHeadNorms && { qNorm: own(random, headDim), kNorm: own(random, headDim) };
    const postNorms = shape.family === "gemma3" && { attnPostNorm: own(random, hidden), ffnPostNorm: own(random, hidden) };
    return {
      linears: linears as Record<LinearName, Linear>,
      norms: { attnNorm: own(random, hidden), ffnNorm: own(random, hidden), ...subNorms, ...headNorms, ...postNorms, ...innerNorms },
    };
  });
  const outputNorm = own(random, hidden);
  const head = shape.tied ? embedding : table(shape, random);
  const windows = shape.windows.map((length) => Array.from({ length }, () => random.below(vocab - SPECIALS)));
  return { shape, embedding, head, layers, outputNorm, windows };
}

/** Tokens at the end of the vocabulary that no window has: they are control tokens in some of the tokenizers. */
export const SPECIALS = 8;

/** A layer's numbers, [rows, columns] f32. */
export function dequantized({ rows, columns, codes, scales }: Linear): Float32Array {
  const group = (rows * columns) / scales.length;
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) values[i] = codes[i]! * scales[Math.floor(i / group)]!;
  return values;
}

/** Positions that the model is made for. */
export const CONTEXT = 512;
