// The encodings of files, decoded: ternary codes to bytes 0, 1, 2, and floats to f32. engine/packing says the same in TypeScript.
import { opaque } from "./lanes";

/**
 * I2_S blocks, 128-element layout: element 32·g + p of a block in byte p, bits 6 − 2g and 7 − 2g.
 * @param codes [blocks · 128] bytes
 * @param bytes [blocks · 32]
 * @returns not 0 if a code is 3
 */
export function unpackI2s(codes: usize, bytes: usize, blocks: u32): u32 {
  const mask = i8x16.splat(3);
  let bad = i8x16.splat(0);
  for (const end = bytes + (<usize>blocks << 5); bytes < end; bytes += 32, codes += 128) {
    for (let p: usize = 0; p < 32; p += 16) {
      const v = v128.load(bytes + p);
      bad = v128.or(bad, v128.and(v, i16x8.shr_u(v, 1)));
      v128.store(codes + p, v128.and(i16x8.shr_u(v, 6), mask));
      v128.store(codes + p, v128.and(i16x8.shr_u(v, 4), mask), 32);
      v128.store(codes + p, v128.and(i16x8.shr_u(v, 2), mask), 64);
      v128.store(codes + p, v128.and(v, mask), 96);
    }
  }
  return <u32>v128.any_true(v128.and(bad, i8x16.splat(0x55)));
}

/**
 * One row of I2_S straight to its place in the layout of the relaxed tier (see ternary.ts), without codes in between.
 * @param row 0…3
 * @param bytes [n/4]
 * @param n columns, a multiple of 128
 * @returns not 0 if a code is 3
 */
export function repackI2s(group: usize, row: u32, bytes: usize, n: u32): u32 {
  const m = i8x16.splat(<i8>opaque(3, n));
  let bad = i8x16.splat(0);
  let out = group + (<usize>row << 4);
  for (const end = bytes + (<usize>n >> 2); bytes < end; bytes += 32, out += 128) {
    const a = v128.load(bytes), b = v128.load(bytes, 16);
    bad = v128.or(bad, v128.or(v128.and(a, i16x8.shr_u(a, 1)), v128.and(b, i16x8.shr_u(b, 1))));
    // Columns 0…63: bits 6 and 4 of both vectors in turn.
    const a6 = v128.and(i16x8.shr_u(a, 6), m), b6 = v128.and(i16x8.shr_u(b, 6), m);
    const a4 = v128.and(i16x8.shr_u(a, 4), m), b4 = v128.and(i16x8.shr_u(b, 4), m);
    v128.store(out, v128.or(v128.or(a6, i16x8.shl(b6, 2)), v128.or(i16x8.shl(a4, 4), i16x8.shl(b4, 6))));
    const a2 = v128.and(i16x8.shr_u(a, 2), m), b2 = v128.and(i16x8.shr_u(b, 2), m);
    const a0 = v128.and(a, m), b0 = v128.and(b, m);
    v128.store(out, v128.or(v128.or(a2, i16x8.shl(b2, 2)), v128.or(i16x8.shl(a0, 4), i16x8.shl(b0, 6))), 64);
  }
  return <u32>v128.any_true(v128.and(bad, i8x16.splat(0x55)));
}

/** The same for the wide tier: the four codes of each byte in reverse order. */
export function repackI2sWide(group: usize, row: u32, bytes: usize, n: u32): u32 {
  const low = i8x16.splat(<i8>opaque(0x0f, n));
  const even = i8x16.splat(<i8>opaque(0x33, n));
  let bad = i8x16.splat(0);
  let out = group + (<usize>row << 5);
  for (const end = bytes + (<usize>n >> 2); bytes < end; bytes += 32, out += 128) {
    for (let i: usize = 0; i < 32; i += 16) {
      const v = v128.load(bytes + i);
      bad = v128.or(bad, v128.and(v, i16x8.shr_u(v, 1)));
      const halves = v128.or(v128.and(i16x8.shr_u(v, 4), low), i16x8.shl(v128.and(v, low), 4));
      v128.store(out + i, v128.or(v128.and(i16x8.shr_u(halves, 2), even), i16x8.shl(v128.and(halves, even), 2)));
    }
  }
  return <u32>v128.any_true(v128.and(bad, i8x16.splat(0x55)));
}

