/*
 * f64 functions of our own. ECMAScript leaves the last bits of Math.exp, log, sin, cos and pow to the engine; whatever reaches a
 * logit or a sampled token must not hang on them. These use only + − × ÷, floor and bit views, which IEEE 754 fixes exactly.
 * All of them: an exact reduction of the argument (Cody & Waite 1980), then the function's Taylor series in Horner form.
 */

/** ln 2 = LN2_HIGH + LN2_LOW; the high part has 40 bits, so that its product with an exponent is exact. */
const LN2_HIGH = 0.6931471805592082;
const LN2_LOW = 7.371002565167799e-13;

/** π/2 = PI2_A + PI2_B + PI2_C; the first two have 33 bits each, so that a product with a whole number below 2^20 is exact. */
const PI2_A = 1.5707963267341256;
const PI2_B = 6.077100506303966e-11;
const PI2_C = 2.0222662487959506e-21;
const INVERSE_PI2 = 0.6366197723675814;

/** Every double's power of two: POWERS[i] = 2^(i − 1074), the subnormal ones included. */
const POWERS = powersOfTwo();

function powersOfTwo(): Float64Array {
  const powers = new Float64Array(1074 + 1024);
  powers[1074] = 1;
  for (let i = 1075; i < powers.length; i++) powers[i] = powers[i - 1]! * 2;
  for (let i = 1073; i >= 0; i--) powers[i] = powers[i + 1]! * 0.5;
  return powers;
}

const view = new DataView(new ArrayBuffer(8));

/**
 * e^x, within 2 ulp: x = k·ln 2 + r with |r| ≤ ln 2 / 2, e^x = 2^k · e^r, e^r by its series to r^13 (remainder < 1e-17).
 * Overflows to Infinity above 709.78…, goes to subnormals and 0 below −708.39….
 */
export function exp64(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -745.2) return 0;
  const k = Math.floor(x * Math.LOG2E + 0.5);
  const high = x - k * LN2_HIGH; // exact
  const low = k * LN2_LOW;
  const r = high - low;
  let q = 1 / 6227020800;
  q = q * r + 1 / 479001600;
  q = q * r + 1 / 39916800;
  q = q * r + 1 / 3628800;
  q = q * r + 1 / 362880;
  q = q * r + 1 / 40320;
  q = q * r + 1 / 5040;
  q = q * r + 1 / 720;
  q = q * r + 1 / 120;
  q = q * r + 1 / 24;
  q = q * r + 1 / 6;
  q = q * r + 0.5;
  const y = 1 + (high - (low - r * r * q)); // what r lost of `low` is kept
  if (k < -1021) return y * POWERS[k + 64 + 1074]! * POWERS[1074 - 64]!; // one rounding, into the subnormals
  if (k > 1023) return y * POWERS[2097]! * 2;
  return y * POWERS[k + 1074]!;
}

/**
 * ln x, within 2 ulp: x = 2^k · (1 + f) with 1 + f in [√½, √2); with s = f / (2 + f), ln(1 + f) = 2·artanh(s) = f − s·(f − R),
 * R = Σ 2·s^(2n) / (2n + 1) to n = 11 (remainder < 1e-18). −Infinity for 0, NaN below.
 */
export function log64(x: number): number {
  if (!(x > 0)) return x === 0 ? -Infinity : NaN;
  if (x === Infinity) return x;
  let k = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984; // 2^54: out of the subnormals
    k = -54;
  }
  view.setFloat64(0, x);
  const top = view.getUint32(0);
  k += (top >>> 20) - 1023;
  view.setUint32(0, (top & 0xfffff) | 0x3ff00000);
  let m = view.getFloat64(0); // [1, 2)
  if (m >= Math.SQRT2) {
    m *= 0.5;
    k += 1;
  }
  const f = m - 1; // exact
  const s = f / (2 + f);
  const z = s * s;
  let q = 2 / 23;
  q = q * z + 2 / 21;
  q = q * z + 2 / 19;
  q = q * z + 2 / 17;
  q = q * z + 2 / 15;
  q = q * z + 2 / 13;
  q = q * z + 2 / 11;
  q = q * z + 2 / 9;
  q = q * z + 2 / 7;
  q = q * z + 2 / 5;
  q = q * z + 2 / 3;
  const logM = f - s * (f - q * z);
  return k === 0 ? logM : k * LN2_HIGH + (logM + k * LN2_LOW);
}

/**
 * Writes sin x and cos x to out[0] and out[1], each within 1e-15 for |x| ≤ 1e5: x = n·π/2 + r with |r| ≤ π/4, both series of r to
 * below 1e-17, then the quadrant n mod 4. Slowly less exact above; NaN from 1e6 on, where the reduction is no longer exact.
 */
export function sinCos64(x: number, out: Float64Array): void {
  if (!(x > -1e6 && x < 1e6)) {
    out[0] = NaN;
    out[1] = NaN;
    return;
  }
  const n = Math.floor(x * INVERSE_PI2 + 0.5);
  const r = x - n * PI2_A - n * PI2_B - n * PI2_C;
  const z = r * r;
  let p = 1 / 355687428096000;
  p = p * z - 1 / 1307674368000;
  p = p * z + 1 / 6227020800;
  p = p * z - 1 / 39916800;
  p = p * z + 1 / 362880;
  p = p * z - 1 / 5040;
  p = p * z + 1 / 120;
  p = p * z - 1 / 6;
  const sin = r + r * z * p;
  let q = 1 / 20922789888000;
  q = q * z - 1 / 87178291200;
  q = q * z + 1 / 479001600;
  q = q * z - 1 / 3628800;
  q = q * z + 1 / 40320;
  q = q * z - 1 / 720;
  q = q * z + 1 / 24;
  const cos = 1 - (0.5 * z - z * z * q);
  const quadrant = n & 3;
  out[0] = quadrant === 0 ? sin : quadrant === 1 ? cos : quadrant === 2 ? -sin : -cos;
  out[1] = quadrant === 0 ? cos : quadrant === 1 ? -sin : quadrant === 2 ? -cos : sin;
}

/**
 * base^exponent for base > 0, as e^(exponent · ln base): exact to about 2e-16 · (2 + |exponent · ln base|) relative, so 1e-14 over the
 * range of rotary frequencies θ^(−2i/d), where |exponent · ln base| ≤ 20. NaN for base ≤ 0.
 */
export function pow64(base: number, exponent: number): number {
  if (!(base > 0)) return NaN;
  return exponent === 0 ? 1 : exp64(exponent * log64(base));
}
