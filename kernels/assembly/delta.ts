// Gated DeltaNet layers: the convolution in front, and the state that each value head keeps. engine/delta.ts says the same in plain TypeScript.
// Positions of one sequence are computed in their order, whatever the batch; sequences, heads and rows of a state are independent.
import { CONVOLVE, DELTA_RULE, L2_NORM, called } from "./count";
import { sum8, sum8x4 } from "./lanes";
import { sigmoid4 } from "./softmax";

/**
 * A causal convolution of four taps over each channel, then SiLU, for successive positions of a sequence.
 * @param out [rows] of [channels] f32, `outStride` bytes from row to row
 * @param x [rows] of [channels] f32, `xStride` bytes from row to row
 * @param before [3] of [channels] f32, `beforeStride` bytes apart: the inputs of the positions before, the oldest first; out: those of the last three
 * @param fresh 1: the first row begins its sequence, so that there are none before
 * @param weights [channels][4] f32, the last for the position itself
 * @param channels a multiple of 4
 */
export function convolve(out: usize, outStride: usize, x: usize, xStride: usize, rows: u32, before: usize, beforeStride: usize, fresh: u32, weights: usize, channels: u32): void {
  called(CONVOLVE);
  for (let end = out + (<usize>channels << 2); out < end; out += 16, x += 16, before += 16, weights += 64) {
    const c0 = v128.load(weights), c1 = v128.load(weights, 16), c2 = v128.load(weights, 32), c3 = v128.load(weights, 48);
    // Weights of four channels, tap by tap.
    const a = v128.shuffle<f32>(c0, c1, 0, 4, 1, 5), b = v128.shuffle<f32>(c2, c3, 0, 4, 1, 5);
    const c = v128.shuffle<f32>(c0, c1, 2, 6, 3, 7), d = v128.shuffle<f32>(c2, c3, 2, 6, 3, 7);
    const w0 = v128.shuffle<f32>(a, b, 0, 1, 4, 5), w1 = v128.shuffle<f32>(a, b, 2, 3, 6, 7);
    const w2 = v128.shuffle<f32>(c, d, 0, 1, 4, 5), w3 = v128.shuffle<f32>(c, d, 2, 3, 6, 7);
    const zero = f32x4.splat(0);
    let x0 = fresh ? zero : v128.load(before);
    let x1 = fresh ? zero : v128.load(before + beforeStride);
    let x2 = fresh ? zero : v128.load(before + (beforeStride << 1));
    let from = x, to = out;
    for (let row: u32 = 0; row < rows; row++, from += xStride, to += outStride) {
      const x3 = v128.load(from);
      const sum = f32x4.add(f32x4.add(f32x4.add(f32x4.mul(w0, x0), f32x4.mul(w1, x1)), f32x4.mul(w2, x2)), f32x4.mul(w3, x3));
      v128.store(to, f32x4.mul(sum, sigmoid4(sum)));
      x0 = x1;
      x1 = x2;
      x2 = x3;
    }
    v128.store(before, x0);
    v128.store(before + beforeStride, x1);
    v128.store(before + (beforeStride << 1), x2);
  }
}

/** In place: x · 1/√(Σx² + eps). @param x [n] f32, n a multiple of 8 */
export function l2Norm(x: usize, n: u32, eps: f32): void {
  called(L2_NORM);
  const end = x + (<usize>n << 2);
  let lo = f32x4.splat(0), hi = f32x4.splat(0);
  for (let p = x; p < end; p += 32) {
    const a = v128.load(p), b = v128.load(p, 16);
    lo = f32x4.add(lo, f32x4.mul(a, a));
    hi = f32x4.add(hi, f32x4.mul(b, b));
  }
  const factor = f32x4.splat(<f32>1 / sqrt<f32>(sum8(lo, hi) + eps));
  for (let p = x; p < end; p += 16) v128.store(p, f32x4.mul(v128.load(p), factor));
}

/**
 * Rows of one head's state S over successive positions of a sequence: S ← decay·S; d = take·(v − S k); S ← S + d kᵀ; out = S q · scale.
 * Four rows at a time, which stay in the nearest cache for all positions.
 * @param out f32 of these rows, `outStride` bytes from position to position
 * @param state [count][n] f32; with `fresh` 1 it counts as 0
 * @param count rows of the state, a multiple of 4
 * @param n of k and q, a multiple of 8
 * @param q, k [n] f32, `stride` bytes from position to position
 * @param v f32 of these rows, as far apart
 * @param gates [rows] of decay, take f32
 */
