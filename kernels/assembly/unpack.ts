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
const Q8_0: u32 = 3;
const Q4_0: u32 = 4;
const Q6_K: u32 = 5;
const Q4_K: u32 = 6;
const Q2_0: u32 = 7;
const PTQ1_0: u32 = 9;
const Q1_0: u32 = 10;

/** `widen` found an infinity or a NaN. */
const NOT_FINITE: u32 = 1;
/** `widen` found a number that bf16 doesn't hold. */
const NOT_BF16: u32 = 2;

/**
 * Little-endian floats to f32, exactly; or ggml's blocks, as ggml does it.
 * @param out [n] f32, written in whole groups of 8
 * @param bytes n numbers, read in whole groups of 8; or whole blocks
 * @param type 0 F32, 1 F16, 2 BF16; 3 Q8_0, 4 Q4_0, 5 Q6_K, 6 Q4_K, 7 Q2_0, 8 Q2_0 in groups of 128, 9 PTQ1_0, 10 Q1_0
 * @returns NOT_FINITE | NOT_BF16
 */
export function widen(out: usize, bytes: usize, n: u32, type: u32): u32 {
  return type < Q8_0 ? widenFloats(out, bytes, n, type) : widenBlocks(out, bytes, n, type);
}

function widenFloats(out: usize, bytes: usize, n: u32, type: u32): u32 {
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

/** 16 int8 times a factor, to [16] f32. @returns all bits of the products */
// @ts-ignore: decorator
@inline
function scale16(out: usize, codes: v128, factor: f32): v128 {
  const f = f32x4.splat(factor);
  const low = i16x8.extend_low_i8x16_s(codes), high = i16x8.extend_high_i8x16_s(codes);
  const a = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), f);
  const b = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), f);
  const c = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), f);
  const d = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), f);
  v128.store(out, a);
  v128.store(out, b, 16);
  v128.store(out, c, 32);
  v128.store(out, d, 48);
  return v128.or(v128.or(a, b), v128.or(c, d));
}

/** The first 8 of 16 int8 times a factor, to [8] f32. @returns all bits of the products */
// @ts-ignore: decorator
@inline
function scale8(out: usize, codes: v128, factor: f32): v128 {
  const f = f32x4.splat(factor);
  const low = i16x8.extend_low_i8x16_s(codes);
  const a = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), f);
  const b = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), f);
  v128.store(out, a);
  v128.store(out, b, 16);
  return v128.or(a, b);
}

/** A finite f16 as f32; see `widenFloats`. */
// @ts-ignore: decorator
@inline
function half(bits: u32): f32 {
  return reinterpret<f32>((bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * reinterpret<f32>((127 + 112) << 23);
}

/** Codes 0 … 15 of 32 elements, to [32] f32: code · scale − least. @returns all bits of the results */
// @ts-ignore: decorator
@inline
function scale32From(out: usize, low: v128, high: v128, scale: f32, least: f32): v128 {
  const s = f32x4.splat(scale), m = f32x4.splat(least);
  let bits = i32x4.splat(0);
  for (let half: u32 = 0; half < 2; half++) {
    const codes = half ? high : low;
    const a = i16x8.extend_low_i8x16_u(codes), b = i16x8.extend_high_i8x16_u(codes);
    const v0 = f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(a)), s), m);
    const v1 = f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(a)), s), m);
    const v2 = f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(b)), s), m);
    const v3 = f32x4.sub(f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(b)), s), m);
    v128.store(out, v0);
    v128.store(out, v1, 16);
    v128.store(out, v2, 32);
    v128.store(out, v3, 48);
    out += 64;
    bits = v128.or(bits, v128.or(v128.or(v0, v1), v128.or(v2, v3)));
  }
  return bits;
}

/** Each of these makes blocks to f32, [end) bytes of it. @returns NOT_FINITE | NOT_BF16; the layouts are told in engine/packing/quantized.ts */
function widenBlocks(out: usize, bytes: usize, n: u32, type: u32): u32 {
  const end = out + (<usize>n << 2);
  if (type == Q6_K) return widenQ6K(out, bytes, end);
  if (type == Q4_K) return widenQ4K(out, bytes, end);
  if (type == PTQ1_0) return widenPtq1(out, bytes, end);
  if (type == Q1_0) return widenQ1(out, bytes, end);
  if (type >= Q2_0) return widenQ2(out, bytes, end, type == Q2_0 ? 16 : 32);
  return widen32(out, bytes, end, type == Q4_0);
}

