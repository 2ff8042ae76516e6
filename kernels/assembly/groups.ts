// The ternary product where groups of columns have scales of their own: y = Σ over groups of (Σ c·q − Σ q) · (scale of the row's weights · scale
// of the activations), summed in f32 in ascending order of groups. Sums inside a group are integers: the same on every tier.
//
// Activations are int8, or of 15 bits (|q| ≤ 127·128 + 63), for models that don't quantise them: the relaxed tier then has q = 128·h + l as two rows
// of int8, h first; the plain tier has int16 anyway. Those of a group of columns lie together, one token's behind another's. The plain tier has rows
// packed as for `ternary`, the relaxed one as in group-rows.ts.
import { QUANTIZE_GROUPS, TERNARY_GROUPS, TERNARY_GROUPS_WIDE, called } from "./count";
import { gemm15, gemm15Wide, gemm8, gemv15, gemv8 } from "./group-rows";
import { absMax, opaque } from "./lanes";
import { total4 } from "./sums";

/** Largest |q| of 15 bits: that h and l fit int8, and 256 of them times a code f32 exactly. */
const LEVELS: f32 = 16319;
/** Maxima below this count as 0: their inverses leave f32's range. */
const LEAST_MAX: f32 = 1e-30;

/** Integers of four activations, round half to even; `most` is the largest there can be, −most − 1 the least (int8's range is not symmetric). */
// @ts-ignore: decorator
@inline
function levels4(x: usize, s: v128, most: i32): v128 {
  const q = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x), s)));
  return i32x4.min_s(i32x4.max_s(q, i32x4.splat(-most - 1)), i32x4.splat(most));
}

// @ts-ignore: decorator
@inline
function storeBytes(out: usize, q: v128): void {
  const h = i16x8.narrow_i32x4_s(q, q);
  store<u32>(out, i32x4.extract_lane(i8x16.narrow_i16x8_s(h, h), 0));
}

/**
 * Activations of one token for `ternaryGroups`: int8 with one scale for all (max(max|x|, 1e-5) / 127), or 15 bits with a scale for each group.
 * @param out [kPad/group], `outGroup` bytes apart, of [group] int16 (plain tier), int8 (relaxed), or [2][group] int8 (relaxed, 15 bits); zero from n on
 * @param meta [kPad/group], `metaGroup` bytes apart, of { Σq: i32, scale: f32 }
 * @param x [n] f32, n a multiple of 4
 * @param group columns that share a scale
 * @param wide 1: 15 bits
 */
export function quantizeGroups(out: usize, outGroup: usize, meta: usize, metaGroup: usize, x: usize, n: u32, kPad: u32, group: u32, wide: u32): void {
  called(QUANTIZE_GROUPS);
  const end = x + (<usize>n << 2);
  const all: f32 = wide ? 0 : absMax(x, <usize>n << 2, 1e-5);
  for (let column: u32 = 0; column < kPad; column += group, out += outGroup, meta += metaGroup) {
    const from = x + (<usize>column << 2);
    const stop = min<usize>(from + (<usize>group << 2), end);
    let s: f32 = 0;
    let worth: f32 = 0;
    if (!wide) {
      s = <f32>127 / all;
      worth = all / <f32>127;
    } else if (from < stop) {
      const most = absMax(from, stop - from, 0);
      if (!(most < LEAST_MAX)) {
        s = LEVELS / most;
        worth = most / LEVELS;
      }
    }
    const factor = f32x4.splat(s);
    let sum = i32x4.splat(0);
    let to: u32 = 0;
    for (let p = from; p < stop; p += 16, to += 4) {
      const q = levels4(p, factor, wide ? <i32>LEVELS : 127);
      sum = i32x4.add(sum, q);
      if (!ASC_FEATURE_RELAXED_SIMD) store<u64>(out + (<usize>to << 1), i64x2.extract_lane(i16x8.narrow_i32x4_s(q, q), 0));
      else if (!wide) storeBytes(out + to, q);
      else {
        const h = i32x4.shr_s(i32x4.add(q, i32x4.splat(64)), 7);
        storeBytes(out + to, h);
        storeBytes(out + group + to, i32x4.sub(q, i32x4.shl(h, 7)));
      }
    }
    for (; to < group; to += 4) {
      if (!ASC_FEATURE_RELAXED_SIMD) store<u64>(out + (<usize>to << 1), 0);
      else {
        store<u32>(out + to, 0);
        if (wide) store<u32>(out + group + to, 0);
      }
    }
    store<i32>(meta, i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3));
    store<f32>(meta, worth, 4);
  }
}

