// Attention over keys and values as codes of 8 bits (`q8`) or 16 (`k16`): code · scale, one scale for a position's key and one for its
// value. Products of int16 and codes C are summed in pairs, and pairs in int32, so no order of adding shows. A head's block of 32 positions,
// laid out in the order in which it is read:
//   key codes    [2 halves][headDim/2][16 positions][2 dims] C
//   key scales   [32] f32
//   value codes  [headDim/16][16 pairs of positions][16 dims][2 positions] C; the last headDim mod 16 dims in groups of 4 instead
//   value scales [32] f32
// The float steps are those of `attendCodes` in engine/numerics.ts, and those between them are `attendSpan`'s.
//
// No sum leaves int32. L is the levels of a query or weight, 32767 unless a head is large; all codes are within their levels.
//   q8   a score is at most headDim · L · 127 <= 2^31 − 1 by the choice of L; a value sum 32 · 32767 · 127 < 2^27.
//   k16  a pair is at most 2 · 32767² = 2147352578 < 2^31, so it is exact. It is then shifted, which rounds towards −∞:
//        scores by 7: a pair becomes at most 2 · 32767 · L / 128, rounded away from 0. headDim/2 of those are at most
//        headDim · L · 32767/128 + headDim/2, and headDim · L <= 256 · 32767 by the choice of L: 2147352578 + headDim/2 < 2^31
//        for every head of up to 262,138.
//        values by 4: 16 pairs of at most 134209537 are 2147352592 < 2^31.
import { ATTEND_SPAN_K16, ATTEND_SPAN_Q8, STORE_KEY_VALUE_K16, STORE_KEY_VALUE_Q8, called } from "./count";
import { clearState } from "./attention";
import { BLOCK, ROUNDER, softmax } from "./softmax";

/** Maxima below this count as 0: their inverses leave f32's range. */
const LEAST_MAX: f32 = 1e-30;
/** Levels of a quantised query or weight. */
const LEVELS: i32 = 32767;
/** What a query's levels times headDim may be at the most: (2^31 − 1) / 127 for codes of 8 bits, 256 · 32767 for 16. */
const SCORE_BOUND_Q8: i32 = 16909320;
const SCORE_BOUND_K16: i32 = 8388352;
/** By how many bits sums of pairs of products with codes of 16 bits are shifted to the right. */
const SCORE_SHIFT: i32 = 7;
const VALUE_SHIFT: i32 = 4;

/** Levels of a code. */
// @ts-ignore: decorator
@inline
function levelsOf<C>(): f32 {
  return sizeof<C>() == 1 ? 127 : 32767;
}

/** Eight codes as int16. @param p address; its `i`-th eight */
// @ts-ignore: decorator
@inline
function eight<C>(p: usize, i: usize): v128 {
  // As offsets, or V8 does not see that they are adjacent.
  if (i == 0) return sizeof<C>() == 1 ? v128.load8x8_s(p) : v128.load(p);
  if (i == 1) return sizeof<C>() == 1 ? v128.load8x8_s(p, 8) : v128.load(p, 16);
  if (i == 2) return sizeof<C>() == 1 ? v128.load8x8_s(p, 16) : v128.load(p, 32);
  return sizeof<C>() == 1 ? v128.load8x8_s(p, 24) : v128.load(p, 48);
}

/** Pairs of products of keys and a query. */
// @ts-ignore: decorator
@inline
function scorePairs<C>(codes: v128, x: v128): v128 {
  const pairs = i32x4.dot_i16x8_s(codes, x);
  return sizeof<C>() == 1 ? pairs : i32x4.shr_s(pairs, SCORE_SHIFT);
}

/** Pairs of products of values and weights. */
// @ts-ignore: decorator
@inline
function valuePairs<C>(codes: v128, x: v128): v128 {
  const pairs = i32x4.dot_i16x8_s(codes, x);
  return sizeof<C>() == 1 ? pairs : i32x4.shr_s(pairs, VALUE_SHIFT);
}

