// The ternary product: y = (Σ c·x − Σ x) · r, with codes c = w + 1 ∈ {0, 1, 2} and int8 activations x: integers throughout, so every
// tier and every blocking gives the same sums. Rows lie in groups of 4, group g at g·kPad bytes, kPad a multiple of 64:
//
//   relaxed (W16): byte 64b + 16i + j of a group = row i, columns 64b + 16k + j in bits 2k (k 0…3, j 0…15)
//   plain   (P):   16-bit lane j of the 16 bytes at 64b + 16i = row i, columns 64b + 8k + j in bits 2k (k 0…7, j 0…7)
//
// A batch of one streams the packed rows once (GEMV), and so do small ones (small.ts). A larger one unpacks a group to `scratch` and multiplies it with all columns (GEMM).

import { TERNARY, called } from "./count";
import { opaque } from "./lanes";
import { MOST_COLUMNS, smallRelaxed } from "./small";
import { dot7, factor, store4, total4 } from "./sums";

/**
 * y[column][row] of `rows` rows (a multiple of 4) for `columns` activation vectors.
 * @param w packed rows
 * @param x activations as `quantize` writes them, `xStride` bytes a column; with more than one column there must be an even number of them in memory
 * @param meta 8 bytes a column, from `quantize`
 * @param y f32, `yStride` bytes a column; an odd last column writes into the one behind it
 * @param scratch 8·kPad + 256 bytes of this thread's own
 */
export function ternary(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  called(TERNARY);
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (columns == 1) gemvRelaxed(w, rows, kPad, scale, x, meta, y);
    else if (columns <= MOST_COLUMNS) smallRelaxed(w, rows, kPad, scale, x, xStride, meta, columns, y, yStride, scratch);
    else gemmRelaxed(w, rows, kPad, scale, x, xStride, meta, columns, y, yStride, scratch);
  } else {
    if (columns == 1) gemvPlain(w, rows, kPad, scale, x, meta, y, scratch);
    else gemmPlain(w, rows, kPad, scale, x, xStride, meta, columns, y, yStride, scratch);
  }
}

/** One row's 16 bytes of codes against their 64 activations: adds 8 sums of 16 bits. */
// @ts-ignore: decorator
@inline
export function block4(sums: v128, codes: v128, x0: v128, x1: v128, x2: v128, x3: v128, mask: v128): v128 {
  const a = i16x8.add(sums, dot7(x0, v128.and(codes, mask)));
  const b = i16x8.add(a, dot7(x1, v128.and(i16x8.shr_u(codes, 2), mask)));
  const c = i16x8.add(b, dot7(x2, v128.and(i16x8.shr_u(codes, 4), mask)));
  return i16x8.add(c, dot7(x3, v128.and(i16x8.shr_u(codes, 6), mask)));
}

// A 16-bit lane gains at most 4·2·128·2 = 2048 in magnitude per block of 64 columns: −2^15 is reached with 16 blocks, never passed.
const GEMV_BLOCKS: usize = 14;

function gemvRelaxed(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, meta: usize, y: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const r = factor(scale, meta);
  const sum = load<i32>(meta);
  const xEnd = x + kPad;
  for (let row: u32 = 0; row < rows; row += 4, y += 16) {
    let t0 = i32x4.splat(0), t1 = i32x4.splat(0), t2 = i32x4.splat(0), t3 = i32x4.splat(0);
    let p = x;
    while (p < xEnd) {
      const stop = min<usize>(p + GEMV_BLOCKS * 64, xEnd);
      let a0 = i16x8.splat(0), a1 = i16x8.splat(0), a2 = i16x8.splat(0), a3 = i16x8.splat(0);
      for (; p < stop; p += 64, w += 64) {
        const x0 = v128.load(p), x1 = v128.load(p, 16), x2 = v128.load(p, 32), x3 = v128.load(p, 48);
        const v0 = v128.load(w), v1 = v128.load(w, 16), v2 = v128.load(w, 32), v3 = v128.load(w, 48);
        a0 = block4(a0, v0, x0, x1, x2, x3, mask);
        a1 = block4(a1, v1, x0, x1, x2, x3, mask);
        a2 = block4(a2, v2, x0, x1, x2, x3, mask);
        a3 = block4(a3, v3, x0, x1, x2, x3, mask);
      }
      t0 = i32x4.add(t0, i32x4.dot_i16x8_s(a0, ones));
      t1 = i32x4.add(t1, i32x4.dot_i16x8_s(a1, ones));
      t2 = i32x4.add(t2, i32x4.dot_i16x8_s(a2, ones));
      t3 = i32x4.add(t3, i32x4.dot_i16x8_s(a3, ones));
    }
    store4(y, total4(t0, t1, t2, t3), sum, r);
  }
}