/** Σ c·q of four rows over a group, of int16 activations, in the plain tier's layout. */
// @ts-ignore: decorator
@inline
function groupWords(w: usize, x: usize, group: u32, mask: v128): v128 {
  let t0 = i32x4.splat(0), t1 = i32x4.splat(0), t2 = i32x4.splat(0), t3 = i32x4.splat(0);
  for (const end = x + (<usize>group << 1); x < end; w += 64) {
    let v0 = v128.load(w), v1 = v128.load(w, 16), v2 = v128.load(w, 32), v3 = v128.load(w, 48);
    for (const stop = x + 128; x < stop; x += 16) {
      const q = v128.load(x);
      t0 = i32x4.add(t0, i32x4.dot_i16x8_s(v128.and(v0, mask), q));
      t1 = i32x4.add(t1, i32x4.dot_i16x8_s(v128.and(v1, mask), q));
      t2 = i32x4.add(t2, i32x4.dot_i16x8_s(v128.and(v2, mask), q));
      t3 = i32x4.add(t3, i32x4.dot_i16x8_s(v128.and(v3, mask), q));
      v0 = i16x8.shr_u(v0, 2);
      v1 = i16x8.shr_u(v1, 2);
      v2 = i16x8.shr_u(v2, 2);
      v3 = i16x8.shr_u(v3, 2);
    }
  }
  return total4(t0, t1, t2, t3);
}

/**
 * y[column][row] of `rows` rows (a multiple of 4) for `columns` activation vectors.
 * @param w packed rows, kPad a multiple of `group`; a last group of fewer than 16 rows is filled up with others
 * @param scales [row groups][kPad/group][rows of a group] f32; a group has 16 rows, 4 in the plain tier
 * @param group 64, 128 or 256 columns that share a scale
 * @param wide 1: activations of 15 bits
 * @param x from `quantizeGroups`, groups of columns `xGroup` bytes apart; with more than one token there must be an even number of them in memory
 * @param meta from `quantizeGroups`, `metaGroup` bytes apart
 * @param y f32, `yStride` bytes a column
 * @param scratch 8320 bytes of this thread's own, for at most 64 columns
 */
export function ternaryGroups(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, wide: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  called(TERNARY_GROUPS);
  if (!ASC_FEATURE_RELAXED_SIMD) groupsPlain(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, columns, y, yStride);
  else if (columns > 1) {
    if (wide) gemm15(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
    else gemm8(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
  } else if (wide) gemv15(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, y, scratch);
  else gemv8(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, y, scratch);
}

/** As `ternaryGroups`, with more rows at once for registers of 256 bits. */
export function ternaryGroupsWide(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, wide: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  called(TERNARY_GROUPS_WIDE);
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (columns > 1) {
      if (wide) gemm15Wide(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
      else gemm8(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
    } else if (wide) gemv15(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, y, scratch);
    else gemv8(w, scales, rows, kPad, group, x, xGroup, meta, metaGroup, y, scratch);
  }
}

function groupsPlain(w: usize, scales: usize, rows: u32, kPad: u32, group: u32, x: usize, xGroup: usize, meta: usize, metaGroup: usize, columns: u32, y: usize, yStride: usize): void {
  const words = i16x8.splat(<i16>opaque(3, kPad));
  const scaleStride = <usize>(kPad / group) << 4;
  for (let row: u32 = 0; row < rows; row += 4, y += 16, w += kPad, scales += scaleStride) {
    // A group of rows stays in the first cache while it meets all columns.
    for (let column: u32 = 0; column < columns; column++) {
      let xc = x + <usize>column * (<usize>group << 1);
      let m = meta + (<usize>column << 3);
      let s = scales;
      let total = f32x4.splat(0);
      for (let k: u32 = 0; k < kPad; k += group, xc += xGroup, m += metaGroup, s += 16) {
        const integers = f32x4.convert_i32x4_s(i32x4.sub(groupWords(w + k, xc, group, words), i32x4.splat(load<i32>(m))));
        total = f32x4.add(total, f32x4.mul(integers, f32x4.mul(v128.load(s), f32x4.splat(load<f32>(m, 4)))));
      }
      v128.store(y + <usize>column * yStride, total);
    }
  }
}