/** What a shift took from a sum, 2^shift. */
// @ts-ignore: decorator
@inline
function unit<C>(shift: i32): f32 {
  return sizeof<C>() == 1 ? 1 : <f32>(1 << shift);
}

/** The greatest of 4 lanes ≥ 0. As integers they have the same order, and NaN is the greatest. */
// @ts-ignore: decorator
@inline
function max4(v: v128): f32 {
  v = i32x4.max_u(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(i32x4.max_u(v, v128.shuffle<i32>(v, v, 1, 0, 3, 2)), 0);
}

/** max|x| of [bytes/4] f32 */
// @ts-ignore: decorator
@inline
function absMax(x: usize, bytes: usize): f32 {
  let top = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) top = i32x4.max_u(top, f32x4.abs(v128.load(x + i)));
  return max4(top);
}

/** round(x·s) of four, in the low bits of i32 lanes. |x·s| never passes the levels by more than its rounding error, so nothing is clamped. */
// @ts-ignore: decorator
@inline
function round4(x: v128, s: v128): v128 {
  return f32x4.add(f32x4.mul(x, s), f32x4.splat(ROUNDER));
}

/** What `round4` rounded, as i32. */
// @ts-ignore: decorator
@inline
function integers(rounded: v128): v128 {
  return i32x4.sub(rounded, f32x4.splat(ROUNDER));
}

/** Quantises a position's key and value into its block. @param block of this head @param slot position mod 32 @param k, v [headDim] f32 */
export function storeKeyValueQ8(block: usize, slot: u32, k: usize, v: usize, headDim: u32): void {
  called(STORE_KEY_VALUE_Q8);
  storeCodes<i8>(block, slot, k, v, headDim);
}

/** As `storeKeyValueQ8`, to 16 bits. */
export function storeKeyValueK16(block: usize, slot: u32, k: usize, v: usize, headDim: u32): void {
  called(STORE_KEY_VALUE_K16);
  storeCodes<i16>(block, slot, k, v, headDim);
}

/** scale = max|x|/levels, code = round(x · levels/max|x|), of a key and of a value. */
// @ts-ignore: decorator
@inline
function storeCodes<C>(block: usize, slot: u32, k: usize, v: usize, headDim: u32): void {
  const size = sizeof<C>();
  const dims = <usize>headDim;
  const bytes = dims << 2;
  const at = <usize>slot;
  const keyScales = block + dims * BLOCK * size;
  const values = keyScales + (BLOCK << 2);

  let most = absMax(k, bytes);
  let zero = most < LEAST_MAX;
  store<f32>(keyScales + (at << 2), zero ? 0 : most / levelsOf<C>());
  let s = f32x4.splat(zero ? 0 : levelsOf<C>() / most);
  let to = block + ((at >> 4) * (dims << 4) + ((at & 15) << 1)) * size;
  for (let i: usize = 0; i < bytes; i += 16, to += 64 * size) {
    const c = round4(v128.load(k + i), s);
    store<C>(to, <C>i32x4.extract_lane(c, 0));
    store<C>(to + size, <C>i32x4.extract_lane(c, 1));
    store<C>(to + 32 * size, <C>i32x4.extract_lane(c, 2));
    store<C>(to + 33 * size, <C>i32x4.extract_lane(c, 3));
  }

  most = absMax(v, bytes);
  zero = most < LEAST_MAX;
  store<f32>(values + dims * BLOCK * size + (at << 2), zero ? 0 : most / levelsOf<C>());
  s = f32x4.splat(zero ? 0 : levelsOf<C>() / most);
  const whole = bytes & ~63;
  for (let i: usize = 0; i < bytes; i += 16) {
    const c = round4(v128.load(v + i), s);
    const d = i >> 2;
    // The row of 16 dims, or of 4, in its group.
    to = values + ((at & 1) + (i < whole ? (d & ~15) * BLOCK + ((at >> 1) << 5) + ((d & 15) << 1) : d * BLOCK + ((at >> 1) << 3))) * size;
    store<C>(to, <C>i32x4.extract_lane(c, 0));
    store<C>(to + 2 * size, <C>i32x4.extract_lane(c, 1));
    store<C>(to + 4 * size, <C>i32x4.extract_lane(c, 2));
    store<C>(to + 6 * size, <C>i32x4.extract_lane(c, 3));
  }
}

