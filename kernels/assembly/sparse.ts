// The ternary product of activations that are mostly 0, as relu² leaves them: columns that meet a 0 add nothing to an integer sum, so they are
// neither read nor multiplied, and no bit changes. Each row of activations says once which columns it needs (`listColumns`). The weights lie in
// tiles of rows, a tile's columns one after the other, which `turnTile` makes of packed rows when they are loaded:
//
//   128 bits (64 rows):  byte 16c + 8h + l     = column c, rows 32h + 8k + l in bits 2k (k 0…3, l 0…7, h 0…1)
//   wide (128 rows):     byte 32c + 16z + 2l + h = column c, rows 64h + 16k + 8z + l in bits 2k (z 0…1)
//
// Two listed columns are interleaved, so that one dot of bytes multiplies both. In the wide form that takes masks and shifts alone, which V8
// makes 256-bit code of. All activations meet a section of a tile's columns before the next one is read.
//
// A list, of columns in ascending order, 2 at a time:
//
//   u32 numbers that aren't 0
//   for each section: runs { u32 pairs (not 0); pairs × { u16 offset of a column in the section, u16 the other's; i8, i8 their activations } }, u32 0
import { LISTED_OUTPUTS, LISTED_PRODUCTS, TERNARY, TERNARY_VNNI, TERNARY_WIDE, called, counted } from "./count";
import { opaque } from "./lanes";
import { dot7, factor, store4 } from "./sums";

/** Columns of a section; the offsets of their bytes fit 16 bits. */
const SECTION: usize = 1024;
const PAIR: usize = 6;
/** A pair adds at most 2(|a| + |b|) in magnitude to a 16-bit lane: a run ends before Σ |x| passes this, and so a lane 2^15 − 1. */
const MOST: u32 = 16383;
/** Rows of a tile. */
const ROWS: u32 = 64;
const ROWS_WIDE: u32 = 128;

/**
 * Lists the columns that aren't 0.
 * @param out 4·kPad + 64 bytes
 * @param x [kPad] int8
 * @param bytes of a column in a tile: 16, or 32 for the wide form
 */
export function listColumns(out: usize, x: usize, kPad: u32, bytes: u32): void {
  const start = out;
  let count: u32 = 0;
  out += 4;
  const end = x + kPad;
  while (x < end) {
    const from = x;
    const stop = min<usize>(x + SECTION, end);
    let run = out; // where its number of pairs goes
    let sum: u32 = 0;
    let second: usize = 0; // 1: the first of a pair is there
    out += 4;
    for (; x < stop; x += 16) {
      const values = v128.load(x);
      let found = ~i8x16.bitmask(i8x16.eq(values, i8x16.splat(0))) & 0xffff;
      count += popcnt(found);
      const most = sumAbs(values);
      if (sum + most > MOST) {
        out = endRun(run, out, second);
        run = out;
        out += 4;
        sum = 0;
        second = 0;
      }
      sum += most;
      for (; found; found &= found - 1) {
        const at = x + ctz(found);
        store<u16>(out + (second << 1), <u16>((at - from) * bytes));
        store<u8>(out + second, load<u8>(at), 4);
        out += PAIR * second;
        second ^= 1;
      }
    }
    out = endRun(run, out, second);
    if (out > run + 4) {
      store<u32>(out, 0);
      out += 4;
    }
  }
  store<u32>(start, count);
}

/** Notes a run's number of pairs. A first one without a second gets the same column times 0. Returns the end. */
// @ts-ignore: decorator
@inline
function endRun(run: usize, out: usize, second: usize): usize {
  if (second) {
    store<u16>(out, load<u16>(out), 2);
    store<u8>(out, 0, 5);
    out += PAIR;
  }
  store<u32>(run, <u32>((out - run - 4) / PAIR));
  return out;
}

/** Σ |x| of 16 int8, at most 2048. */
// @ts-ignore: decorator
@inline
function sumAbs(x: v128): u32 {
  const sums = i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(i8x16.abs(x))); // |−128| is right as unsigned
  const halves = i32x4.add(sums, v128.shuffle<i32>(sums, sums, 2, 3, 0, 1));
  return i32x4.extract_lane(halves, 0) + i32x4.extract_lane(halves, 1);
}

