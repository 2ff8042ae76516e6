// The ternary product for engines that turn pairs of 128-bit operations into one of 256 bits (V8's revectorizer). It finds such a pair
// from two adjacent stores backwards, so sums live in memory between chunks, and both halves are loaded before either is stored. The upper half is
// stored first: after the other order V8 keeps the lower store beside the one of 256 bits.
// Rows lie in groups of 4, group g at g·kPad bytes, kPad a multiple of 128:
//
//   wide (W32): byte 128b + 32i + j of a group = row i, columns 128b + 32k + j in bits 2k (k 0…3, j 0…31)
import { TERNARY_WIDE, called } from "./count";
import { opaque } from "./lanes";
import { MOST_COLUMNS, smallWide } from "./small";
import { dot7, factor, store4, totals } from "./sums";
import { block4 } from "./ternary";

// As in the 128-bit kernel: a 16-bit lane gains at most 2048 in magnitude per block, and 16 blocks are the bound.
const GEMV_BLOCKS: usize = 10;

/** sums[0…31] += the 32-bit sums of both halves; [8] i32 */
// @ts-ignore: decorator
@inline
function flush(sums: usize, lo: v128, hi: v128, ones: v128): void {
  const l = v128.load(sums), h = v128.load(sums, 16);
  v128.store(sums, i32x4.add(h, i32x4.dot_i16x8_s(hi, ones)), 16);
  v128.store(sums, i32x4.add(l, i32x4.dot_i16x8_s(lo, ones)));
}

// @ts-ignore: decorator
@inline
function clear(sums: usize): void {
  for (let i: usize = 0; i < 128; i += 16) v128.store(sums + i, i32x4.splat(0));
}

// Columns that meet all rows before the next ones do: each group of rows reads them again, so the caches of a core should hold them. Even.
const GEMM_COLUMNS: u32 = 64;

/** As `ternary`, on the wide layout. */
export function ternaryWide(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  called(TERNARY_WIDE);
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (columns == 1) gemvWide(w, rows, kPad, scale, x, meta, y, scratch);
    else if (columns <= MOST_COLUMNS) smallWide<i16>(w, rows, kPad, scale, x, xStride, meta, columns, y, yStride, scratch);
    else {
      for (let column: u32 = 0; column < columns; column += GEMM_COLUMNS) {
        const at = <usize>column;
        gemmWide(w, rows, kPad, scale, x + at * xStride, xStride, meta + (at << 3), min<u32>(GEMM_COLUMNS, columns - column), y + at * yStride, yStride, scratch);
      }
    }
  }
}

/**
 * Two groups of rows at a time, half of the rows apart: where both come to a new page of memory, they wait for it together. With the 128
 * rows of a chunk the two are whole pages apart in the published shapes.
 */
function gemvWide(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, meta: usize, y: usize, scratch: usize): void {
  const half = rows >> 3; // groups
  gemvTwo(w, w + <usize>half * <usize>kPad, half, kPad, scale, x, meta, y, y + (<usize>half << 4), scratch);
  const last = rows & 4; // an odd group: twice the same
  if (last) {
    w += <usize>(rows - 4) * (kPad >> 2);
    y += <usize>(rows - 4) << 2;
    gemvTwo(w, w, 1, kPad, scale, x, meta, y, y, scratch);
  }
}

/** y and z: products of `groups` groups at w and v each. */
function gemvTwo(w: usize, v: usize, groups: u32, kPad: u32, scale: f32, x: usize, meta: usize, y: usize, z: usize, scratch: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const r = factor(scale, meta);
  const sum = load<i32>(meta);
  const xEnd = x + kPad;
  for (const end = y + (<usize>groups << 4); y < end; y += 16, z += 16) {
    clear(scratch);
    clear(scratch + 128);
    let p = x;
    while (p < xEnd) {
      const stop = min<usize>(p + GEMV_BLOCKS * 128, xEnd);
      let a0 = i16x8.splat(0), a1 = i16x8.splat(0), a2 = i16x8.splat(0), a3 = i16x8.splat(0);
      let a4 = i16x8.splat(0), a5 = i16x8.splat(0), a6 = i16x8.splat(0), a7 = i16x8.splat(0);
      let b0 = i16x8.splat(0), b1 = i16x8.splat(0), b2 = i16x8.splat(0), b3 = i16x8.splat(0);
      let b4 = i16x8.splat(0), b5 = i16x8.splat(0), b6 = i16x8.splat(0), b7 = i16x8.splat(0);
      for (; p < stop; p += 128, w += 128, v += 128) {
        const x0 = v128.load(p), z0 = v128.load(p, 16), x1 = v128.load(p, 32), z1 = v128.load(p, 48);
        const x2 = v128.load(p, 64), z2 = v128.load(p, 80), x3 = v128.load(p, 96), z3 = v128.load(p, 112);
        a0 = block4(a0, v128.load(w, 0), x0, x1, x2, x3, mask);
        b0 = block4(b0, v128.load(w, 16), z0, z1, z2, z3, mask);
        a1 = block4(a1, v128.load(w, 32), x0, x1, x2, x3, mask);
        b1 = block4(b1, v128.load(w, 48), z0, z1, z2, z3, mask);
        a2 = block4(a2, v128.load(w, 64), x0, x1, x2, x3, mask);
        b2 = block4(b2, v128.load(w, 80), z0, z1, z2, z3, mask);
        a3 = block4(a3, v128.load(w, 96), x0, x1, x2, x3, mask);
        b3 = block4(b3, v128.load(w, 112), z0, z1, z2, z3, mask);
        a4 = block4(a4, v128.load(v, 0), x0, x1, x2, x3, mask);
        b4 = block4(b4, v128.load(v, 16), z0, z1, z2, z3, mask);
        a5 = block4(a5, v128.load(v, 32), x0, x1, x2, x3, mask);
        b5 = block4(b5, v128.load(v, 48), z0, z1, z2, z3, mask);
        a6 = block4(a6, v128.load(v, 64), x0, x1, x2, x3, mask);
        b6 = block4(b6, v128.load(v, 80), z0, z1, z2, z3, mask);
        a7 = block4(a7, v128.load(v, 96), x0, x1, x2, x3, mask);
        b7 = block4(b7, v128.load(v, 112), z0, z1, z2, z3, mask);
      }
      flush(scratch, a0, b0, ones);
      flush(scratch + 32, a1, b1, ones);
      flush(scratch + 64, a2, b2, ones);
      flush(scratch + 96, a3, b3, ones);
      flush(scratch + 128, a4, b4, ones);
      flush(scratch + 160, a5, b5, ones);
      flush(scratch + 192, a6, b6, ones);
      flush(scratch + 224, a7, b7, ones);
    }
    store4(y, totals(scratch), sum, r);
    store4(z, totals(scratch + 128), sum, r);
  }
}