/**
 * `attendSpan` on a cache of 8 bits; the same arguments.
 * @param scratch of this thread's own: p [2][32] f32, weights [2][32] int16, a factor for each of 8 queries f32, queries [8][headDim] int16
 */
export function attendSpanQ8(
  states: usize,
  stateBytes: u32,
  q: usize,
  queries: u32,
  headDim: u32,
  table: usize,
  cache: usize,
  blockBytes: u32,
  count: u32,
  scale: f32,
  scratch: usize,
): void {
  called(ATTEND_SPAN_Q8);
  attendCodes<i8>(states, stateBytes, q, queries, headDim, table, cache, blockBytes, count, scale, scratch);
}

/** As `attendSpanQ8`, of 16 bits. */
export function attendSpanK16(
  states: usize,
  stateBytes: u32,
  q: usize,
  queries: u32,
  headDim: u32,
  table: usize,
  cache: usize,
  blockBytes: u32,
  count: u32,
  scale: f32,
  scratch: usize,
): void {
  called(ATTEND_SPAN_K16);
  attendCodes<i16>(states, stateBytes, q, queries, headDim, table, cache, blockBytes, count, scale, scratch);
}

// @ts-ignore: decorator
@inline
function attendCodes<C>(
  states: usize,
  stateBytes: u32,
  q: usize,
  queries: u32,
  headDim: u32,
  table: usize,
  cache: usize,
  blockBytes: u32,
  count: u32,
  scale: f32,
  scratch: usize,
): void {
  const size = sizeof<C>();
  const dims = <usize>headDim;
  const weights = scratch + 256;
  const factors = scratch + 384;
  const codes = scratch + 416;
  const codeBytes = dims << 1;
  const end = states + <usize>queries * <usize>stateBytes;
  for (let state = states, i: usize = 0; state < end; state += stateBytes, i++) {
    clearState(state, dims << 2);
    store<f32>(factors + (i << 2), quantizeQuery(codes + i * codeBytes, q + i * (dims << 2), headDim, size == 1 ? SCORE_BOUND_Q8 : SCORE_BOUND_K16) * unit<C>(SCORE_SHIFT) * scale);
  }
  for (let first: u32 = 0; first < count; first += <u32>BLOCK, table += 4) {
    const keys = cache + <usize>load<u32>(table) * <usize>blockBytes;
    const keyScales = keys + dims * BLOCK * size;
    const values = keyScales + (BLOCK << 2);
    const valueScales = values + dims * BLOCK * size;
    const seen = min<u32>(count - first, <u32>BLOCK);
    let state = states;
    let x = codes;
    let factor = factors;
    for (; state + stateBytes < end; state += stateBytes << 1, x += codeBytes << 1, factor += 8) {
      const next = state + stateBytes;
      scoresOfTwo<C>(scratch, x, keys, codeBytes, keyScales, load<f32>(factor), load<f32>(factor, 4));
      const shrinkA = softmax(state, scratch, seen);
      const shrinkB = softmax(next, scratch + 128, seen);
      const stepA = quantizeWeights(weights, scratch, valueScales, seen) * unit<C>(VALUE_SHIFT);
      const stepB = quantizeWeights(weights + 64, scratch + 128, valueScales, seen) * unit<C>(VALUE_SHIFT);
      gatherTwo<C>(state + 16, next + 16, weights, values, dims, seen, shrinkA, shrinkB, stepA, stepB);
    }
    if (state < end) {
      scores<C>(scratch, x, keys, codeBytes, keyScales, load<f32>(factor));
      const shrink = softmax(state, scratch, seen);
      const step = quantizeWeights(weights, scratch, valueScales, seen) * unit<C>(VALUE_SHIFT);
      gather<C>(state + 16, weights, values, dims, seen, shrink, step);
    }
  }
}

