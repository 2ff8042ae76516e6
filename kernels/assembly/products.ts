/**
 * Products for the reference path without quantised activations alone: parity of a model of billions of weights in minutes. No text is
 * written by them, so they are a module of their own: plain SIMD, one thread, a small memory that the caller fills.
 */

/** Inputs that share the reading of a row's weights. */
const TILE: u32 = 4;

/**
 * out[input][row] = Σ w·scale·x in f64, column i in lane i mod 4, then (0 + 1) + (2 + 3): the bits of the scalar products
 * (engine/network/reference.ts).
 * @param w i8 [rows, columns] −1, 0, 1
 * @param columns a multiple of 4
 * @param scales f32 [rows, perRow]; with perRow 0 one for all
 * @param group columns that share a scale, a multiple of 4
 * @param x f64 [inputs, columns]
 * @param out f64 [inputs, rows]
 */
export function products(
  w: usize,
  rows: u32,
  columns: u32,
  scales: usize,
  perRow: u32,
  group: u32,
  x: usize,
  inputs: u32,
  out: usize,
): void {
  const stride = (<usize>columns) << 3;
  const outStride = (<usize>rows) << 3;
  for (let row: u32 = 0; row < rows; row++) {
    let from = x;
    let to = out + ((<usize>row) << 3);
    let left = inputs;
    for (; left >= TILE; left -= TILE) {
      tile(w, columns, scales, group, from, stride, to, outStride);
      from += (<usize>TILE) * stride;
      to += (<usize>TILE) * outStride;
    }
    for (; left > 0; left--) {
      single(w, columns, scales, group, from, to);
      from += stride;
      to += outStride;
    }
    w += columns;
    scales += (<usize>perRow) << 2;
  }
}

/** Four weights as f64: the first two. */
// @ts-ignore: decorator
@inline
function low(codes: v128, scale: v128): v128 {
  return f64x2.mul(f64x2.convert_low_i32x4_s(codes), scale);
}

/** The last two. */
// @ts-ignore: decorator
@inline
function high(codes: v128, scale: v128): v128 {
  return f64x2.mul(f64x2.convert_low_i32x4_s(v128.shuffle<i32>(codes, codes, 2, 3, 2, 3)), scale);
}

// @ts-ignore: decorator
@inline
function widened(w: usize): v128 {
  return i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(w)));
}

// @ts-ignore: decorator
@inline
function sum(a: v128, b: v128): f64 {
  return f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1) + (f64x2.extract_lane(b, 0) + f64x2.extract_lane(b, 1));
}

/** One row and one input. */
function single(w: usize, columns: u32, scales: usize, group: u32, x: usize, out: usize): void {
  let a = f64x2.splat(0);
  let b = f64x2.splat(0);
  for (let from: u32 = 0; from < columns; from += group) {
    const scale = f64x2.splat(<f64>load<f32>(scales));
    const end = min(from + group, columns);
    for (let i = from; i < end; i += 4) {
      const codes = widened(w);
      a = f64x2.add(a, f64x2.mul(v128.load(x), low(codes, scale)));
      b = f64x2.add(b, f64x2.mul(v128.load(x, 16), high(codes, scale)));
      w += 4;
      x += 32;
    }
    scales += 4;
  }
  store<f64>(out, sum(a, b));
}

/** One row and four inputs. */
function tile(w: usize, columns: u32, scales: usize, group: u32, x: usize, stride: usize, out: usize, outStride: usize): void {
  let a0 = f64x2.splat(0);
  let b0 = f64x2.splat(0);
  let a1 = f64x2.splat(0);
  let b1 = f64x2.splat(0);
  let a2 = f64x2.splat(0);
  let b2 = f64x2.splat(0);
  let a3 = f64x2.splat(0);
  let b3 = f64x2.splat(0);
  let x1 = x + stride;
  let x2 = x1 + stride;
  let x3 = x2 + stride;
  for (let from: u32 = 0; from < columns; from += group) {
    const scale = f64x2.splat(<f64>load<f32>(scales));
    const end = min(from + group, columns);
    for (let i = from; i < end; i += 4) {
      const codes = widened(w);
      const p = low(codes, scale);
      const q = high(codes, scale);
      a0 = f64x2.add(a0, f64x2.mul(v128.load(x), p));
      b0 = f64x2.add(b0, f64x2.mul(v128.load(x, 16), q));
      a1 = f64x2.add(a1, f64x2.mul(v128.load(x1), p));
      b1 = f64x2.add(b1, f64x2.mul(v128.load(x1, 16), q));
      a2 = f64x2.add(a2, f64x2.mul(v128.load(x2), p));
      b2 = f64x2.add(b2, f64x2.mul(v128.load(x2, 16), q));
      a3 = f64x2.add(a3, f64x2.mul(v128.load(x3), p));
      b3 = f64x2.add(b3, f64x2.mul(v128.load(x3, 16), q));
      w += 4;
      x += 32;
      x1 += 32;
      x2 += 32;
      x3 += 32;
    }
    scales += 4;
  }
  store<f64>(out, sum(a0, b0));
  store<f64>(out + outStride, sum(a1, b1));
  store<f64>(out + 2 * outStride, sum(a2, b2));
  store<f64>(out + 3 * outStride, sum(a3, b3));
}

/**
 * out[input][row] = Σ table·x in f32, column i in lane i mod 8, then ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)): the bits of `dot8` (engine/numerics.ts).
 * @param table f32 [rows, columns]
 * @param columns a multiple of 8
 * @param x f32 [inputs, columns]
 * @param out f32 [inputs, rows]
 */
export function dots(table: usize, rows: u32, columns: u32, x: usize, inputs: u32, out: usize): void {
  const stride = (<usize>columns) << 2;
  const outStride = (<usize>rows) << 2;
  for (let row: u32 = 0; row < rows; row++, table += stride) {
    let from = x;
    let to = out + ((<usize>row) << 2);
    for (let input: u32 = 0; input < inputs; input++, from += stride, to += outStride) store<f32>(to, dot8(table, from, stride));
  }
}

// @ts-ignore: decorator
@inline
function dot8(a: usize, b: usize, bytes: usize): f32 {
  let low = f32x4.splat(0);
  let high = f32x4.splat(0);
  for (const end = a + bytes; a < end; a += 32, b += 32) {
    low = f32x4.add(low, f32x4.mul(v128.load(a), v128.load(b)));
    high = f32x4.add(high, f32x4.mul(v128.load(a, 16), v128.load(b, 16)));
  }
  return (
    f32x4.extract_lane(low, 0) + f32x4.extract_lane(low, 1) + (f32x4.extract_lane(low, 2) + f32x4.extract_lane(low, 3)) +
    (f32x4.extract_lane(high, 0) + f32x4.extract_lane(high, 1) + (f32x4.extract_lane(high, 2) + f32x4.extract_lane(high, 3)))
  );
}
