/** f32 bits of an f16 by its bits; exact. Normal numbers keep their fraction, and their exponent moves from bias 15 to bias 127. */
export function halfBits(h: number): number {
  const sign = (h & 0x8000) << 16;
  const rest = h & 0x7fff;
  if (rest >= 0x7c00) return sign | 0x7f800000 | ((h & 0x3ff) << 13); // infinite, or no number
  if (rest >= 0x400) return sign | ((rest << 13) + ((127 - 15) << 23));
  if (rest === 0) return sign;
  // A subnormal, rest · 2^-24, is normal in f32: its highest bit becomes the exponent.
  const highest = 31 - Math.clz32(rest);
  return sign | ((127 - 24 + highest) << 23) | ((rest << (23 - highest)) & 0x7fffff);
}

const word = new Int32Array(1);
const float = new Float32Array(word.buffer);

/** The little-endian f16 at `bytes[at]`. */
export function readHalf(bytes: Uint8Array, at: number): number {
  word[0] = halfBits(bytes[at]! | (bytes[at + 1]! << 8));
  return float[0]!;
}