/** A query head to int16. @param bound of levels times headDim @returns what 1 is worth; 0 with codes 0 for a head of zeros */
function quantizeQuery(out: usize, q: usize, headDim: u32, bound: i32): f32 {
  const bytes = <usize>headDim << 2;
  const levels = <f32>min<i32>(LEVELS, bound / headDim);
  const most = absMax(q, bytes);
  const zero = most < LEAST_MAX;
  const s = f32x4.splat(zero ? 0 : levels / most);
  for (let i: usize = 0; i < bytes; i += 16, out += 8) {
    const c = integers(round4(v128.load(q + i), s));
    v128.store64_lane(out, i16x8.narrow_i32x4_s(c, c), 0);
  }
  return zero ? 0 : most / levels;
}

/**
 * The weights p·scale of a block's values to int16, relative to their maximum; 0 where none counts.
 * @param out [32] int16 @param p [32] f32 @param scales [32] f32, of which `seen` count
 * @returns what 1 is worth
 */
function quantizeWeights(out: usize, p: usize, scales: usize, seen: u32): f32 {
  const end = p + 128;
  let top = f32x4.splat(0);
  for (let i = p; i < end; i += 64, scales += 64) {
    const a = f32x4.mul(v128.load(i), v128.load(scales)), b = f32x4.mul(v128.load(i, 16), v128.load(scales, 16));
    const c = f32x4.mul(v128.load(i, 32), v128.load(scales, 32)), d = f32x4.mul(v128.load(i, 48), v128.load(scales, 48));
    v128.store(i, a);
    v128.store(i, b, 16);
    v128.store(i, c, 32);
    v128.store(i, d, 48);
    top = i32x4.max_u(top, i32x4.max_u(i32x4.max_u(a, b), i32x4.max_u(c, d)));
  }
  if (seen < <u32>BLOCK) {
    // What lies in the cache behind the last position may be anything, and 0 times it NaN.
    for (let j = seen; j < <u32>BLOCK; j++) store<f32>(p + (<usize>j << 2), 0);
    top = f32x4.splat(0);
    for (let i = p; i < end; i += 16) top = i32x4.max_u(top, v128.load(i));
  }
  const most = max4(top);
  const zero = most < LEAST_MAX;
  const s = f32x4.splat(zero ? 0 : <f32>LEVELS / most);
  for (let i = p; i < end; i += 64, out += 32) {
    const a = integers(round4(v128.load(i), s)), b = integers(round4(v128.load(i, 16), s));
    const c = integers(round4(v128.load(i, 32), s)), d = integers(round4(v128.load(i, 48), s));
    v128.store(out, i16x8.narrow_i32x4_s(a, b));
    v128.store(out, i16x8.narrow_i32x4_s(c, d), 16);
  }
  return zero ? 0 : most / <f32>LEVELS;
}

/** out[j] = f32(Σ q[d]·k[d][j], of pairs of d, each shifted) · (scale[j]·factor) for the block's 32 positions. @param bytes of a query's codes */
// @ts-ignore: decorator
@inline
function scores<C>(out: usize, q: usize, keys: usize, bytes: usize, scales: usize, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let half: usize = 0; half < 128; half += 64) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    for (let p = q, end = q + bytes; p < end; p += 4, keys += 32 * sizeof<C>()) {
      const x = v128.load32_splat(p);
      a0 = i32x4.add(a0, scorePairs<C>(eight<C>(keys, 0), x));
      a1 = i32x4.add(a1, scorePairs<C>(eight<C>(keys, 1), x));
      a2 = i32x4.add(a2, scorePairs<C>(eight<C>(keys, 2), x));
      a3 = i32x4.add(a3, scorePairs<C>(eight<C>(keys, 3), x));
    }
    const s0 = v128.load(scales + half), s1 = v128.load(scales + half, 16), s2 = v128.load(scales + half, 32), s3 = v128.load(scales + half, 48);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a0), f32x4.mul(s0, f)));
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a1), f32x4.mul(s1, f)), 16);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a2), f32x4.mul(s2, f)), 32);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a3), f32x4.mul(s3, f)), 48);
  }
}

