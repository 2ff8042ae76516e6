// Work on single rows of activations. Buffers are padded with zeros to a multiple of 8 floats, so no kernel has a tail.
import { ADD, ADD_SCALED, GELU_MUL, QUANTIZE, RELU_SQUARED_MUL, RMS_NORM, ROPE, SCALE, SIGMOID_MUL, SILU_MUL, called } from "./count";
import { absMax, sum8 } from "./lanes";
import { sigmoid4 } from "./softmax";

/** x += y; [n] f32 */
export function add(x: usize, y: usize, n: u32): void {
  called(ADD);
  for (let end = x + (<usize>n << 2); x < end; x += 16, y += 16) v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
}

/** x += y · factor; [n] f32 */
export function addScaled(x: usize, y: usize, n: u32, factor: f32): void {
  called(ADD_SCALED);
  const f = f32x4.splat(factor);
  for (let end = x + (<usize>n << 2); x < end; x += 16, y += 16) v128.store(x, f32x4.add(v128.load(x), f32x4.mul(v128.load(y), f)));
}

/** x *= factor; [n] f32 */
export function scale(x: usize, n: u32, factor: f32): void {
  called(SCALE);
  const f = f32x4.splat(factor);
  for (let end = x + (<usize>n << 2); x < end; x += 16) v128.store(x, f32x4.mul(v128.load(x), f));
}

/** RMSNorm, also in place: out = x · 1/√(Σx²/n + eps) · weight; [n] f32. The factor first, then the weight, as the original does. */
export function rmsNorm(out: usize, x: usize, weight: usize, n: u32, eps: f32): void {
  called(RMS_NORM);
  let lo = f32x4.splat(0);
  let hi = f32x4.splat(0);
  const bytes = (<usize>(n + 7) & ~7) << 2;
  for (let i: usize = 0; i < bytes; i += 32) {
    const a = v128.load(x + i);
    const b = v128.load(x + i, 16);
    lo = f32x4.add(lo, f32x4.mul(a, a));
    hi = f32x4.add(hi, f32x4.mul(b, b));
  }
  const factor = f32x4.splat(<f32>1 / sqrt<f32>(sum8(lo, hi) / <f32>n + eps));
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(out + i, f32x4.mul(f32x4.mul(v128.load(x + i), factor), v128.load(weight + i)));
  }
}

/** out = relu(gate)² · up; [n] f32 */
export function reluSquaredMul(out: usize, gate: usize, up: usize, n: u32): void {
  called(RELU_SQUARED_MUL);
  for (let end = gate + (<usize>n << 2); gate < end; gate += 16, up += 16, out += 16) {
    const g = f32x4.pmax(v128.load(gate), f32x4.splat(0)); // one instruction, and NaN stays
    v128.store(out, f32x4.mul(f32x4.mul(g, g), v128.load(up)));
  }
}

/** out = gate · σ(gate) · up; [n] f32 */
export function siluMul(out: usize, gate: usize, up: usize, n: u32): void {
  called(SILU_MUL);
  for (let end = gate + (<usize>n << 2); gate < end; gate += 16, up += 16, out += 16) {
    const g = v128.load(gate);
    v128.store(out, f32x4.mul(f32x4.mul(g, sigmoid4(g)), v128.load(up)));
  }
}

/**
 * out = GELU(gate) · up in GELU's tanh form: ½x(1 + tanh y) = x · σ(2y), y = √(2/π)·(x + 0.044715·x³) (Hendrycks & Gimpel 2016), here
 * 2y = x · (2√(2/π) + 2√(2/π)·0.044715 · x²); [n] f32
 */
export function geluMul(out: usize, gate: usize, up: usize, n: u32): void {
  called(GELU_MUL);
  for (let end = gate + (<usize>n << 2); gate < end; gate += 16, up += 16, out += 16) {
    const g = v128.load(gate);
    const t = f32x4.mul(g, f32x4.add(f32x4.splat(1.5957691216057308), f32x4.mul(f32x4.mul(g, g), f32x4.splat(0.07135481627260025))));
    v128.store(out, f32x4.mul(f32x4.mul(g, sigmoid4(t)), v128.load(up)));
  }
}

/** x *= σ(gate); [n] f32 */
export function sigmoidMul(x: usize, gate: usize, n: u32): void {
  called(SIGMOID_MUL);
  for (let end = x + (<usize>n << 2); x < end; x += 16, gate += 16) v128.store(x, f32x4.mul(v128.load(x), sigmoid4(v128.load(gate))));
}

/** Four activations to integers: round half to even of x·s, clamped to int8's range. */
// @ts-ignore: decorator
@inline
function round4(x: usize, s: v128): v128 {
  return i32x4.min_s(i32x4.max_s(i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x), s))), i32x4.splat(-128)), i32x4.splat(127));
}

/**
 * Per-token absmax quantisation: s = 127 / max(max|x|, 1e-5), q = clamp(round(x·s), −128, 127).
 * @param out [kPad] int8 (relaxed tier) or int16 (plain tier), zero from n on
 * @param meta { Σq: i32, max(max|x|, 1e-5): f32 }
 * @param x [n] f32, n a multiple of 4
 */
export function quantize(out: usize, meta: usize, x: usize, n: u32, kPad: u32): void {
  called(QUANTIZE);
  const bytes = <usize>n << 2;
  const most = absMax(x, bytes, 1e-5);
  const s = f32x4.splat(<f32>127 / most);
  let sum = i32x4.splat(0);
  let i: usize = 0;
  for (; i < bytes; i += 16) {
    const q = round4(x + i, s);
    sum = i32x4.add(sum, q);
    const h = i16x8.narrow_i32x4_s(q, q);
    if (ASC_FEATURE_RELAXED_SIMD) store<u32>(out + (i >> 2), i32x4.extract_lane(i8x16.narrow_i16x8_s(h, h), 0));
    else store<u64>(out + (i >> 1), i64x2.extract_lane(h, 0));
  }
  for (const end = <usize>kPad << 2; i < end; i += 16) {
    if (ASC_FEATURE_RELAXED_SIMD) store<u32>(out + (i >> 2), 0);
    else store<u64>(out + (i >> 1), 0);
  }
  store<i32>(meta, i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3));
  store<f32>(meta, most, 4);
}

/**
 * Rotary embedding, NEOX style, of the first d dimensions of each head: (a, b) = (x[i], x[i + d/2]) → (a·cos − b·sin, b·cos + a·sin).
 * @param out, x [heads, headDim] f32; may be the same, and must be where d < headDim
 * @param rotated d
 * @param angles cos [d/2] then sin [d/2], f32, of this position
 */
export function rope(out: usize, x: usize, heads: u32, headDim: u32, rotated: u32, angles: usize): void {
  called(ROPE);
  const half = <usize>(rotated >> 1) << 2;
  const whole = half & ~15;
  for (let h: u32 = 0; h < heads; h++) {
    let i: usize = 0;
    for (; i < whole; i += 16) {
      const c = v128.load(angles + i);
      const s = v128.load(angles + half + i);
      const a = v128.load(x + i);
      const b = v128.load(x + half + i);
      v128.store(out + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
      v128.store(out + half + i, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
    }
    for (; i < half; i += 4) {
      const c = load<f32>(angles + i);
      const s = load<f32>(angles + half + i);
      const a = load<f32>(x + i);
      const b = load<f32>(x + half + i);
      store<f32>(out + i, a * c - b * s);
      store<f32>(out + half + i, b * c + a * s);
    }
    x += <usize>headDim << 2;
    out += <usize>headDim << 2;
  }
}
