// The online softmax of attention, a block of 32 positions at a time. Constants are rebuilt at each use, so four vectors share each; maxima
// are found without branches, which scores would mispredict.
import { sum8 } from "./lanes";

/** Positions in a block. */
export const BLOCK: usize = 32;

/** Adding it to an f32 of magnitude < 2^22 rounds that to an integer, half to even, whose two's complement is in the low bits. */
export const ROUNDER: f32 = 12582912; // 1.5 · 2^23

// e^x for x ≤ 0: x = n·ln 2 + r, |r| ≤ ln 2 / 2; e^r by the degree-5 polynomial of the Cephes library's expf; then n goes into the exponent.
// ln 2 is split so that n·LN2_HI is exact. Below −87 the answer is 0: no subnormals. NaN stays NaN.

/** n = x·log2 e rounded, as x·log2 e + ROUNDER */
// @ts-ignore: decorator
@inline
function rounded(x: v128): v128 {
  return f32x4.add(f32x4.mul(x, f32x4.splat(1.4426950408889634)), f32x4.splat(ROUNDER));
}

/** r = x − n·ln 2 */
// @ts-ignore: decorator
@inline
function remainder(x: v128, n: v128): v128 {
  const whole = f32x4.sub(n, f32x4.splat(ROUNDER));
  return f32x4.sub(f32x4.sub(x, f32x4.mul(whole, f32x4.splat(0.693359375))), f32x4.mul(whole, f32x4.splat(-2.1219444e-4)));
}

// @ts-ignore: decorator
@inline
function step(p: v128, r: v128, c: f32): v128 {
  return f32x4.add(f32x4.mul(p, r), f32x4.splat(c));
}

/** p·r² + r + 1, times 2^n; 0 where x < −87 */
// @ts-ignore: decorator
@inline
function scaled(p: v128, r: v128, n: v128, x: v128): v128 {
  const e = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1));
  return v128.andnot(i32x4.add(e, i32x4.shl(n, 23)), f32x4.lt(x, f32x4.splat(-87)));
}

/** max(x, −87); NaN stays */
// @ts-ignore: decorator
@inline
function floored(x: v128): v128 {
  return f32x4.pmax(x, f32x4.splat(-87));
}

/** e^x of four x ≤ 0 (−∞ gives 0). */
// @ts-ignore: decorator
@inline
export function exp4(v: v128): v128 {
  const t = floored(v);
  const n = rounded(t);
  const r = remainder(t, n);
  let p = f32x4.splat(1.98756915e-4);
  p = step(p, r, 1.3981999507e-3);
  p = step(p, r, 8.3334519073e-3);
  p = step(p, r, 4.1665795894e-2);
  p = step(p, r, 1.6666665459e-1);
  p = step(p, r, 5.0000001201e-1);
  return scaled(p, r, n, v);
}

/** σ(x) = s / (1 + e), e = e^−|x|, s = 1 for x ≥ 0, else e: no exponent overflows. */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const one = f32x4.splat(1);
  const e = exp4(f32x4.neg(f32x4.abs(x)));
  return f32x4.div(v128.bitselect(one, e, f32x4.ge(x, f32x4.splat(0))), f32x4.add(one, e));
}

/** e^x, x ≤ 0 */
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

/**
 * Takes a block's scores into a state's maximum and sum.
 * @param state { m, l } f32
 * @param p [32] f32: scores, of which `seen` count; out: e^(score − maximum), 0 where none counts
 * @returns what the sums so far have to be multiplied by
 */
export function softmax(state: usize, p: usize, seen: u32): f32 {
  if (seen < <u32>BLOCK) for (let j = seen; j < <u32>BLOCK; j++) store<f32>(p + (<usize>j << 2), -Infinity);
  const m = load<f32>(state);
  // A NaN may get lost here; it comes back with its own e^x.
  let top = f32x4.pmax(f32x4.pmax(v128.load(p), v128.load(p, 16)), f32x4.pmax(v128.load(p, 32), v128.load(p, 48)));
  top = f32x4.pmax(top, f32x4.pmax(f32x4.pmax(v128.load(p, 64), v128.load(p, 80)), f32x4.pmax(v128.load(p, 96), v128.load(p, 112))));
  top = f32x4.pmax(top, v128.shuffle<i32>(top, top, 2, 3, 0, 1));
  top = f32x4.pmax(top, v128.shuffle<i32>(top, top, 1, 0, 3, 2));
  const most = f32x4.extract_lane(f32x4.pmax(f32x4.splat(m), top), 0);
  const shift = f32x4.splat(most);
  let lo = f32x4.splat(0);
  let hi = f32x4.splat(0);
  for (const end = p + 128; p < end; p += 64) {
    const x0 = f32x4.sub(v128.load(p), shift), x1 = f32x4.sub(v128.load(p, 16), shift);
    const x2 = f32x4.sub(v128.load(p, 32), shift), x3 = f32x4.sub(v128.load(p, 48), shift);
    const t0 = floored(x0), t1 = floored(x1), t2 = floored(x2), t3 = floored(x3);
    const n0 = rounded(t0), n1 = rounded(t1), n2 = rounded(t2), n3 = rounded(t3);
    const r0 = remainder(t0, n0), r1 = remainder(t1, n1), r2 = remainder(t2, n2), r3 = remainder(t3, n3);
    let p0 = f32x4.splat(1.98756915e-4), p1 = p0, p2 = p0, p3 = p0;
    p0 = step(p0, r0, 1.3981999507e-3), p1 = step(p1, r1, 1.3981999507e-3), p2 = step(p2, r2, 1.3981999507e-3), p3 = step(p3, r3, 1.3981999507e-3);
    p0 = step(p0, r0, 8.3334519073e-3), p1 = step(p1, r1, 8.3334519073e-3), p2 = step(p2, r2, 8.3334519073e-3), p3 = step(p3, r3, 8.3334519073e-3);
    p0 = step(p0, r0, 4.1665795894e-2), p1 = step(p1, r1, 4.1665795894e-2), p2 = step(p2, r2, 4.1665795894e-2), p3 = step(p3, r3, 4.1665795894e-2);
    p0 = step(p0, r0, 1.6666665459e-1), p1 = step(p1, r1, 1.6666665459e-1), p2 = step(p2, r2, 1.6666665459e-1), p3 = step(p3, r3, 1.6666665459e-1);
    p0 = step(p0, r0, 5.0000001201e-1), p1 = step(p1, r1, 5.0000001201e-1), p2 = step(p2, r2, 5.0000001201e-1), p3 = step(p3, r3, 5.0000001201e-1);
    p0 = scaled(p0, r0, n0, x0), p1 = scaled(p1, r1, n1, x1), p2 = scaled(p2, r2, n2, x2), p3 = scaled(p3, r3, n3, x3);
    v128.store(p, p0);
    v128.store(p, p1, 16);
    v128.store(p, p2, 32);
    v128.store(p, p3, 48);
    lo = f32x4.add(f32x4.add(lo, p0), p2);
    hi = f32x4.add(f32x4.add(hi, p1), p3);
  }
  const shrink: f32 = most == m ? 1 : exp1(m - most); // mostly the maximum stays
  store<f32>(state, most);
  store<f32>(state, load<f32>(state, 4) * shrink + sum8(lo, hi), 4);
  return shrink;
}