export function deltaRule(out: usize, outStride: usize, state: usize, count: u32, n: u32, fresh: u32, q: usize, k: usize, v: usize, stride: usize, gates: usize, rows: u32, scale: f32): void {
  called(DELTA_RULE);
  const bytes = <usize>n << 2;
  if (fresh) memory.fill(state, 0, <usize>count * bytes);
  const scales = f32x4.splat(scale);
  const s1 = bytes, s2 = bytes << 1, s3 = s1 + s2;
  for (const end = state + <usize>count * bytes; state < end; state += bytes << 2, out += 16, v += 16) {
    let qAt = q, kAt = k, vAt = v, outAt = out, gate = gates;
    for (let row: u32 = 0; row < rows; row++, qAt += stride, kAt += stride, vAt += stride, outAt += outStride, gate += 8) {
      const decay = v128.load32_splat(gate);
      let l0 = f32x4.splat(0), l1 = l0, l2 = l0, l3 = l0, h0 = l0, h1 = l0, h2 = l0, h3 = l0;
      for (let i: usize = 0; i < bytes; i += 32) {
        const a = v128.load(kAt + i), b = v128.load(kAt + i, 16);
        const s = state + i;
        l0 = f32x4.add(l0, f32x4.mul(f32x4.mul(v128.load(s), decay), a));
        h0 = f32x4.add(h0, f32x4.mul(f32x4.mul(v128.load(s, 16), decay), b));
        l1 = f32x4.add(l1, f32x4.mul(f32x4.mul(v128.load(s + s1), decay), a));
        h1 = f32x4.add(h1, f32x4.mul(f32x4.mul(v128.load(s + s1, 16), decay), b));
        l2 = f32x4.add(l2, f32x4.mul(f32x4.mul(v128.load(s + s2), decay), a));
        h2 = f32x4.add(h2, f32x4.mul(f32x4.mul(v128.load(s + s2, 16), decay), b));
        l3 = f32x4.add(l3, f32x4.mul(f32x4.mul(v128.load(s + s3), decay), a));
        h3 = f32x4.add(h3, f32x4.mul(f32x4.mul(v128.load(s + s3, 16), decay), b));
      }
      const d = f32x4.mul(v128.load32_splat(gate, 4), f32x4.sub(v128.load(vAt), sum8x4(l0, h0, l1, h1, l2, h2, l3, h3)));
      const d0 = v128.shuffle<f32>(d, d, 0, 0, 0, 0), d1 = v128.shuffle<f32>(d, d, 1, 1, 1, 1);
      const d2 = v128.shuffle<f32>(d, d, 2, 2, 2, 2), d3 = v128.shuffle<f32>(d, d, 3, 3, 3, 3);
      l0 = f32x4.splat(0), l1 = l0, l2 = l0, l3 = l0, h0 = l0, h1 = l0, h2 = l0, h3 = l0;
      for (let i: usize = 0; i < bytes; i += 32) {
        const a = v128.load(kAt + i), b = v128.load(kAt + i, 16);
        const x = v128.load(qAt + i), y = v128.load(qAt + i, 16);
        const s = state + i;
        const n0 = f32x4.add(f32x4.mul(v128.load(s), decay), f32x4.mul(d0, a));
        v128.store(s, n0);
        l0 = f32x4.add(l0, f32x4.mul(n0, x));
        const m0 = f32x4.add(f32x4.mul(v128.load(s, 16), decay), f32x4.mul(d0, b));
        v128.store(s, m0, 16);
        h0 = f32x4.add(h0, f32x4.mul(m0, y));
        const n1 = f32x4.add(f32x4.mul(v128.load(s + s1), decay), f32x4.mul(d1, a));
        v128.store(s + s1, n1);
        l1 = f32x4.add(l1, f32x4.mul(n1, x));
        const m1 = f32x4.add(f32x4.mul(v128.load(s + s1, 16), decay), f32x4.mul(d1, b));
        v128.store(s + s1, m1, 16);
        h1 = f32x4.add(h1, f32x4.mul(m1, y));
        const n2 = f32x4.add(f32x4.mul(v128.load(s + s2), decay), f32x4.mul(d2, a));
        v128.store(s + s2, n2);
        l2 = f32x4.add(l2, f32x4.mul(n2, x));
        const m2 = f32x4.add(f32x4.mul(v128.load(s + s2, 16), decay), f32x4.mul(d2, b));
        v128.store(s + s2, m2, 16);
        h2 = f32x4.add(h2, f32x4.mul(m2, y));
        const n3 = f32x4.add(f32x4.mul(v128.load(s + s3), decay), f32x4.mul(d3, a));
        v128.store(s + s3, n3);
        l3 = f32x4.add(l3, f32x4.mul(n3, x));
        const m3 = f32x4.add(f32x4.mul(v128.load(s + s3, 16), decay), f32x4.mul(d3, b));
        v128.store(s + s3, m3, 16);
        h3 = f32x4.add(h3, f32x4.mul(m3, y));
      }
      v128.store(outAt, f32x4.mul(sum8x4(l0, h0, l1, h1, l2, h2, l3, h3), scales));
    }
  }
}