// One step is 16 columns and adds at most 512 in magnitude to a 16-bit lane: 64 steps.
const GEMM_STEPS: u32 = 64;

function gemmRelaxed(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const steps = kPad >> 4;
  const totals = scratch + (<usize>kPad << 2); // [2 columns][4 rows] i32x4
  for (let row: u32 = 0; row < rows; row += 4, y += 16) {
    // Unpack the group: [step][4 rows][16] bytes.
    let s = scratch;
    for (const end = w + kPad; w < end; w += 64, s += 256) {
      for (let i: usize = 0; i < 64; i += 16) {
        const v = v128.load(w + i);
        v128.store(s + i, v128.and(v, mask));
        v128.store(s + i, v128.and(i16x8.shr_u(v, 2), mask), 64);
        v128.store(s + i, v128.and(i16x8.shr_u(v, 4), mask), 128);
        v128.store(s + i, v128.and(i16x8.shr_u(v, 6), mask), 192);
      }
    }
    for (let column: u32 = 0; column < columns; column += 2) {
      let xa = x + <usize>column * xStride;
      let xb = xa + xStride;
      for (let i: usize = 0; i < 128; i += 16) v128.store(totals + i, i32x4.splat(0));
      s = scratch;
      for (let done: u32 = 0; done < steps; done += GEMM_STEPS) {
        let a0 = i16x8.splat(0), a1 = i16x8.splat(0), a2 = i16x8.splat(0), a3 = i16x8.splat(0);
        let b0 = i16x8.splat(0), b1 = i16x8.splat(0), b2 = i16x8.splat(0), b3 = i16x8.splat(0);
        for (const end = s + (<usize>min<u32>(GEMM_STEPS, steps - done) << 6); s < end; s += 64, xa += 16, xb += 16) {
          const u = v128.load(xa), v = v128.load(xb);
          const w0 = v128.load(s), w1 = v128.load(s, 16), w2 = v128.load(s, 32), w3 = v128.load(s, 48);
          a0 = i16x8.add(a0, dot7(u, w0));
          b0 = i16x8.add(b0, dot7(v, w0));
          a1 = i16x8.add(a1, dot7(u, w1));
          b1 = i16x8.add(b1, dot7(v, w1));
          a2 = i16x8.add(a2, dot7(u, w2));
          b2 = i16x8.add(b2, dot7(v, w2));
          a3 = i16x8.add(a3, dot7(u, w3));
          b3 = i16x8.add(b3, dot7(v, w3));
        }
        v128.store(totals, i32x4.add(v128.load(totals), i32x4.dot_i16x8_s(a0, ones)));
        v128.store(totals, i32x4.add(v128.load(totals, 16), i32x4.dot_i16x8_s(a1, ones)), 16);
        v128.store(totals, i32x4.add(v128.load(totals, 32), i32x4.dot_i16x8_s(a2, ones)), 32);
        v128.store(totals, i32x4.add(v128.load(totals, 48), i32x4.dot_i16x8_s(a3, ones)), 48);
        v128.store(totals, i32x4.add(v128.load(totals, 64), i32x4.dot_i16x8_s(b0, ones)), 64);
        v128.store(totals, i32x4.add(v128.load(totals, 80), i32x4.dot_i16x8_s(b1, ones)), 80);
        v128.store(totals, i32x4.add(v128.load(totals, 96), i32x4.dot_i16x8_s(b2, ones)), 96);
        v128.store(totals, i32x4.add(v128.load(totals, 112), i32x4.dot_i16x8_s(b3, ones)), 112);
      }
      const m = meta + (<usize>column << 3);
      const out = y + <usize>column * yStride;
      store4(out, total4(v128.load(totals), v128.load(totals, 16), v128.load(totals, 32), v128.load(totals, 48)), load<i32>(m), factor(scale, m));
      store4(out + yStride, total4(v128.load(totals, 64), v128.load(totals, 80), v128.load(totals, 96), v128.load(totals, 112)), load<i32>(m, 8), factor(scale, m + 8));
    }
  }
}

