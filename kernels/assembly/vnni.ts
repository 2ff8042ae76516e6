// The ternary product of batches for processors with AVX-VNNI, on the wide layout: V8 makes one instruction of a dot product of bytes that
// also adds to 32-bit sums, so there is no addition of its own, and no bound after which 16-bit sums are emptied. On other processors it is
// three instructions: the same result, slower than `ternaryWide`.
import { TERNARY_VNNI, called } from "./count";
import { opaque } from "./lanes";
import { MOST_COLUMNS, smallWide } from "./small";
import { dotAdd, factor, half, store4, total4 } from "./sums";
import { ternaryWide } from "./wide";

/** Rows that are unpacked at a time: three groups. */
const ROWS: u32 = 12;
/** Rows whose sums, with two columns each, are in registers: 12 of 16. */
const HALF: u32 = 6;

/** As `ternaryWide`. @param scratch 12·kPad + 768 bytes of this thread's own */
export function ternaryVnni(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (columns == 1) {
      ternaryWide(w, rows, kPad, scale, x, xStride, meta, columns, y, yStride, scratch);
      return;
    }
    called(TERNARY_VNNI);
    if (columns <= MOST_COLUMNS) {
      smallWide<i32>(w, rows, kPad, scale, x, xStride, meta, columns, y, yStride, scratch);
      return;
    }
    for (let row: u32 = 0; row < rows; row += ROWS, w += 3 * kPad, y += 48) {
      twelveRows(w, min<u32>(rows - row, ROWS), kPad, scale, x, xStride, meta, columns, y, yStride, scratch);
    }
  }
}

/** Up to three groups of rows with all columns. Those that aren't there are the first again, and go nowhere. */
function twelveRows(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize): void {
  const sums = scratch + <usize>kPad * ROWS; // [2 columns][12 rows][8] i32
  const half = <usize>kPad * HALF;
  for (let row: u32 = 0; row < ROWS; row++) {
    const group = row < rows ? row >> 2 : 0;
    unpackRow(scratch + (row < HALF ? 0 : half) + ((row % HALF) << 5), w + <usize>group * kPad + ((row & 3) << 5), kPad);
  }
  for (let column: u32 = 0; column < columns; column += 2) {
    const xa = x + <usize>column * xStride;
    sixRows(scratch, xa, xa + xStride, kPad, sums);
    sixRows(scratch + half, xa, xa + xStride, kPad, sums + HALF * 32);
    const m = meta + (<usize>column << 3);
    const out = y + <usize>column * yStride;
    storeRows(out, sums, rows, load<i32>(m), factor(scale, m));
    storeRows(out + yStride, sums + ROWS * 32, rows, load<i32>(m, 8), factor(scale, m + 8));
  }
}

/** A row's codes, a byte each, 32 columns at every 192 bytes. */
// @ts-ignore: decorator
@inline
function unpackRow(out: usize, w: usize, kPad: u32): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  for (const end = w + kPad; w < end; w += 128, out += 768) {
    const v = v128.load(w), u = v128.load(w, 16);
    v128.store(out, v128.and(u, mask), 16);
    v128.store(out, v128.and(v, mask));
    v128.store(out, v128.and(i16x8.shr_u(u, 2), mask), 208);
    v128.store(out, v128.and(i16x8.shr_u(v, 2), mask), 192);
    v128.store(out, v128.and(i16x8.shr_u(u, 4), mask), 400);
    v128.store(out, v128.and(i16x8.shr_u(v, 4), mask), 384);
    v128.store(out, v128.and(i16x8.shr_u(u, 6), mask), 592);
    v128.store(out, v128.and(i16x8.shr_u(v, 6), mask), 576);
  }
}