/**
 * y = (Σ c·x − Σ x) · r, as `ternary`, from tiles and lists. It counts as that product, so that receipts can compare how often a text calls it.
 * @param w tiles
 * @param rows all of them, or up to the last tile's end
 * @param kPad columns of a tile
 * @param meta 8 bytes a column of activations, from `quantize`
 * @param y f32, `yStride` bytes a column of activations
 * @param scratch 512 bytes and 4 a column of this thread's own
 * @param lists from `listColumns`, `listStride` bytes a column of activations
 */
export function ternarySparse(w: usize, rows: u32, kPad: u32, scale: f32, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize, lists: usize, listStride: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    called(TERNARY);
    tiles(w, rows, kPad, scale, meta, columns, y, yStride, scratch, lists, listStride, false);
  }
}

/** As `ternarySparse`, on the wide form. */
export function ternarySparseWide(w: usize, rows: u32, kPad: u32, scale: f32, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize, lists: usize, listStride: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    called(TERNARY_WIDE);
    tiles(w, rows, kPad, scale, meta, columns, y, yStride, scratch, lists, listStride, true);
  }
}

/** As `ternarySparseWide`, beside `ternaryVnni`, which leaves single columns to `ternaryWide`. */
export function ternarySparseVnni(w: usize, rows: u32, kPad: u32, scale: f32, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize, lists: usize, listStride: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    called(columns == 1 ? TERNARY_WIDE : TERNARY_VNNI);
    tiles(w, rows, kPad, scale, meta, columns, y, yStride, scratch, lists, listStride, true);
  }
}

// @ts-ignore: decorator
@inline
function tiles(w: usize, rows: u32, kPad: u32, scale: f32, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize, lists: usize, listStride: usize, wide: bool): void {
  let count: u64 = 0;
  for (let column: usize = 0; column < columns; column++) count += load<u32>(lists + column * listStride);
  counted(LISTED_OUTPUTS, <u64>columns * rows);
  counted(LISTED_PRODUCTS, count * rows);
  const most = wide ? ROWS_WIDE : ROWS;
  for (let row: u32 = 0; row < rows; row += most) {
    tile(w + <usize>row * (kPad >> 2), min<u32>(most, rows - row), kPad, scale, meta, columns, y + (<usize>row << 2), yStride, scratch, lists, listStride, wide);
  }
}

/**
 * Reads a part of a tile, and what lies half a tile further on, into the caches. Lists leave gaps in a tile's lines, of two columns each, and
 * waiting for one after the other takes longer than reading all; two places at a time: see wide.ts. In the 128-bit form a line has four columns,
 * so gaps are few.
 * @param to where something is left of it, so that no compiler leaves it out
 */
function touch(to: usize, from: usize, end: usize, half: usize): void {
  let a: i32 = 0, b: i32 = 0;
  for (; from < end; from += 128) {
    a |= load<i32>(from) | load<i32>(from + half);
    b |= load<i32>(from, 64) | load<i32>(from + half, 64);
  }
  store<i32>(to, a | b);
}

/** One tile with all columns of activations. Sums are kept where the results go. @param rows of it that count */
// @ts-ignore: decorator
@inline
function tile(w: usize, rows: u32, kPad: u32, scale: f32, meta: usize, columns: u32, y: usize, yStride: usize, scratch: usize, lists: usize, listStride: usize, wide: bool): void {
  const cursors = scratch + 512; // where each list goes on; before that, sums of 16 bits by row
  const bytes = <usize>rows << 2;
  for (let column: usize = 0; column < columns; column++) {
    store<u32>(cursors + (column << 2), <u32>(lists + column * listStride + 4));
    for (let i: usize = 0; i < bytes; i += 16) v128.store(y + column * yStride + i, i32x4.splat(0));
  }
  const shift: usize = wide ? 5 : 4;
  const half = (<usize>kPad << shift) >> 1;
  const middle = w + half;
  for (const end = w + (<usize>kPad << shift); w < end; w += SECTION << shift) {
    if (wide && w < middle) touch(scratch, w, min<usize>(w + (SECTION << shift), middle), half);
    for (let column: usize = 0; column < columns; column++) {
      const cursor = cursors + (column << 2);
      const sums = y + column * yStride;
      const list = wide ? addWide(w, load<u32>(cursor), sums, bytes, scratch) : add(w, load<u32>(cursor), sums, bytes, scratch);
      store<u32>(cursor, <u32>list);
    }
  }
  for (let column: usize = 0; column < columns; column++, meta += 8, y += yStride) {
    const r = factor(scale, meta);
    const less = load<i32>(meta);
    for (let i: usize = 0; i < bytes; i += 16) store4(y + i, v128.load(y + i), less, r);
  }
}

