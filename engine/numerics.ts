/**
 * The float arithmetic of the network, in one fixed order, in plain TypeScript. The kernels (kernels/assembly) do the same operations in the
 * same order; tests and the self-test at start hold the two bit-equal. `Math.fround` around each operation makes it one of IEEE f32.
 */
/** Changes whenever a bit of any logit can change. Written into receipts. */
export const NUMERICS_VERSION = 1;
/** Positions in a block of the KV cache, the unit of the online softmax. */
export const KV_BLOCK = 32;
/** Positions in a span: spans of attention are computed apart and merged in order. */
export const KV_SPAN = 256;
/**
 * Columns of a ternary layer whose integer sum is scaled by itself, where there is more than one scale or activations are not quantised: the
 * smallest groups there are, so that equal numbers give equal bits in whatever groups a file keeps its scales.
 */
export const SCALE_GROUP = 64;
/** How the KV cache holds keys and values, from most to least memory: as they are, or as codes of 16 or 8 bits with a scale for each token and head. */
export const KV_TYPES = ["f32", "k16", "q8"] as const;
export type KvType = (typeof KV_TYPES)[number];
/** The type of cache where none is asked for. */
export const DEFAULT_KV: KvType = "f32";
/** Lower bound of the absolute maximum by which a token's activations are quantised. */
const MIN_ACTIVATION_MAX = Math.fround(1e-5);

const f = Math.fround;
const bits = new Int32Array(1);
const asFloat = new Float32Array(bits.buffer);

const LOG2E = f(Math.LOG2E);
const LN2_HI = f(0.693359375);
const LN2_LO = f(-2.1219444e-4);
const C5 = f(1.98756915e-4);
const C4 = f(1.3981999507e-3);
const C3 = f(8.3334519073e-3);
const C2 = f(4.1665795894e-2);
const C1 = f(1.6666665459e-1);
const C0 = f(5.0000001201e-1);
/** Adding and taking away 1.5·2^23 rounds an f32 of magnitude < 2^22 to the nearest integer, half to even. */
const ROUNDER = 12582912;

/** e^x in f32 for x ≤ 0; 0 below −87. Range reduction by ln 2 in two parts, degree-5 polynomial of the Cephes library's expf. */
export function expF32(x: number): number {
  if (!(x >= -87)) return 0;
  const n = f(f(f(x * LOG2E) + ROUNDER) - ROUNDER);
  const r = f(f(x - f(n * LN2_HI)) - f(n * LN2_LO));
  let p = f(f(C5 * r) + C4);
  p = f(f(p * r) + C3);
  p = f(f(p * r) + C2);
  p = f(f(p * r) + C1);
  p = f(f(p * r) + C0);
  asFloat[0] = f(f(f(p * f(r * r)) + r) + 1);
  bits[0] = bits[0]! + (n << 23);
  return asFloat[0]!;
}

/** Σ a[aFrom+i]·b[bFrom+i], i < n, in 8 lanes; then ((0+1)+(2+3)) + ((4+5)+(6+7)). */
export function dot8(a: Float32Array, aFrom: number, b: Float32Array, bFrom: number, n: number): number {
  let s0 = 0,
    s1 = 0,
    s2 = 0,
    s3 = 0,
    s4 = 0,
    s5 = 0,
    s6 = 0,
    s7 = 0;
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    const p = aFrom + i;
    const q = bFrom + i;
    s0 = f(s0 + f(a[p]! * b[q]!));
    s1 = f(s1 + f(a[p + 1]! * b[q + 1]!));
    s2 = f(s2 + f(a[p + 2]! * b[q + 2]!));
    s3 = f(s3 + f(a[p + 3]! * b[q + 3]!));
    s4 = f(s4 + f(a[p + 4]! * b[q + 4]!));
    s5 = f(s5 + f(a[p + 5]! * b[q + 5]!));
    s6 = f(s6 + f(a[p + 6]! * b[q + 6]!));
    s7 = f(s7 + f(a[p + 7]! * b[q + 7]!));
  }
  // The last, incomplete group of 8; the kernels read zeros there, which add nothing.
  const rest = n - i;
  const p = aFrom + i;
  const q = bFrom + i;
  if (rest > 0) s0 = f(s0 + f(a[p]! * b[q]!));
  if (rest > 1) s1 = f(s1 + f(a[p + 1]! * b[q + 1]!));
  if (rest > 2) s2 = f(s2 + f(a[p + 2]! * b[q + 2]!));
  if (rest > 3) s3 = f(s3 + f(a[p + 3]! * b[q + 3]!));
  if (rest > 4) s4 = f(s4 + f(a[p + 4]! * b[q + 4]!));
  if (rest > 5) s5 = f(s5 + f(a[p + 5]! * b[q + 5]!));
  if (rest > 6) s6 = f(s6 + f(a[p + 6]! * b[q + 6]!));
  return f(f(f(s0 + s1) + f(s2 + s3)) + f(f(s4 + s5) + f(s6 + s7)));
}