// A step is 32 columns and adds at most 512 in magnitude to a 16-bit lane: 64 steps. Activations of real models stay far below that, so that all
// steps fit at once.
const GEMM_STEPS: u32 = 64;

/** Steps whose sums 16 bits hold with two columns of activations, whatever the codes are: all, or GEMM_STEPS. */
// @ts-ignore: decorator
@inline
function stepsTogether(a: usize, b: usize, steps: u32): u32 {
  // What each lane's activations add up to without their signs, twice because codes go to 2. Saturated sums are not safe either.
  let a0 = i16x8.splat(0), a1 = i16x8.splat(0), b0 = i16x8.splat(0), b1 = i16x8.splat(0);
  for (const end = a + (<usize>steps << 5); a < end; a += 32, b += 32) {
    a0 = i16x8.add_sat_u(a0, neighbours(a));
    a1 = i16x8.add_sat_u(a1, neighbours(a + 16));
    b0 = i16x8.add_sat_u(b0, neighbours(b));
    b1 = i16x8.add_sat_u(b1, neighbours(b + 16));
  }
  const most = i16x8.max_u(i16x8.max_u(a0, a1), i16x8.max_u(b0, b1));
  return v128.any_true(i16x8.gt_u(most, i16x8.splat(16383))) ? min<u32>(GEMM_STEPS, steps) : steps;
}

/** Sums of two neighbours' magnitudes, [8] u16; that of −128 is right as unsigned. */
// @ts-ignore: decorator
@inline
function neighbours(x: usize): v128 {
  return i16x8.extadd_pairwise_i8x16_u(i8x16.abs(v128.load(x)));
}