/** A section's part of a list: adds to the sums of a tile's rows. Returns where the next section's begins. */
function add(section: usize, list: usize, sums: usize, bytes: usize, lanes: usize): usize {
  const mask = i8x16.splat(<i8>opaque(3, <u32>bytes));
  for (let pairs = <usize>load<u32>(list); pairs; pairs = <usize>load<u32>(list)) {
    list += 4;
    let a0 = i16x8.splat(0), a1 = i16x8.splat(0), a2 = i16x8.splat(0), a3 = i16x8.splat(0);
    let a4 = i16x8.splat(0), a5 = i16x8.splat(0), a6 = i16x8.splat(0), a7 = i16x8.splat(0);
    for (const end = list + pairs * PAIR; list < end; list += PAIR) {
      const u = v128.load(section + load<u16>(list)), v = v128.load(section + load<u16>(list, 2));
      const x = v128.load16_splat(list, 4);
      const l = v128.shuffle<i8>(u, v, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const h = v128.shuffle<i8>(u, v, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      a0 = i16x8.add(a0, dot7(x, v128.and(l, mask)));
      a1 = i16x8.add(a1, dot7(x, v128.and(i16x8.shr_u(l, 2), mask)));
      a2 = i16x8.add(a2, dot7(x, v128.and(i16x8.shr_u(l, 4), mask)));
      a3 = i16x8.add(a3, dot7(x, v128.and(i16x8.shr_u(l, 6), mask)));
      a4 = i16x8.add(a4, dot7(x, v128.and(h, mask)));
      a5 = i16x8.add(a5, dot7(x, v128.and(i16x8.shr_u(h, 2), mask)));
      a6 = i16x8.add(a6, dot7(x, v128.and(i16x8.shr_u(h, 4), mask)));
      a7 = i16x8.add(a7, dot7(x, v128.and(i16x8.shr_u(h, 6), mask)));
    }
    v128.store(lanes, a0);
    v128.store(lanes, a1, 16);
    v128.store(lanes, a2, 32);
    v128.store(lanes, a3, 48);
    v128.store(lanes, a4, 64);
    v128.store(lanes, a5, 80);
    v128.store(lanes, a6, 96);
    v128.store(lanes, a7, 112);
    widen(sums, bytes, lanes);
  }
  return list + 4;
}

/** As `add`, of a wide tile: each vector of 256 bits is two here, a and b. */
function addWide(section: usize, list: usize, sums: usize, bytes: usize, lanes: usize): usize {
  const mask = i8x16.splat(<i8>opaque(3, <u32>bytes));
  const low = i16x8.splat(<i16>opaque(255, <u32>bytes));
  for (let pairs = <usize>load<u32>(list); pairs; pairs = <usize>load<u32>(list)) {
    list += 4;
    let a0 = i16x8.splat(0), a1 = i16x8.splat(0), a2 = i16x8.splat(0), a3 = i16x8.splat(0);
    let a4 = i16x8.splat(0), a5 = i16x8.splat(0), a6 = i16x8.splat(0), a7 = i16x8.splat(0);
    let b0 = i16x8.splat(0), b1 = i16x8.splat(0), b2 = i16x8.splat(0), b3 = i16x8.splat(0);
    let b4 = i16x8.splat(0), b5 = i16x8.splat(0), b6 = i16x8.splat(0), b7 = i16x8.splat(0);
    for (const end = list + pairs * PAIR; list < end; list += PAIR) {
      const p = section + load<u16>(list), q = section + load<u16>(list, 2);
      const u = v128.load(p), uh = v128.load(p, 16), v = v128.load(q), vh = v128.load(q, 16);
      const x = v128.load16_splat(list, 4);
      const l = v128.or(v128.and(u, low), i16x8.shl(v, 8)), lh = v128.or(v128.and(uh, low), i16x8.shl(vh, 8));
      const h = v128.or(i16x8.shr_u(u, 8), v128.andnot(v, low)), hh = v128.or(i16x8.shr_u(uh, 8), v128.andnot(vh, low));
      a0 = i16x8.add(a0, dot7(x, v128.and(l, mask)));
      b0 = i16x8.add(b0, dot7(x, v128.and(lh, mask)));
      a1 = i16x8.add(a1, dot7(x, v128.and(i16x8.shr_u(l, 2), mask)));
      b1 = i16x8.add(b1, dot7(x, v128.and(i16x8.shr_u(lh, 2), mask)));
      a2 = i16x8.add(a2, dot7(x, v128.and(i16x8.shr_u(l, 4), mask)));
      b2 = i16x8.add(b2, dot7(x, v128.and(i16x8.shr_u(lh, 4), mask)));
      a3 = i16x8.add(a3, dot7(x, v128.and(i16x8.shr_u(l, 6), mask)));
      b3 = i16x8.add(b3, dot7(x, v128.and(i16x8.shr_u(lh, 6), mask)));
      a4 = i16x8.add(a4, dot7(x, v128.and(h, mask)));
      b4 = i16x8.add(b4, dot7(x, v128.and(hh, mask)));
      a5 = i16x8.add(a5, dot7(x, v128.and(i16x8.shr_u(h, 2), mask)));
      b5 = i16x8.add(b5, dot7(x, v128.and(i16x8.shr_u(hh, 2), mask)));
      a6 = i16x8.add(a6, dot7(x, v128.and(i16x8.shr_u(h, 4), mask)));
      b6 = i16x8.add(b6, dot7(x, v128.and(i16x8.shr_u(hh, 4), mask)));
      a7 = i16x8.add(a7, dot7(x, v128.and(i16x8.shr_u(h, 6), mask)));
      b7 = i16x8.add(b7, dot7(x, v128.and(i16x8.shr_u(hh, 6), mask)));
    }
    v128.store(lanes, b0, 16);
    v128.store(lanes, a0);
    v128.store(lanes, b1, 48);
    v128.store(lanes, a1, 32);
    v128.store(lanes, b2, 80);
    v128.store(lanes, a2, 64);
    v128.store(lanes, b3, 112);
    v128.store(lanes, a3, 96);
    v128.store(lanes, b4, 144);
    v128.store(lanes, a4, 128);
    v128.store(lanes, b5, 176);
    v128.store(lanes, a5, 160);
    v128.store(lanes, b6, 208);
    v128.store(lanes, a6, 192);
    v128.store(lanes, b7, 240);
    v128.store(lanes, a7, 224);
    widen(sums, bytes, lanes);
  }
  return list + 4;
}

/** sums += lanes; those of the tile's rows */
// @ts-ignore: decorator
@inline
function widen(sums: usize, bytes: usize, lanes: usize): void {
  for (let i: usize = 0; i < bytes; i += 16) v128.store(sums + i, i32x4.add(v128.load(sums + i), v128.load_ext<i16>(lanes + (i >> 1))));
}

/**
 * Packed rows, as many as a tile has, to its columns.
 * @param w may be where the rows are
 * @param scratch 16·kPad + 512 bytes, twice as many for the wide form
 */
export function turnTile(w: usize, from: usize, kPad: u32, scratch: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const rows = scratch + 512;
    memory.copy(rows, from, <usize>kPad << 4);
    for (let part: u32 = 0; part < 2; part++) {
      for (let at: usize = 0; at < kPad; at += 64) {
        for (let half: u32 = 0; half < 2; half++) turnGroups(scratch + (<usize>half << 6), 16, rows + at, kPad, 8 * part + half, 2, 16);
        for (let f: usize = 0; f < 4; f++) turnBytes(w + ((at + (f << 4)) << 4) + (part << 3), 16, scratch + (f << 7));
      }
    }
  }
}

/** As `turnTile`, of the wide layout. */
export function turnTileWide(w: usize, from: usize, kPad: u32, scratch: usize): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const rows = scratch + 512;
    memory.copy(rows, from, <usize>kPad << 5);
    for (let part: u32 = 0; part < 4; part++) {
      for (let at: usize = 0; at < kPad; at += 128) {
        for (let half: usize = 0; half < 32; half += 16) {
          for (let h: u32 = 0; h < 2; h++) turnGroups(scratch + (<usize>h << 4), 32, rows + at + half, kPad, 16 * h + part, 4, 32);
          for (let f: usize = 0; f < 4; f++) turnBytes(w + ((at + half + (f << 5)) << 5) + (part << 3), 32, scratch + (f << 7));
        }
      }
    }
  }
}

