/** Bits of a number and the number itself, to look at one by the other. */
const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** Bits of the f16 nearest to an f32 by its bits, halves to even; beyond f16's range infinity. */
function toHalf(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const rest = x & 0x7fffffff;
  if (rest >= 0x7f800000) return sign | 0x7c00 | (rest > 0x7f800000 ? 0x200 : 0); // infinite, or no number
  const exponent = (rest >>> 23) - 127 + 15;
  if (exponent >= 31) return sign | 0x7c00;
  if (exponent >= 1) {
    // The fraction's 13 low bits go; a carry out of it rightly raises the exponent, at the end to infinity.
    const half = (exponent << 10) | ((rest >>> 13) & 0x3ff);
    const dropped = rest & 0x1fff;
    return sign | (dropped > 0x1000 || (dropped === 0x1000 && (half & 1) !== 0) ? half + 1 : half);
  }
  // A subnormal of f16: its unit is 2^-24, and the fraction with its leading 1 counts in units of 2^(exponent − 25).
  const shift = 14 - exponent;
  if (shift > 24) return sign;
  const fraction = (rest & 0x7fffff) | 0x800000;
  const half = fraction >>> shift;
  const dropped = fraction & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (dropped > middle || (dropped === middle && (half & 1) !== 0) ? half + 1 : half);
}

/** Bits of the bf16 nearest to an f32 by its bits, halves to even. */
function toBrain(x: number): number {
  if ((x & 0x7fffffff) > 0x7f800000) return (x >>> 16) | 0x40;
  return ((x + 0x7fff + ((x >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Bits of the nearest f16 to a number that is rounded to f32 first. */
export function halfOf(value: number): number {
  float[0] = value;
  return toHalf(bits[0]!);
}

/**
 * f32 as little-endian F32, F16 or BF16, each the nearest, halves to even.
 * @returns bytes, [count · bytes of the type]
 */
export function encodeFloats(type: string, values: Float32Array): Uint8Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bytes = new Uint8Array(values.length * (type === "F32" ? 4 : 2));
  const view = new DataView(bytes.buffer);
  // A loop each, so that what it calls becomes a part of it.
  if (type === "F32") for (let i = 0; i < words.length; i++) view.setUint32(4 * i, words[i]!, true);
  else if (type === "F16") for (let i = 0; i < words.length; i++) view.setUint16(2 * i, toHalf(words[i]!), true);
  else for (let i = 0; i < words.length; i++) view.setUint16(2 * i, toBrain(words[i]!), true);
  return bytes;
}

/** Bits of the least number of f16 that has all its digits, 2^-14, and of the least beyond its range, 2^16. */
const HALF_NORMAL = 0x38800000;
const HALF_END = 0x47800000;

/** Whether each of the (finite) numbers is the same in F32, F16 or BF16. */
export function isExactIn(type: string, values: Float32Array): boolean {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  if (type === "BF16") {
    for (let i = 0; i < words.length; i++) if ((words[i]! & 0xffff) !== 0) return false;
  } else if (type === "F16") {
    for (let i = 0; i < words.length; i++) {
      const rest = words[i]! & 0x7fffffff;
      const isExact = rest < HALF_NORMAL ? (values[i]! * 2 ** 24) % 1 === 0 : rest < HALF_END && (rest & 0x1fff) === 0;
      if (!isExact) return false;
    }
  }
  return true;
}