/** RMSNorm, [n] f32 → [n] f32: out = x · 1/√(Σx²/n + eps) · weight. */
export function rmsNorm(out: Float32Array, x: Float32Array, weight: Float32Array, eps: number): void {
  const n = weight.length;
  const mean = f(dot8(x, 0, x, 0, n) / n);
  const factor = f(1 / f(Math.sqrt(f(mean + f(eps)))));
  for (let i = 0; i < n; i++) out[i] = f(x[i]! * factor) * weight[i]!;
}

/** Activations of one token, quantised. */
export interface Quantized {
  /** [n] integers −128…127 */
  readonly values: Int32Array;
  /** Σ values */
  readonly sum: number;
  /** max(max|x|, 1e-5), f32 */
  readonly max: number;
}

/** Per-token absmax quantisation to 8 bits: s = 127 / max(max|x|, 1e-5), q = clamp(round-half-even(x·s), −128, 127). */
export function quantize(x: Float32Array, n: number): Quantized {
  let max = MIN_ACTIVATION_MAX;
  for (let i = 0; i < n; i++) max = Math.max(max, Math.abs(x[i]!));
  const s = f(127 / max);
  const values = new Int32Array(n);
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const q = f(f(f(x[i]! * s) + ROUNDER) - ROUNDER);
    values[i] = Math.min(Math.max(q, -128), 127);
    sum += values[i]!;
  }
  return { values, sum, max };
}

/** Largest integer of an activation in 15 bits: 127·128 + 63, which the kernels take apart into two of 8 bits. */
export const WIDE_LEVELS = 16319;

/** Activations of one token, quantised in groups of columns that share a scale. */
export interface GroupedActivations {
  /** [n] integers */
  readonly values: Int32Array;
  /** [n/group, rounded up] f32: what 1 is worth */
  readonly scales: Float32Array;
}

/**
 * For ternary layers with scales in groups of columns. `int8`: as `quantize`, one scale for all. `float`, where the model does not quantise
 * activations: 15 bits of each group's own maximum, finer than the bfloat16 that such models are trained in.
 */
export function quantizeGroups(x: Float32Array, n: number, group: number, activations: "int8" | "float"): GroupedActivations {
  const scales = new Float32Array(Math.ceil(n / group));
  if (activations === "int8") {
    const { values, max } = quantize(x, n);
    return { values, scales: scales.fill(max / 127) };
  }
  const values = new Int32Array(n);
  for (const g of scales.keys()) {
    const from = g * group;
    const end = Math.min(from + group, n);
    const max = absMax(x, from, end - from);
    if (max < LEAST_MAX) continue;
    const s = f(WIDE_LEVELS / max);
    for (let i = from; i < end; i++) {
      const q = f(f(f(x[i]! * s) + ROUNDER) - ROUNDER);
      values[i] = Math.min(Math.max(q, -WIDE_LEVELS - 1), WIDE_LEVELS);
    }
    scales[g] = max / WIDE_LEVELS;
  }
  return { values, scales };
}

/**
 * One output of a ternary layer with scales in groups: integers inside a group, groups in ascending order in f32.
 * @param weights −1, 0, 1; the row begins at `from`
 * @param scales f32 of the row's groups, from `scalesFrom` on
 */