/** [2 columns][4 rows][8] i32 sums of steps that 16 bits hold. V8 makes 256-bit code of stores whose places are constants. */
function tile(s: usize, steps: u32, xa: usize, xb: usize, sums: usize): void {
  const ones = i16x8.splat(<i16>opaque(1, steps));
  let a0 = i16x8.splat(0), a1 = i16x8.splat(0), a2 = i16x8.splat(0), a3 = i16x8.splat(0);
  let b0 = i16x8.splat(0), b1 = i16x8.splat(0), b2 = i16x8.splat(0), b3 = i16x8.splat(0);
  let c0 = i16x8.splat(0), c1 = i16x8.splat(0), c2 = i16x8.splat(0), c3 = i16x8.splat(0);
  let d0 = i16x8.splat(0), d1 = i16x8.splat(0), d2 = i16x8.splat(0), d3 = i16x8.splat(0);
  for (const end = s + (<usize>steps << 7); s < end; s += 128, xa += 32, xb += 32) {
    const u = v128.load(xa), uh = v128.load(xa, 16), v = v128.load(xb), vh = v128.load(xb, 16);
    const w0 = v128.load(s), w0h = v128.load(s, 16), w1 = v128.load(s, 32), w1h = v128.load(s, 48);
    const w2 = v128.load(s, 64), w2h = v128.load(s, 80), w3 = v128.load(s, 96), w3h = v128.load(s, 112);
    a0 = i16x8.add(a0, dot7(u, w0));
    b0 = i16x8.add(b0, dot7(uh, w0h));
    c0 = i16x8.add(c0, dot7(v, w0));
    d0 = i16x8.add(d0, dot7(vh, w0h));
    a1 = i16x8.add(a1, dot7(u, w1));
    b1 = i16x8.add(b1, dot7(uh, w1h));
    c1 = i16x8.add(c1, dot7(v, w1));
    d1 = i16x8.add(d1, dot7(vh, w1h));
    a2 = i16x8.add(a2, dot7(u, w2));
    b2 = i16x8.add(b2, dot7(uh, w2h));
    c2 = i16x8.add(c2, dot7(v, w2));
    d2 = i16x8.add(d2, dot7(vh, w2h));
    a3 = i16x8.add(a3, dot7(u, w3));
    b3 = i16x8.add(b3, dot7(uh, w3h));
    c3 = i16x8.add(c3, dot7(v, w3));
    d3 = i16x8.add(d3, dot7(vh, w3h));
  }
  v128.store(sums, i32x4.dot_i16x8_s(b0, ones), 16);
  v128.store(sums, i32x4.dot_i16x8_s(a0, ones));
  v128.store(sums, i32x4.dot_i16x8_s(b1, ones), 48);
  v128.store(sums, i32x4.dot_i16x8_s(a1, ones), 32);
  v128.store(sums, i32x4.dot_i16x8_s(b2, ones), 80);
  v128.store(sums, i32x4.dot_i16x8_s(a2, ones), 64);
  v128.store(sums, i32x4.dot_i16x8_s(b3, ones), 112);
  v128.store(sums, i32x4.dot_i16x8_s(a3, ones), 96);
  v128.store(sums, i32x4.dot_i16x8_s(d0, ones), 144);
  v128.store(sums, i32x4.dot_i16x8_s(c0, ones), 128);
  v128.store(sums, i32x4.dot_i16x8_s(d1, ones), 176);
  v128.store(sums, i32x4.dot_i16x8_s(c1, ones), 160);
  v128.store(sums, i32x4.dot_i16x8_s(d2, ones), 208);
  v128.store(sums, i32x4.dot_i16x8_s(c2, ones), 192);
  v128.store(sums, i32x4.dot_i16x8_s(d3, ones), 240);
  v128.store(sums, i32x4.dot_i16x8_s(c3, ones), 224);
}

function gemmWide(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const steps = kPad >> 5;
  const sums = scratch + (<usize>kPad << 2); // [2 columns][4 rows][8] i32
  const more = sums + 256; // the same, of further steps
  const pairs = more + 256; // [pairs of columns] u32: steps together
  for (let column: u32 = 0; column < columns; column += 2) {
    const at = x + <usize>column * xStride;
    store<u32>(pairs + (<usize>column << 1), stepsTogether(at, at + xStride, steps));
  }
  for (let row: u32 = 0; row < rows; row += 4, y += 16) {
    // Unpack the group: [step][4 rows][32] bytes.
    let s = scratch;
    for (const end = w + kPad; w < end; w += 128, s += 512) {
      for (let i: usize = 0; i < 128; i += 32) {
        const v = v128.load(w + i), u = v128.load(w + i, 16);
        v128.store(s + i, v128.and(u, mask), 16);
        v128.store(s + i, v128.and(v, mask));
        v128.store(s + i, v128.and(i16x8.shr_u(u, 2), mask), 144);
        v128.store(s + i, v128.and(i16x8.shr_u(v, 2), mask), 128);
        v128.store(s + i, v128.and(i16x8.shr_u(u, 4), mask), 272);
        v128.store(s + i, v128.and(i16x8.shr_u(v, 4), mask), 256);
        v128.store(s + i, v128.and(i16x8.shr_u(u, 6), mask), 400);
        v128.store(s + i, v128.and(i16x8.shr_u(v, 6), mask), 384);
      }
    }
    for (let column: u32 = 0; column < columns; column += 2) {
      const xa = x + <usize>column * xStride, xb = xa + xStride;
      const together = load<u32>(pairs + (<usize>column << 1));
      tile(scratch, together, xa, xb, sums);
      for (let done = together; done < steps; done += together) {
        const at = <usize>done << 5;
        tile(scratch + (at << 2), min<u32>(together, steps - done), xa + at, xb + at, more);
        for (let i: usize = 0; i < 256; i += 16) v128.store(sums + i, i32x4.add(v128.load(sums + i), v128.load(more + i)));
      }
      const m = meta + (<usize>column << 3);
      const out = y + <usize>column * yStride;
      store4(out, totals(sums), load<i32>(m), factor(scale, m));
      store4(out + yStride, totals(sums + 128), load<i32>(m, 8), factor(scale, m + 8));
    }
  }
}

/** As `packRow`, to the wide layout. */
export function packRowWide(group: usize, row: u32, codes: usize, kPad: u32): void {
  let out = group + (<usize>row << 5);
  for (const end = codes + kPad; codes < end; codes += 128, out += 128) {
    for (let i: usize = 0; i < 32; i += 16) {
      v128.store(
        out + i,
        v128.or(
          v128.or(v128.load(codes + i), i8x16.shl(v128.load(codes + i, 32), 2)),
          v128.or(i8x16.shl(v128.load(codes + i, 64), 4), i8x16.shl(v128.load(codes + i, 96), 6)),
        ),
      );
    }
  }
}
