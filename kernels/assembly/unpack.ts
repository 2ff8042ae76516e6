// The encodings of files, decoded: ternary codes to bytes 0, 1, 2, and floats to f32. engine/packing says the same in TypeScript.

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

const F32: u32 = 0;
const F16: u32 = 1;

/** `widen` found an infinity or a NaN. */
const NOT_FINITE: u32 = 1;
/** `widen` found a number that bf16 doesn't hold. */
const NOT_BF16: u32 = 2;

/**
 * Little-endian floats to f32, exactly.
 * @param out [n] f32
 * @param bytes n numbers; n is a multiple of 4
 * @param type 0 F32, 1 F16, 2 BF16
 * @returns NOT_FINITE | NOT_BF16
 */
export function widen(out: usize, bytes: usize, n: u32, type: u32): u32 {
  const exponent = i32x4.splat(0x7f800000);
  let infinite = i32x4.splat(0);
  let low = i32x4.splat(0);
  for (const end = out + (<usize>n << 2); out < end; out += 16) {
    let v: v128;
    if (type == F32) {
      v = v128.load(bytes);
      bytes += 16;
    } else {
      const h = v128.load_ext<u16>(bytes); // four of them, in 32 bits each
      bytes += 8;
      if (type == F16) {
        const rest = v128.and(h, i32x4.splat(0x7fff));
        // Normal: the exponent from bias 15 to 127. Subnormal: rest · 2^-24. Infinite or no number: the largest exponent.
        const normal = i32x4.add(i32x4.shl(rest, 13), i32x4.splat((127 - 15) << 23));
        const subnormal = f32x4.mul(f32x4.convert_i32x4_s(rest), f32x4.splat(5.9604644775390625e-8));
        let magnitude = v128.bitselect(subnormal, normal, i32x4.lt_s(rest, i32x4.splat(0x400)));
        magnitude = v128.or(magnitude, v128.and(i32x4.ge_s(rest, i32x4.splat(0x7c00)), exponent));
        v = v128.or(magnitude, i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16));
      } else {
        v = i32x4.shl(h, 16);
      }
    }
    infinite = v128.or(infinite, i32x4.eq(v128.and(v, exponent), exponent));
    low = v128.or(low, v);
    v128.store(out, v);
  }
  return (v128.any_true(infinite) ? NOT_FINITE : 0) | (v128.any_true(v128.and(low, i32x4.splat(0xffff))) ? NOT_BF16 : 0);
}