export function groupedProduct(
  weights: Int8Array,
  from: number,
  scales: Float32Array,
  scalesFrom: number,
  group: number,
  x: GroupedActivations,
): number {
  let total = 0;
  for (let g = 0; g < x.scales.length; g++) {
    let sum = 0;
    for (let i = g * group, end = Math.min(i + group, x.values.length); i < end; i++) sum += weights[from + i]! * x.values[i]!;
    total = f(total + f(sum * f(scales[scalesFrom + g]! * x.scales[g]!)));
  }
  return total;
}

/** What makes an integer sum of a ternary layer an activation: scale · max|x| / 127, rounded to f32 once. */
export function outputFactor(scale: number, max: number): number {
  return f((scale * max) / 127);
}

/** gate = relu(gate)² · up, [n] f32 */
export function reluSquaredMul(gate: Float32Array, up: Float32Array, n: number): void {
  for (let i = 0; i < n; i++) {
    const g = Math.max(gate[i]!, 0);
    gate[i] = f(g * g) * up[i]!;
  }
}

/** σ(x) = s / (1 + e) in f32 with e = e^−|x|, s = 1 for x ≥ 0, else e */
export function sigmoid(x: number): number {
  const e = expF32(-Math.abs(x));
  return f((x >= 0 ? 1 : e) / f(1 + e));
}

/** gate = gate · σ(gate) · up, [n] f32 */
export function siluMul(gate: Float32Array, up: Float32Array, n: number): void {
  for (let i = 0; i < n; i++) gate[i] = f(gate[i]! * sigmoid(gate[i]!)) * up[i]!;
}

/** 2√(2/π), and that times 0.044715. */
const GELU_LINEAR = f(1.5957691216057308);
const GELU_CUBIC = f(0.07135481627260025);

/**
 * gate = GELU(gate) · up, [n] f32, in GELU's tanh form: ½x(1 + tanh y) = x · σ(2y) with y = √(2/π)·(x + 0.044715·x³) (Hendrycks & Gimpel 2016).
 */
export function geluMul(gate: Float32Array, up: Float32Array, n: number): void {
  for (let i = 0; i < n; i++) {
    const x = gate[i]!;
    gate[i] = f(x * sigmoid(f(x * f(GELU_LINEAR + f(f(x * x) * GELU_CUBIC))))) * up[i]!;
  }
}

/** x = x · σ(gate), [n] f32 */
export function sigmoidMul(x: Float32Array, gate: Float32Array, n: number): void {
  for (let i = 0; i < n; i++) x[i] = x[i]! * sigmoid(gate[i]!);
}

/**
 * Attention of one query head over positions 0 … count − 1: online softmax over blocks of 32, spans of 256 merged in order.
 * @param out [headDim] f32 at `outFrom`
 * @param q [headDim] f32 at `qFrom`
 * @param keys, values f32; position t's begins at `kvFrom + t·kvStride`
 */
export function attend(
  out: Float32Array,
  outFrom: number,
  q: Float32Array,
  qFrom: number,
  keys: Float32Array,
  values: Float32Array,
  kvFrom: number,
  kvStride: number,
  count: number,
  headDim: number,
): void {
  const scale = f(1 / Math.sqrt(headDim));
  const total = { m: Number.NEGATIVE_INFINITY, l: 0, sums: new Float32Array(headDim) };
  const span = { m: 0, l: 0, sums: new Float32Array(headDim) };
  const p = new Float32Array(KV_BLOCK);
  for (let spanStart = 0; spanStart < count; spanStart += KV_SPAN) {
    span.m = Number.NEGATIVE_INFINITY;
    span.l = 0;
    span.sums.fill(0);
    const spanEnd = Math.min(spanStart + KV_SPAN, count);
    for (let start = spanStart; start < spanEnd; start += KV_BLOCK) {
      const seen = Math.min(spanEnd - start, KV_BLOCK);
      let most = span.m;
      p.fill(0);
      for (let d = 0; d < headDim; d++) {
        const x = q[qFrom + d]!;
        for (let j = 0, k = kvFrom + start * kvStride + d; j < seen; j++, k += kvStride) p[j] = p[j]! + f(x * keys[k]!);
      }
      for (let j = 0; j < seen; j++) {
        p[j] = p[j]! * scale;
        most = Math.max(most, p[j]!);
      }
      const shrink = expF32(f(span.m - most));
      span.m = most;
      for (let j = 0; j < seen; j++) p[j] = expF32(f(p[j]! - most));
      p.fill(0, seen);
      span.l = f(f(span.l * shrink) + dot8(p, 0, ONES, 0, KV_BLOCK));
      for (let d = 0; d < headDim; d++) span.sums[d] = span.sums[d]! * shrink;
      for (let j = 0; j < seen; j++) {
        const v = kvFrom + (start + j) * kvStride;
        const weight = p[j]!;
        for (let d = 0; d < headDim; d++) span.sums[d] = span.sums[d]! + f(weight * values[v + d]!);
      }
    }
    merge(total, span);
  }
  const inverse = f(1 / total.l);
  for (let d = 0; d < headDim; d++) out[outFrom + d] = total.sums[d]! * inverse;
}