// Plain SIMD has no dot of bytes, only pmaddwd on 16 bits. Half of the codes are not shifted down: 4·c meets x, and c meets 4·x, so that every
// product is 4·c·x, and one shift at the end takes the 4 off.
function gemvPlain(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, meta: usize, y: usize, scratch: usize): void {
  const bytes = <usize>kPad << 1;
  for (let i: usize = 0; i < bytes; i += 32) {
    v128.store(scratch + i, i16x8.shl(v128.load(x + i), 2));
    v128.store(scratch + i, v128.load(x + i, 16), 16);
  }
  const m0 = i16x8.splat(<i16>opaque(3, kPad));
  const m1 = i16x8.splat(<i16>opaque(12, kPad));
  const r = factor(scale, meta);
  const sum = load<i32>(meta);
  for (let row: u32 = 0; row < rows; row += 4, y += 16) {
    let t0 = i32x4.splat(0), t1 = i32x4.splat(0), t2 = i32x4.splat(0), t3 = i32x4.splat(0);
    for (let p = scratch, end = scratch + bytes; p < end; w += 64) {
      let v0 = v128.load(w), v1 = v128.load(w, 16), v2 = v128.load(w, 32), v3 = v128.load(w, 48);
      for (const stop = p + 128; p < stop; p += 32) {
        const x0 = v128.load(p), x1 = v128.load(p, 16);
        t0 = i32x4.add(t0, i32x4.dot_i16x8_s(v128.and(v0, m0), x0));
        t1 = i32x4.add(t1, i32x4.dot_i16x8_s(v128.and(v1, m0), x0));
        t2 = i32x4.add(t2, i32x4.dot_i16x8_s(v128.and(v2, m0), x0));
        t3 = i32x4.add(t3, i32x4.dot_i16x8_s(v128.and(v3, m0), x0));
        t0 = i32x4.add(t0, i32x4.dot_i16x8_s(v128.and(v0, m1), x1));
        t1 = i32x4.add(t1, i32x4.dot_i16x8_s(v128.and(v1, m1), x1));
        t2 = i32x4.add(t2, i32x4.dot_i16x8_s(v128.and(v2, m1), x1));
        t3 = i32x4.add(t3, i32x4.dot_i16x8_s(v128.and(v3, m1), x1));
        v0 = i16x8.shr_u(v0, 4);
        v1 = i16x8.shr_u(v1, 4);
        v2 = i16x8.shr_u(v2, 4);
        v3 = i16x8.shr_u(v3, 4);
      }
    }
    store4(y, i32x4.shr_s(total4(t0, t1, t2, t3), 2), sum, r);
  }
}

// Two rows in one 16-bit number, wA + 2^14·wB with w ∈ {−1, 0, 1}: pmaddwd then sums both at once, the low one in the 14 low bits. A step
// of 8 columns adds at most 2·128 to it, so 31 steps stay under 2^13 in magnitude and the two come apart exactly.
const PAIR_STEPS: u32 = 31;