// @ts-ignore: decorator
@inline
function isInfinite(half: u32): u32 {
  return <u32>((half & 0x7c00) == 0x7c00);
}

// @ts-ignore: decorator
@inline
function found(infinite: u32, bits: v128): u32 {
  return (infinite ? NOT_FINITE : 0) | (v128.any_true(v128.and(bits, i32x4.splat(0xffff))) ? NOT_BF16 : 0);
}

function widenQ6K(out: usize, bytes: usize, end: usize): u32 {
  const nibble = i8x16.splat(15), two = i8x16.splat(3), offset = i8x16.splat(32);
  let infinite: u32 = 0;
  let low = i32x4.splat(0);
  for (; out < end; bytes += 210) {
    const bits = <u32>load<u16>(bytes, 208);
    infinite |= isInfinite(bits);
    const d = half(bits);
    for (let side: usize = 0; side < 2; side++, out += 512) {
      for (let p: usize = 0; p < 32; p += 16) {
        const a = v128.load(bytes + (side << 6) + p), b = v128.load(bytes + (side << 6) + p, 32);
        const h = v128.load(bytes + (side << 5) + p, 128);
        const scale = bytes + 192 + (side << 3) + (p >> 4);
        const to = out + (p << 2);
        const q0 = v128.or(v128.and(a, nibble), i8x16.shl(v128.and(h, two), 4));
        const q1 = v128.or(v128.and(b, nibble), i8x16.shl(v128.and(i8x16.shr_u(h, 2), two), 4));
        const q2 = v128.or(i8x16.shr_u(a, 4), i8x16.shl(v128.and(i8x16.shr_u(h, 4), two), 4));
        const q3 = v128.or(i8x16.shr_u(b, 4), i8x16.shl(i8x16.shr_u(h, 6), 4));
        low = v128.or(low, scale16(to, i8x16.sub(q0, offset), d * <f32>load<i8>(scale)));
        low = v128.or(low, scale16(to + 128, i8x16.sub(q1, offset), d * <f32>load<i8>(scale, 2)));
        low = v128.or(low, scale16(to + 256, i8x16.sub(q2, offset), d * <f32>load<i8>(scale, 4)));
        low = v128.or(low, scale16(to + 384, i8x16.sub(q3, offset), d * <f32>load<i8>(scale, 6)));
      }
    }
  }
  return found(infinite, low);
}

function widenQ4K(out: usize, bytes: usize, end: usize): u32 {
  const nibble = i8x16.splat(15);
  let infinite: u32 = 0;
  let low = i32x4.splat(0);
  for (; out < end; bytes += 144, out += 1024) {
    const bits = <u32>load<u16>(bytes), minBits = <u32>load<u16>(bytes, 2);
    infinite |= isInfinite(bits) | isInfinite(minBits);
    const d = half(bits), dmin = half(minBits);
    for (let j: usize = 0; j < 8; j++) {
      const six = bytes + 4 + (j & 3);
      const shared = <u32>load<u8>(six, 8);
      const first = <u32>load<u8>(six), second = <u32>load<u8>(six, 4);
      const scale = j < 4 ? first & 63 : (shared & 15) | first >> 6 << 4;
      const least = j < 4 ? second & 63 : shared >> 4 | second >> 6 << 4;
      const codes = bytes + 16 + (j >> 1 << 5);
      let a = v128.load(codes), b = v128.load(codes, 16);
      a = j & 1 ? i8x16.shr_u(a, 4) : v128.and(a, nibble);
      b = j & 1 ? i8x16.shr_u(b, 4) : v128.and(b, nibble);
      low = v128.or(low, scale32From(out + (j << 7), a, b, d * <f32>scale, dmin * <f32>least));
    }
  }
  return found(infinite, low);
}