/** Four groups of rows, from `first` on, `step` apart: 16 bytes of each of their rows through `turnCodes`. */
// @ts-ignore: decorator
@inline
function turnGroups(out: usize, outStep: usize, w: usize, kPad: u32, first: u32, step: u32, rowBytes: usize): void {
  const even = i8x16.splat(<i8>opaque(0x33, kPad)), low = i8x16.splat(<i8>opaque(0x0f, kPad));
  const g0 = w + <usize>first * kPad, g1 = g0 + <usize>step * kPad, g2 = g1 + <usize>step * kPad, g3 = g2 + <usize>step * kPad;
  for (let row: usize = 0; row < 4 * rowBytes; row += rowBytes, out += outStep) {
    turnCodes(out, v128.load(g0 + row), v128.load(g1 + row), v128.load(g2 + row), v128.load(g3 + row), even, low);
  }
}

/** Four rows, each byte 4 columns of one, to bytes of one column of the four: that in bits 2f at out + 128f, f 0…3. */
// @ts-ignore: decorator
@inline
function turnCodes(out: usize, r0: v128, r1: v128, r2: v128, r3: v128, even: v128, low: v128): void {
  const e01 = v128.or(v128.and(r0, even), i16x8.shl(v128.and(r1, even), 2)), o01 = v128.or(v128.and(i16x8.shr_u(r0, 2), even), v128.andnot(r1, even));
  const e23 = v128.or(v128.and(r2, even), i16x8.shl(v128.and(r3, even), 2)), o23 = v128.or(v128.and(i16x8.shr_u(r2, 2), even), v128.andnot(r3, even));
  v128.store(out, v128.or(v128.and(e01, low), i16x8.shl(v128.and(e23, low), 4)));
  v128.store(out, v128.or(v128.and(o01, low), i16x8.shl(v128.and(o23, low), 4)), 128);
  v128.store(out, v128.or(v128.and(i16x8.shr_u(e01, 4), low), v128.andnot(e23, low)), 256);
  v128.store(out, v128.or(v128.and(i16x8.shr_u(o01, 4), low), v128.andnot(o23, low)), 384);
}