/** `scores` of two adjacent queries: out [2][32]. */
// @ts-ignore: decorator
@inline
function scoresOfTwo<C>(out: usize, q: usize, keys: usize, bytes: usize, scales: usize, factorA: f32, factorB: f32): void {
  const fa = f32x4.splat(factorA);
  const fb = f32x4.splat(factorB);
  for (let half: usize = 0; half < 128; half += 64) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0);
    for (let p = q, end = q + bytes; p < end; p += 4, keys += 32 * sizeof<C>()) {
      const x = v128.load32_splat(p);
      const y = v128.load32_splat(p + bytes);
      const k0 = eight<C>(keys, 0), k1 = eight<C>(keys, 1), k2 = eight<C>(keys, 2), k3 = eight<C>(keys, 3);
      a0 = i32x4.add(a0, scorePairs<C>(k0, x));
      a1 = i32x4.add(a1, scorePairs<C>(k1, x));
      a2 = i32x4.add(a2, scorePairs<C>(k2, x));
      a3 = i32x4.add(a3, scorePairs<C>(k3, x));
      b0 = i32x4.add(b0, scorePairs<C>(k0, y));
      b1 = i32x4.add(b1, scorePairs<C>(k1, y));
      b2 = i32x4.add(b2, scorePairs<C>(k2, y));
      b3 = i32x4.add(b3, scorePairs<C>(k3, y));
    }
    const s0 = v128.load(scales + half), s1 = v128.load(scales + half, 16), s2 = v128.load(scales + half, 32), s3 = v128.load(scales + half, 48);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a0), f32x4.mul(s0, fa)));
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a1), f32x4.mul(s1, fa)), 16);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a2), f32x4.mul(s2, fa)), 32);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(a3), f32x4.mul(s3, fa)), 48);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(b0), f32x4.mul(s0, fb)), 128);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(b1), f32x4.mul(s1, fb)), 144);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(b2), f32x4.mul(s2, fb)), 160);
    v128.store(out + half, f32x4.mul(f32x4.convert_i32x4_s(b3), f32x4.mul(s3, fb)), 176);
  }
}

/** sums[d]·shrink + f32(Σ_j w[j]·v[j][d])·step of 4 dims */
// @ts-ignore: decorator
@inline
function taken(sums: v128, shrink: v128, sum: v128, step: v128): v128 {
  return f32x4.add(f32x4.mul(sums, shrink), f32x4.mul(f32x4.convert_i32x4_s(sum), step));
}

/** sums[d] = sums[d]·shrink + f32(Σ w[j]·v[j][d], of pairs of j, each shifted)·step over the `seen` positions, whose weights are w [32] int16. */
// @ts-ignore: decorator
@inline
function gather<C>(sums: usize, w: usize, values: usize, dims: usize, seen: u32, shrink: f32, step: f32): void {
  const pairs = <usize>((seen + 1) >> 1) << 2; // bytes of the pairs of weights
  const f = f32x4.splat(shrink);
  const g = f32x4.splat(step);
  const whole = dims & ~15;
  for (let d: usize = 0; d < whole; d += 16, values += 16 * BLOCK * sizeof<C>(), sums += 64) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    for (let p = w, v = values, end = w + pairs; p < end; p += 4, v += 32 * sizeof<C>()) {
      const x = v128.load32_splat(p);
      a0 = i32x4.add(a0, valuePairs<C>(eight<C>(v, 0), x));
      a1 = i32x4.add(a1, valuePairs<C>(eight<C>(v, 1), x));
      a2 = i32x4.add(a2, valuePairs<C>(eight<C>(v, 2), x));
      a3 = i32x4.add(a3, valuePairs<C>(eight<C>(v, 3), x));
    }
    const s0 = v128.load(sums), s1 = v128.load(sums, 16), s2 = v128.load(sums, 32), s3 = v128.load(sums, 48);
    v128.store(sums, taken(s0, f, a0, g));
    v128.store(sums, taken(s1, f, a1, g), 16);
    v128.store(sums, taken(s2, f, a2, g), 32);
    v128.store(sums, taken(s3, f, a3, g), 48);
  }
  if (whole < dims) gatherRest<C>(sums, w, values, dims - whole, pairs, f, g);
}

