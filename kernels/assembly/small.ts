// The ternary product of small batches, 2…8 columns: two rows' codes stay in registers and meet two to four columns, so that the packed
// rows are streamed once for all of them and never unpacked to memory. More columns are several sweeps over a chunk, all but the first from
// the cache. Layouts and arguments are those of `ternary` and `ternaryWide`; memory behind the last column is not touched.
import { opaque } from "./lanes";
import { dot7, dotAdd, factor, store4, total4, totals } from "./sums";

/** Columns up to which a batch is small. 128-bit code has registers for three at a time, 256-bit code for four, as both have 16 (x64). */
export const MOST_COLUMNS: u32 = 8;

/** Columns of the next sweep, if each may take `most`: as even as can be, so that none is left with one. */
// @ts-ignore: decorator
@inline
function evenShare(columns: u32, most: u32): u32 {
  const sweeps = (columns + most - 1) / most;
  return (columns + sweeps - 1) / sweeps;
}

// A row's vector of codes is four steps, which add at most 4·2·128·2 = 2048 in magnitude to a 16-bit lane: −2^15 is reached with 16, never
// passed. 10 are half of the 20 that a row of 2560 columns has in the wide layout.
const FLUSH_BLOCKS: usize = 10;

/** sums + products of activations and codes: of pairs in 16-bit lanes, of fours in 32-bit ones. */
// @ts-ignore: decorator
@inline
function gain<T>(sums: v128, x: v128, codes: v128): v128 {
  if (sizeof<T>() == 4) return dotAdd(sums, x, codes);
  return i16x8.add(sums, dot7(x, codes));
}

/** sums[0…7] += a row's lanes as 32-bit numbers. Both halves are loaded before either is stored, the upper one first: see wide.ts. */
// @ts-ignore: decorator
@inline
function flush<T>(sums: usize, lo: v128, hi: v128, ones: v128): void {
  const l = v128.load(sums), h = v128.load(sums, 16);
  if (sizeof<T>() == 4) {
    v128.store(sums, i32x4.add(h, hi), 16);
    v128.store(sums, i32x4.add(l, lo));
  } else {
    v128.store(sums, i32x4.add(h, i32x4.dot_i16x8_s(hi, ones)), 16);
    v128.store(sums, i32x4.add(l, i32x4.dot_i16x8_s(lo, ones)));
  }
}

// @ts-ignore: decorator
@inline
function flush16(sums: usize, lanes: v128, ones: v128): void {
  v128.store(sums, i32x4.add(v128.load(sums), i32x4.dot_i16x8_s(lanes, ones)));
}

/** The four totals of [4 rows][4] i32. */
// @ts-ignore: decorator
@inline
function totals16(sums: usize): v128 {
  return total4(v128.load(sums), v128.load(sums, 16), v128.load(sums, 32), v128.load(sums, 48));
}

/** The product of `columns` vectors, 2…4 and a constant: what it has no use for is not compiled. `sums`: [4 columns][4 rows][8] i32 */
// @ts-ignore: decorator
@inline
function sweepWide<T>(columns: u32, w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, y: usize, yStride: usize, sums: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const x2 = xStride << 1, x3 = x2 + xStride;
  const xEnd = x + kPad;
  for (const end = w + <usize>rows * (kPad >> 2); w < end; y += 16) {
    for (let i: usize = 0; i < 512; i += 16) v128.store(sums + i, i32x4.splat(0));
    const next = w + kPad;
    for (let s = sums; s < sums + 128; s += 64, w += 64 - kPad) {
      let p = x;
      while (p < xEnd) {
        const stop = sizeof<T>() == 4 ? xEnd : min<usize>(p + FLUSH_BLOCKS * 128, xEnd);
        let a0 = i32x4.splat(0), a0h = i32x4.splat(0), a1 = i32x4.splat(0), a1h = i32x4.splat(0);
        let b0 = i32x4.splat(0), b0h = i32x4.splat(0), b1 = i32x4.splat(0), b1h = i32x4.splat(0);
        let c0 = i32x4.splat(0), c0h = i32x4.splat(0), c1 = i32x4.splat(0), c1h = i32x4.splat(0);
        let d0 = i32x4.splat(0), d0h = i32x4.splat(0), d1 = i32x4.splat(0), d1h = i32x4.splat(0);
        for (; p < stop; w += 128) {
          let w0 = v128.load(w), w0h = v128.load(w, 16), w1 = v128.load(w, 32), w1h = v128.load(w, 48);
          for (const place = p + 128; p < place; p += 32) {
            const k0 = v128.and(w0, mask), k0h = v128.and(w0h, mask), k1 = v128.and(w1, mask), k1h = v128.and(w1h, mask);
            const ax = v128.load(p), axh = v128.load(p, 16);
            a0 = gain<T>(a0, ax, k0);
            a0h = gain<T>(a0h, axh, k0h);
            a1 = gain<T>(a1, ax, k1);
            a1h = gain<T>(a1h, axh, k1h);
            const bx = v128.load(p + xStride), bxh = v128.load(p + xStride, 16);
            b0 = gain<T>(b0, bx, k0);
            b0h = gain<T>(b0h, bxh, k0h);
            b1 = gain<T>(b1, bx, k1);
            b1h = gain<T>(b1h, bxh, k1h);
            if (columns > 2) {
              const cx = v128.load(p + x2), cxh = v128.load(p + x2, 16);
              c0 = gain<T>(c0, cx, k0);
              c0h = gain<T>(c0h, cxh, k0h);
              c1 = gain<T>(c1, cx, k1);
              c1h = gain<T>(c1h, cxh, k1h);
            }
            if (columns > 3) {
              const dx = v128.load(p + x3), dxh = v128.load(p + x3, 16);
              d0 = gain<T>(d0, dx, k0);
              d0h = gain<T>(d0h, dxh, k0h);
              d1 = gain<T>(d1, dx, k1);
              d1h = gain<T>(d1h, dxh, k1h);
            }
            w0 = i16x8.shr_u(w0, 2);
            w0h = i16x8.shr_u(w0h, 2);
            w1 = i16x8.shr_u(w1, 2);
            w1h = i16x8.shr_u(w1h, 2);
          }
        }
        flush<T>(s, a0, a0h, ones);
        flush<T>(s + 32, a1, a1h, ones);
        flush<T>(s + 128, b0, b0h, ones);
        flush<T>(s + 160, b1, b1h, ones);
        if (columns > 2) {
          flush<T>(s + 256, c0, c0h, ones);
          flush<T>(s + 288, c1, c1h, ones);
        }
        if (columns > 3) {
          flush<T>(s + 384, d0, d0h, ones);
          flush<T>(s + 416, d1, d1h, ones);
        }
      }
    }
    w = next;
    for (let column: u32 = 0; column < columns; column++) {
      const m = meta + (<usize>column << 3);
      store4(y + <usize>column * yStride, totals(sums + (<usize>column << 7)), load<i32>(m), factor(scale, m));
    }
  }
}