/** @param size bytes of codes in a block */
function widenQ2(out: usize, bytes: usize, end: usize, size: usize): u32 {
  // Four codes of a byte, each left at its place: 1, 4, 16 or 64 times the code.
  const places = i32x4(3, 3 << 2, 3 << 4, 3 << 6);
  const units = f32x4(1, 0.25, 0.0625, 0.015625);
  const one = f32x4.splat(1);
  let infinite: u32 = 0;
  let low = i32x4.splat(0);
  while (out < end) {
    const bits = <u32>load<u16>(bytes);
    infinite |= isInfinite(bits);
    const d = f32x4.splat(half(bits));
    bytes += 2;
    for (const last = bytes + size; bytes < last; bytes++, out += 16) {
      const codes = f32x4.mul(f32x4.convert_i32x4_s(v128.and(i32x4.splat(<i32>load<u8>(bytes)), places)), units);
      const v = f32x4.mul(f32x4.sub(codes, one), d);
      low = v128.or(low, v);
      v128.store(out, v);
    }
  }
  return found(infinite, low);
}

function widenPtq1(out: usize, bytes: usize, end: usize): u32 {
  const three = i16x8.splat(3), rest = i16x8.splat(255), one = i8x16.splat(1);
  let infinite: u32 = 0;
  let low = i32x4.splat(0);
  for (; out < end; bytes += 28, out += 512) {
    const bits = <u32>load<u16>(bytes, 26);
    infinite |= isInfinite(bits);
    const d = half(bits);
    const v = v128.load(bytes);
    let a = i16x8.extend_low_i8x16_u(v), b = i16x8.extend_high_i8x16_u(v);
    let c = i16x8.extend_low_i8x16_u(v128.load64_zero(bytes, 16));
    for (let n: usize = 0; n < 5; n++) {
      a = i16x8.mul(a, three);
      b = i16x8.mul(b, three);
      c = i16x8.mul(c, three);
      const digits = i8x16.narrow_i16x8_u(i16x8.shr_u(a, 8), i16x8.shr_u(b, 8));
      low = v128.or(low, scale16(out + (n << 6), i8x16.sub(digits, one), d));
      const eight = i8x16.sub(i8x16.narrow_i16x8_u(i16x8.shr_u(c, 8), c), one);
      low = v128.or(low, scale8(out + 320 + (n << 5), eight, d));
      a = v128.and(a, rest);
      b = v128.and(b, rest);
      c = v128.and(c, rest);
    }
    for (let h: usize = 0; h < 2; h++) {
      let left: u32 = load<u8>(bytes + 24 + h);
      for (let n: usize = 0; n < 4; n++) {
        left *= 3;
        const value = d * <f32>(<i32>(left >> 8) - 1);
        low = v128.or(low, i32x4.splat(reinterpret<i32>(value)));
        store<f32>(out + 480 + (n << 3) + (h << 2), value);
        left &= 255;
      }
    }
  }
  return found(infinite, low);
}

function widenQ1(out: usize, bytes: usize, end: usize): u32 {
  const bitOf = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  const two = i8x16.splat(2), one = i8x16.splat(1);
  let infinite: u32 = 0;
  let low = i32x4.splat(0);
  for (; out < end; bytes += 18) {
    const bits = <u32>load<u16>(bytes);
    infinite |= isInfinite(bits);
    const d = half(bits);
    for (let p: usize = 2; p < 18; p += 2, out += 64) {
      const v = v128.swizzle(v128.load16_splat(bytes + p), i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
      low = v128.or(low, scale16(out, i8x16.sub(v128.and(i8x16.eq(v128.and(v, bitOf), bitOf), two), one), d));
    }
  }
  return found(infinite, low);
}

/** Q8_0, or with halves of bytes Q4_0. */
function widen32(out: usize, bytes: usize, end: usize, halves: bool): u32 {
  const nibble = i8x16.splat(15), offset = i8x16.splat(8);
  let infinite: u32 = 0;
  let low = i32x4.splat(0);
  for (; out < end; out += 128) {
    const bits = <u32>load<u16>(bytes);
    infinite |= isInfinite(bits);
    const d = half(bits);
    let a = v128.load(bytes, 2), b: v128;
    if (halves) {
      b = i8x16.sub(i8x16.shr_u(a, 4), offset);
      a = i8x16.sub(v128.and(a, nibble), offset);
      bytes += 18;
    } else {
      b = v128.load(bytes, 18);
      bytes += 34;
    }
    low = v128.or(low, v128.or(scale16(out, a, d), scale16(out + 64, b, d)));
  }
  return found(infinite, low);
}