const ONES = new Float32Array(KV_BLOCK).fill(1);

/** Caches that hold codes. */
export type CodedKv = Exclude<KvType, "f32">;

/** Keys or values as codes: code · scale. */
export interface QuantizedVectors {
  /** [positions, kvHeads, headDim] −levels … levels */
  readonly codes: Int8Array | Int16Array;
  /** [positions, kvHeads] f32 */
  readonly scales: Float32Array;
}

/** Levels of what is multiplied with the codes: queries and weights, int16. */
const LEVELS = 32767;
/** What a cache's codes are, and how sums of products with them stay in int32; the proof is in kernels/assembly/attention-codes.ts. */
const CODES = {
  q8: { levels: 127, scoreBound: 16909320, scoreShift: 0, valueShift: 0 },
  k16: { levels: 32767, scoreBound: 8388352, scoreShift: 7, valueShift: 4 },
} as const satisfies Record<
  CodedKv,
  {
    /** Codes are −levels … levels. */
    readonly levels: number;
    /** The maximum of a query's levels times headDim. */
    readonly scoreBound: number;
    /** By how many bits the sum of a pair of products is shifted to the right before it is added. */
    readonly scoreShift: number;
    readonly valueShift: number;
  }
>;

/** Room for a cache's codes. */
export function newCodes(kv: CodedKv, length: number): Int8Array | Int16Array {
  return kv === "q8" ? new Int8Array(length) : new Int16Array(length);
}

/** Maxima below this count as 0: their inverses leave f32's range. */
export const LEAST_MAX = f(1e-30);

/** max|x| of [n] from `from` on */
function absMax(x: Float32Array, from: number, n: number): number {
  let max = 0;
  for (let i = from; i < from + n; i++) max = Math.max(max, Math.abs(x[i]!));
  return max;
}

/** out[i] = round-half-even(x[i] · levels/max|x|), i < n. @returns what 1 is worth, max|x|/levels; 0 where all is 0 */
function toLevels(out: Int8Array | Int16Array, outFrom: number, x: Float32Array, from: number, n: number, levels: number): number {
  const max = absMax(x, from, n);
  const zero = max < LEAST_MAX;
  const s = zero ? 0 : f(levels / max);
  for (let i = 0; i < n; i++) out[outFrom + i] = f(f(f(x[from + i]! * s) + ROUNDER) - ROUNDER);
  return zero ? 0 : f(max / levels);
}

/** Quantises one token's keys or values, [kvHeads, headDim] f32, each head by itself: scale = max|x|/levels, code = round(x · levels/max|x|). */
export function quantizeHeads(
  kv: CodedKv,
  out: QuantizedVectors,
  position: number,
  x: Float32Array,
  kvHeads: number,
  headDim: number,
): void {
  for (let head = 0; head < kvHeads; head++) {
    const at = position * kvHeads + head;
    out.scales[at] = toLevels(out.codes, at * headDim, x, head * headDim, headDim, CODES[kv].levels);
  }
}