/**
 * One of the four rows of Hugging Face's packed bytes: bits 2k and 2k + 1.
 * @param codes [n] bytes, n a multiple of 16
 * @param bytes [n]
 * @returns not 0 if a code is 3
 */
export function unpackHf(codes: usize, bytes: usize, n: u32, k: u32): u32 {
  const mask = i8x16.splat(3);
  let bad = i8x16.splat(0);
  for (let i: usize = 0; i < <usize>n; i += 16) {
    const v = v128.and(i16x8.shr_u(v128.load(bytes + i), k << 1), mask);
    bad = v128.or(bad, v128.and(v, i16x8.shr_u(v, 1)));
    v128.store(codes + i, v);
  }
  return <u32>v128.any_true(v128.and(bad, i8x16.splat(1)));
}

const F16: u32 = 1;
const BF16: u32 = 2;

/** `widen` found an infinity or a NaN. */
const NOT_FINITE: u32 = 1;
/** `widen` found a number that bf16 doesn't hold. */
const NOT_BF16: u32 = 2;

/**
 * Little-endian floats to f32, exactly.
 * @param out [n] f32, written in whole groups of 8
 * @param bytes n numbers, read in whole groups of 8
 * @param type 0 F32, 1 F16, 2 BF16
 * @returns NOT_FINITE | NOT_BF16
 */
export function widen(out: usize, bytes: usize, n: u32, type: u32): u32 {
  const end = out + (<usize>(n + 7) & ~7) * 4;
  let infinite = i32x4.splat(0); // exponents that are all ones
  let low = i32x4.splat(0); // bits that bf16 hasn't
  if (type == F16) {
    const exponent = i16x8.splat(<i16>opaque(0x7c00, n));
    const keep = i32x4.splat(opaque(0x8fffe000, n));
    // Moved into place, the exponent is 112 too small; multiplied, subnormal numbers come out right too.
    const rebias = f32x4.splat(reinterpret<f32>(opaque((127 + 112) << 23, n)));
    for (; out < end; out += 32, bytes += 16) {
      const v = v128.load(bytes);
      infinite = v128.or(infinite, i16x8.eq(v128.and(v, exponent), exponent));
      const a = f32x4.mul(v128.and(i32x4.shl(i32x4.extend_low_i16x8_s(v), 13), keep), rebias);
      const b = f32x4.mul(v128.and(i32x4.shl(i32x4.extend_high_i16x8_s(v), 13), keep), rebias);
      low = v128.or(low, v128.or(a, b));
      v128.store(out, a);
      v128.store(out, b, 16);
    }
  } else {
    const exponent = i32x4.splat(opaque(0x7f800000, n));
    for (; out < end; out += 32) {
      let a: v128, b: v128;
      if (type == BF16) {
        const v = v128.load(bytes);
        a = i32x4.shl(i32x4.extend_low_i16x8_u(v), 16);
        b = i32x4.shl(i32x4.extend_high_i16x8_u(v), 16);
        bytes += 16;
      } else {
        a = v128.load(bytes);
        b = v128.load(bytes, 16);
        bytes += 32;
      }
      infinite = v128.or(infinite, v128.or(i32x4.eq(v128.and(a, exponent), exponent), i32x4.eq(v128.and(b, exponent), exponent)));
      low = v128.or(low, v128.or(a, b));
      v128.store(out, a);
      v128.store(out, b, 16);
    }
  }
  return (v128.any_true(infinite) ? NOT_FINITE : 0) | (v128.any_true(v128.and(low, i32x4.splat(0xffff))) ? NOT_BF16 : 0);
}