function twoWide<T>(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, y: usize, yStride: usize, sums: usize): void {
  sweepWide<T>(2, w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
}

function threeWide<T>(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, y: usize, yStride: usize, sums: usize): void {
  sweepWide<T>(3, w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
}

function fourWide<T>(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, y: usize, yStride: usize, sums: usize): void {
  sweepWide<T>(4, w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
}

/** As `ternaryWide`, for 2…8 columns. @typeParam T lanes of the running sums, i16 or, for AVX-VNNI, i32 */
export function smallWide<T>(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, sums: usize): void {
  while (columns > 0) {
    const some = evenShare(columns, 4);
    if (some == 2) twoWide<T>(w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
    else if (some == 3) threeWide<T>(w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
    else fourWide<T>(w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
    x += <usize>some * xStride;
    meta += <usize>some << 3;
    y += <usize>some * yStride;
    columns -= some;
  }
}

/** The product of `columns` vectors, 2…3 and a constant: what it has no use for is not compiled. `sums`: [3 columns][4 rows][4] i32 */
// @ts-ignore: decorator
@inline
function sweepRelaxed(columns: u32, w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, y: usize, yStride: usize, sums: usize): void {
  const mask = i8x16.splat(<i8>opaque(3, kPad));
  const ones = i16x8.splat(<i16>opaque(1, kPad));
  const x2 = xStride << 1;
  const xEnd = x + kPad;
  for (const end = w + <usize>rows * (kPad >> 2); w < end; y += 16) {
    for (let i: usize = 0; i < 192; i += 16) v128.store(sums + i, i32x4.splat(0));
    const next = w + kPad;
    for (let s = sums; s < sums + 64; s += 32, w += 32 - kPad) {
      let p = x;
      while (p < xEnd) {
        const stop = min<usize>(p + FLUSH_BLOCKS * 64, xEnd);
        let a0 = i32x4.splat(0), a1 = i32x4.splat(0);
        let b0 = i32x4.splat(0), b1 = i32x4.splat(0);
        let c0 = i32x4.splat(0), c1 = i32x4.splat(0);
        for (; p < stop; w += 64) {
          let w0 = v128.load(w), w1 = v128.load(w, 16);
          for (const place = p + 64; p < place; p += 16) {
            const k0 = v128.and(w0, mask), k1 = v128.and(w1, mask);
            const ax = v128.load(p);
            a0 = i16x8.add(a0, dot7(ax, k0));
            a1 = i16x8.add(a1, dot7(ax, k1));
            const bx = v128.load(p + xStride);
            b0 = i16x8.add(b0, dot7(bx, k0));
            b1 = i16x8.add(b1, dot7(bx, k1));
            if (columns > 2) {
              const cx = v128.load(p + x2);
              c0 = i16x8.add(c0, dot7(cx, k0));
              c1 = i16x8.add(c1, dot7(cx, k1));
            }
            w0 = i16x8.shr_u(w0, 2);
            w1 = i16x8.shr_u(w1, 2);
          }
        }
        flush16(s, a0, ones);
        flush16(s + 16, a1, ones);
        flush16(s + 64, b0, ones);
        flush16(s + 80, b1, ones);
        if (columns > 2) {
          flush16(s + 128, c0, ones);
          flush16(s + 144, c1, ones);
        }
      }
    }
    w = next;
    for (let column: u32 = 0; column < columns; column++) {
      const m = meta + (<usize>column << 3);
      store4(y + <usize>column * yStride, totals16(sums + (<usize>column << 6)), load<i32>(m), factor(scale, m));
    }
  }
}

function twoRelaxed(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, y: usize, yStride: usize, sums: usize): void {
  sweepRelaxed(2, w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
}

function threeRelaxed(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, y: usize, yStride: usize, sums: usize): void {
  sweepRelaxed(3, w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
}

/** As `ternary`, for 2…8 columns. */
export function smallRelaxed(w: usize, rows: u32, kPad: u32, scale: f32, x: usize, xStride: usize, meta: usize, columns: u32, y: usize, yStride: usize, sums: usize): void {
  while (columns > 0) {
    const some = evenShare(columns, 3);
    if (some == 2) twoRelaxed(w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
    else threeRelaxed(w, rows, kPad, scale, x, xStride, meta, y, yStride, sums);
    x += <usize>some * xStride;
    meta += <usize>some << 3;
    y += <usize>some * yStride;
    columns -= some;
  }
}