/** Σ c·x of six rows and two columns, to [2 columns, 384 bytes apart][6 rows][8] i32. A sum is at most 2·128·kPad in magnitude. */
function sixRows(s: usize, xa: usize, xb: usize, kPad: u32, sums: usize): void {
  let a0 = i32x4.splat(0), a1 = i32x4.splat(0), a2 = i32x4.splat(0), a3 = i32x4.splat(0), a4 = i32x4.splat(0), a5 = i32x4.splat(0);
  let b0 = i32x4.splat(0), b1 = i32x4.splat(0), b2 = i32x4.splat(0), b3 = i32x4.splat(0), b4 = i32x4.splat(0), b5 = i32x4.splat(0);
  let c0 = i32x4.splat(0), c1 = i32x4.splat(0), c2 = i32x4.splat(0), c3 = i32x4.splat(0), c4 = i32x4.splat(0), c5 = i32x4.splat(0);
  let d0 = i32x4.splat(0), d1 = i32x4.splat(0), d2 = i32x4.splat(0), d3 = i32x4.splat(0), d4 = i32x4.splat(0), d5 = i32x4.splat(0);
  for (const end = s + <usize>kPad * HALF; s < end; s += HALF * 32, xa += 32, xb += 32) {
    const u = v128.load(xa), uh = v128.load(xa, 16), v = v128.load(xb), vh = v128.load(xb, 16);
    const w0 = v128.load(s), w0h = v128.load(s, 16), w1 = v128.load(s, 32), w1h = v128.load(s, 48);
    const w2 = v128.load(s, 64), w2h = v128.load(s, 80), w3 = v128.load(s, 96), w3h = v128.load(s, 112);
    const w4 = v128.load(s, 128), w4h = v128.load(s, 144), w5 = v128.load(s, 160), w5h = v128.load(s, 176);
    a0 = dotAdd(a0, u, w0);
    b0 = dotAdd(b0, uh, w0h);
    c0 = dotAdd(c0, v, w0);
    d0 = dotAdd(d0, vh, w0h);
    a1 = dotAdd(a1, u, w1);
    b1 = dotAdd(b1, uh, w1h);
    c1 = dotAdd(c1, v, w1);
    d1 = dotAdd(d1, vh, w1h);
    a2 = dotAdd(a2, u, w2);
    b2 = dotAdd(b2, uh, w2h);
    c2 = dotAdd(c2, v, w2);
    d2 = dotAdd(d2, vh, w2h);
    a3 = dotAdd(a3, u, w3);
    b3 = dotAdd(b3, uh, w3h);
    c3 = dotAdd(c3, v, w3);
    d3 = dotAdd(d3, vh, w3h);
    a4 = dotAdd(a4, u, w4);
    b4 = dotAdd(b4, uh, w4h);
    c4 = dotAdd(c4, v, w4);
    d4 = dotAdd(d4, vh, w4h);
    a5 = dotAdd(a5, u, w5);
    b5 = dotAdd(b5, uh, w5h);
    c5 = dotAdd(c5, v, w5);
    d5 = dotAdd(d5, vh, w5h);
  }
  v128.store(sums, b0, 16);
  v128.store(sums, a0);
  v128.store(sums, b1, 48);
  v128.store(sums, a1, 32);
  v128.store(sums, b2, 80);
  v128.store(sums, a2, 64);
  v128.store(sums, b3, 112);
  v128.store(sums, a3, 96);
  v128.store(sums, b4, 144);
  v128.store(sums, a4, 128);
  v128.store(sums, b5, 176);
  v128.store(sums, a5, 160);
  v128.store(sums, d0, 400);
  v128.store(sums, c0, 384);
  v128.store(sums, d1, 432);
  v128.store(sums, c1, 416);
  v128.store(sums, d2, 464);
  v128.store(sums, c2, 448);
  v128.store(sums, d3, 496);
  v128.store(sums, c3, 480);
  v128.store(sums, d4, 528);
  v128.store(sums, c4, 512);
  v128.store(sums, d5, 560);
  v128.store(sums, c5, 544);
}

// @ts-ignore: decorator
@inline
function storeRows(y: usize, sums: usize, rows: u32, less: i32, r: v128): void {
  for (const end = y + (<usize>rows << 2); y < end; y += 16, sums += 128) {
    store4(y, total4(half(sums), half(sums + 32), half(sums + 64), half(sums + 96)), less, r);
  }
}