/** The last dims of `gather`, 4 at a time. @param pairs bytes of the pairs of weights */
function gatherRest<C>(sums: usize, w: usize, values: usize, dims: usize, pairs: usize, shrink: v128, step: v128): void {
  for (const end = sums + (dims << 2); sums < end; sums += 16, values += 4 * BLOCK * sizeof<C>()) {
    let a = i32x4.splat(0);
    for (let i: usize = 0; i < pairs; i += 4) {
      a = i32x4.add(a, valuePairs<C>(eight<C>(values + (i << 1) * sizeof<C>(), 0), v128.load32_splat(w + i)));
    }
    v128.store(sums, taken(v128.load(sums), shrink, a, step));
  }
}

/** `gather` of two queries, w [2][32]. */
// @ts-ignore: decorator
@inline
function gatherTwo<C>(
  sumsA: usize,
  sumsB: usize,
  w: usize,
  values: usize,
  dims: usize,
  seen: u32,
  shrinkA: f32,
  shrinkB: f32,
  stepA: f32,
  stepB: f32,
): void {
  const pairs = <usize>((seen + 1) >> 1) << 2;
  const fa = f32x4.splat(shrinkA);
  const fb = f32x4.splat(shrinkB);
  const ga = f32x4.splat(stepA);
  const gb = f32x4.splat(stepB);
  const whole = dims & ~15;
  for (let d: usize = 0; d < whole; d += 16, values += 16 * BLOCK * sizeof<C>(), sumsA += 64, sumsB += 64) {
    let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0);
    let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0);
    for (let p = w, v = values, end = w + pairs; p < end; p += 4, v += 32 * sizeof<C>()) {
      const x = v128.load32_splat(p);
      const y = v128.load32_splat(p, 64);
      const v0 = eight<C>(v, 0), v1 = eight<C>(v, 1), v2 = eight<C>(v, 2), v3 = eight<C>(v, 3);
      a0 = i32x4.add(a0, valuePairs<C>(v0, x));
      a1 = i32x4.add(a1, valuePairs<C>(v1, x));
      a2 = i32x4.add(a2, valuePairs<C>(v2, x));
      a3 = i32x4.add(a3, valuePairs<C>(v3, x));
      b0 = i32x4.add(b0, valuePairs<C>(v0, y));
      b1 = i32x4.add(b1, valuePairs<C>(v1, y));
      b2 = i32x4.add(b2, valuePairs<C>(v2, y));
      b3 = i32x4.add(b3, valuePairs<C>(v3, y));
    }
    let s0 = v128.load(sumsA), s1 = v128.load(sumsA, 16), s2 = v128.load(sumsA, 32), s3 = v128.load(sumsA, 48);
    v128.store(sumsA, taken(s0, fa, a0, ga));
    v128.store(sumsA, taken(s1, fa, a1, ga), 16);
    v128.store(sumsA, taken(s2, fa, a2, ga), 32);
    v128.store(sumsA, taken(s3, fa, a3, ga), 48);
    s0 = v128.load(sumsB);
    s1 = v128.load(sumsB, 16);
    s2 = v128.load(sumsB, 32);
    s3 = v128.load(sumsB, 48);
    v128.store(sumsB, taken(s0, fb, b0, gb));
    v128.store(sumsB, taken(s1, fb, b1, gb), 16);
    v128.store(sumsB, taken(s2, fb, b2, gb), 32);
    v128.store(sumsB, taken(s3, fb, b3, gb), 48);
  }
  if (whole < dims) {
    gatherRest<C>(sumsA, w, values, dims - whole, pairs, fa, ga);
    gatherRest<C>(sumsB, w + 64, values, dims - whole, pairs, fb, gb);
  }
}