/**
 * `attend` on keys and values as codes. The query, and in each block the probabilities times the values' scales, go to int16; their products
 * with the codes are summed as integers: in pairs of dimensions or positions, which with 16 bits are shifted to the right (rounded towards −∞)
 * before they are added. All else is as in `attend`.
 * @param out [headDim] f32 at `outFrom`
 * @param q [headDim] f32 at `qFrom`
 * @param kvHead which of the `kvHeads` heads of keys and values
 */
export function attendCodes(
  kv: CodedKv,
  out: Float32Array,
  outFrom: number,
  q: Float32Array,
  qFrom: number,
  keys: QuantizedVectors,
  values: QuantizedVectors,
  kvHead: number,
  kvHeads: number,
  count: number,
  headDim: number,
): void {
  const { scoreBound, scoreShift, valueShift } = CODES[kv];
  const codes = new Int16Array(headDim);
  const worth = toLevels(codes, 0, q, qFrom, headDim, Math.min(LEVELS, Math.floor(scoreBound / headDim)));
  const factor = f(worth * (1 << scoreShift) * f(1 / Math.sqrt(headDim)));
  const total = { m: Number.NEGATIVE_INFINITY, l: 0, sums: new Float32Array(headDim) };
  const span = { m: 0, l: 0, sums: new Float32Array(headDim) };
  const p = new Float32Array(KV_BLOCK);
  const weights = new Int16Array(KV_BLOCK);
  for (let spanStart = 0; spanStart < count; spanStart += KV_SPAN) {
    span.m = Number.NEGATIVE_INFINITY;
    span.l = 0;
    span.sums.fill(0);
    const spanEnd = Math.min(spanStart + KV_SPAN, count);
    for (let start = spanStart; start < spanEnd; start += KV_BLOCK) {
      const seen = Math.min(spanEnd - start, KV_BLOCK);
      let most = span.m;
      for (let j = 0; j < seen; j++) {
        const at = (start + j) * kvHeads + kvHead;
        let sum = 0;
        for (let d = 0, k = at * headDim; d < headDim; d += 2, k += 2)
          sum += (codes[d]! * keys.codes[k]! + codes[d + 1]! * keys.codes[k + 1]!) >> scoreShift;
        p[j] = f(sum) * f(keys.scales[at]! * factor);
        most = Math.max(most, p[j]!);
      }
      const shrink = expF32(f(span.m - most));
      span.m = most;
      for (let j = 0; j < seen; j++) p[j] = expF32(f(p[j]! - most));
      p.fill(0, seen);
      span.l = f(f(span.l * shrink) + dot8(p, 0, ONES, 0, KV_BLOCK));
      for (let j = 0; j < seen; j++) p[j] = p[j]! * values.scales[(start + j) * kvHeads + kvHead]!;
      const step = toLevels(weights, 0, p, 0, KV_BLOCK, LEVELS) * (1 << valueShift);
      for (let d = 0; d < headDim; d++) {
        const product = (j: number): number => (j < seen ? weights[j]! * values.codes[((start + j) * kvHeads + kvHead) * headDim + d]! : 0);
        let sum = 0;
        for (let j = 0; j < seen; j += 2) sum += (product(j) + product(j + 1)) >> valueShift;
        span.sums[d] = f(span.sums[d]! * shrink) + f(f(sum) * step);
      }
    }
    merge(total, span);
  }
  const inverse = f(1 / total.l);
  for (let d = 0; d < headDim; d++) out[outFrom + d] = total.sums[d]! * inverse;
}

/** Maximum, sum and weighted sums of a softmax, not yet divided. */
interface SoftmaxState {
  m: number;
  l: number;
  readonly sums: Float32Array;
}

/** Takes the next span into the total of those before. */
function merge(total: SoftmaxState, span: SoftmaxState): void {
  const m = Math.max(total.m, span.m);
  const keep = expF32(f(total.m - m));
  const take = expF32(f(span.m - m));
  total.m = m;
  total.l = f(f(total.l * keep) + f(span.l * take));
  for (let d = 0; d < span.sums.length; d++) total.sums[d] = f(total.sums[d]! * keep) + f(span.sums[d]! * take);
}