// @ts-ignore: decorator
@inline
function zipLow(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

// @ts-ignore: decorator
@inline
function zipHigh(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/** [8][16] bytes to [16][8], `stride` bytes a row. */
// @ts-ignore: decorator
@inline
function turnBytes(out: usize, stride: usize, from: usize): void {
  const r0 = v128.load(from), r1 = v128.load(from, 16), r2 = v128.load(from, 32), r3 = v128.load(from, 48);
  const r4 = v128.load(from, 64), r5 = v128.load(from, 80), r6 = v128.load(from, 96), r7 = v128.load(from, 112);
  turnHalf(out, stride, zipLow(zipLow(r0, r4), zipLow(r2, r6)), zipLow(zipLow(r1, r5), zipLow(r3, r7)));
  turnHalf(out + 4 * stride, stride, zipHigh(zipLow(r0, r4), zipLow(r2, r6)), zipHigh(zipLow(r1, r5), zipLow(r3, r7)));
  turnHalf(out + 8 * stride, stride, zipLow(zipHigh(r0, r4), zipHigh(r2, r6)), zipLow(zipHigh(r1, r5), zipHigh(r3, r7)));
  turnHalf(out + 12 * stride, stride, zipHigh(zipHigh(r0, r4), zipHigh(r2, r6)), zipHigh(zipHigh(r1, r5), zipHigh(r3, r7)));
}

/** Rows 0, 2, 4, 6 and 1, 3, 5, 7 of four columns, to those columns. */
// @ts-ignore: decorator
@inline
function turnHalf(out: usize, stride: usize, even: v128, odd: v128): void {
  const a = zipLow(even, odd), b = zipHigh(even, odd);
  v128.store64_lane(out, a, 0);
  v128.store64_lane(out + stride, a, 1);
  v128.store64_lane(out + 2 * stride, b, 0);
  v128.store64_lane(out + 3 * stride, b, 1);
}