function gemmPlain(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  const mask = i16x8.splat(<i16>opaque(3, kPad));
  const bias = i16x8.splat(<i16>opaque(16385, kPad)); // codes to weights, both rows
  const steps = kPad >> 3;
  const totals = scratch + (<usize>kPad << 2); // [2 columns][4 rows] i32x4
  for (let row: u32 = 0; row < rows; row += 4, y += 16) {
    // Unpack the group: [step][2 pairs of rows][8] i16.
    let s = scratch;
    for (const end = w + kPad; w < end; w += 64) {
      let v0 = v128.load(w), v1 = v128.load(w, 16), v2 = v128.load(w, 32), v3 = v128.load(w, 48);
      for (let k = 0; k < 8; k++, s += 32) {
        v128.store(s, i16x8.sub(i16x8.add(v128.and(v0, mask), i16x8.shl(v128.and(v1, mask), 14)), bias));
        v128.store(s, i16x8.sub(i16x8.add(v128.and(v2, mask), i16x8.shl(v128.and(v3, mask), 14)), bias), 16);
        v0 = i16x8.shr_u(v0, 2);
        v1 = i16x8.shr_u(v1, 2);
        v2 = i16x8.shr_u(v2, 2);
        v3 = i16x8.shr_u(v3, 2);
      }
    }
    for (let column: u32 = 0; column < columns; column += 2) {
      let xa = x + <usize>column * xStride;
      let xb = xa + xStride;
      for (let i: usize = 0; i < 128; i += 16) v128.store(totals + i, i32x4.splat(0));
      s = scratch;
      for (let done: u32 = 0; done < steps; done += PAIR_STEPS) {
        let a01 = i32x4.splat(0), a23 = i32x4.splat(0), b01 = i32x4.splat(0), b23 = i32x4.splat(0);
        for (const end = s + (<usize>min<u32>(PAIR_STEPS, steps - done) << 5); s < end; s += 32, xa += 16, xb += 16) {
          const u = v128.load(xa), v = v128.load(xb), w01 = v128.load(s), w23 = v128.load(s, 16);
          a01 = i32x4.add(a01, i32x4.dot_i16x8_s(w01, u));
          a23 = i32x4.add(a23, i32x4.dot_i16x8_s(w23, u));
          b01 = i32x4.add(b01, i32x4.dot_i16x8_s(w01, v));
          b23 = i32x4.add(b23, i32x4.dot_i16x8_s(w23, v));
        }
        split(totals, a01);
        split(totals + 32, a23);
        split(totals + 64, b01);
        split(totals + 96, b23);
      }
      const m = meta + (<usize>column << 3);
      const out = y + <usize>column * yStride;
      store4(out, total4(v128.load(totals), v128.load(totals, 16), v128.load(totals, 32), v128.load(totals, 48)), 0, factor(scale, m));
      store4(out + yStride, total4(v128.load(totals, 64), v128.load(totals, 80), v128.load(totals, 96), v128.load(totals, 112)), 0, factor(scale, m + 8));
    }
  }
}

/** Adds both rows of a pair to their totals. */
// @ts-ignore: decorator
@inline
function split(totals: usize, pair: v128): void {
  const low = i32x4.shr_s(i32x4.shl(pair, 18), 18);
  v128.store(totals, i32x4.add(v128.load(totals), low));
  v128.store(totals, i32x4.add(v128.load(totals, 16), i32x4.shr_s(i32x4.sub(pair, low), 14)), 16);
}

/**
 * Packs one row into its group.
 * @param row 0…3
 * @param codes [kPad] bytes, 0…2
 */
export function packRow(group: usize, row: u32, codes: usize, kPad: u32): void {
  let out = group + (<usize>row << 4);
  for (const end = codes + kPad; codes < end; codes += 64, out += 64) {
    let v: v128;
    if (ASC_FEATURE_RELAXED_SIMD) {
      v = v128.or(
        v128.or(v128.load(codes), i8x16.shl(v128.load(codes, 16), 2)),
        v128.or(i8x16.shl(v128.load(codes, 32), 4), i8x16.shl(v128.load(codes, 48), 6)),
      );
    } else {
      v = i16x8.splat(0);
      for (let k = 0; k < 8; k++) v = v128.or(v, i16x8.shl(v128.load_ext<u8>(codes + (k << 3)), k << 1));
    }
    v128.store(out, v);
  }
}
