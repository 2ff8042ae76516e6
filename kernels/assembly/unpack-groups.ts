// ggml's ternary blocks with scales among the codes, decoded to bytes 0, 1, 2; a block whose scale is 0 gives 1 throughout.
// engine/packing/grouped.ts says the same in TypeScript.

/** Whether the f16 at `at` is 0 or −0. */
// @ts-ignore: decorator
@inline
function isZero(at: usize): bool {
  return (load<u16>(at) & 0x7fff) == 0;
}

function ones(codes: usize, n: usize): void {
  for (const end = codes + n; codes < end; codes += 16) v128.store(codes, i8x16.splat(1));
}

/**
 * TQ2_0: 256 elements in 66 bytes.
 * @param codes [blocks · 256] bytes
 * @returns not 0 if a code is 3
 */
export function unpackTq2(codes: usize, bytes: usize, blocks: u32): u32 {
  const mask = i8x16.splat(3);
  let bad = i8x16.splat(0);
  for (const end = bytes + <usize>blocks * 66; bytes < end; bytes += 66, codes += 256) {
    if (isZero(bytes + 64)) {
      ones(codes, 256);
      continue;
    }
    for (let half: usize = 0; half < 64; half += 32) {
      for (let p = half; p < half + 32; p += 16) {
        const v = v128.load(bytes + p);
        const out = codes + (half << 2) + (p & 31);
        bad = v128.or(bad, v128.and(v, i16x8.shr_u(v, 1)));
        v128.store(out, v128.and(v, mask));
        v128.store(out, v128.and(i16x8.shr_u(v, 2), mask), 32);
        v128.store(out, v128.and(i16x8.shr_u(v, 4), mask), 64);
        v128.store(out, v128.and(i16x8.shr_u(v, 6), mask), 96);
      }
    }
  }
  return <u32>v128.any_true(v128.and(bad, i8x16.splat(0x55)));
}

/** 16 bytes of five base-3 digits to 5 · 16 digits, `stride` apart: the next digit is the high byte of 3 · what is left. */
// @ts-ignore: decorator
@inline
function digits16(codes: usize, bytes: usize, stride: usize): void {
  const v = v128.load(bytes);
  let low = i16x8.extend_low_i8x16_u(v);
  let high = i16x8.extend_high_i8x16_u(v);
  const three = i16x8.splat(3);
  const rest = i16x8.splat(255);
  for (let n = 0; n < 5; n++, codes += stride) {
    low = i16x8.mul(low, three);
    high = i16x8.mul(high, three);
    v128.store(codes, i8x16.narrow_i16x8_u(i16x8.shr_u(low, 8), i16x8.shr_u(high, 8)));
    low = v128.and(low, rest);
    high = v128.and(high, rest);
  }
}

/** TQ1_0: 256 elements in 54 bytes. @param codes [blocks · 256] bytes @returns 0: it has no code 3 */
export function unpackTq1(codes: usize, bytes: usize, blocks: u32): u32 {
  for (const end = bytes + <usize>blocks * 54; bytes < end; bytes += 54, codes += 256) {
    if (isZero(bytes + 52)) {
      ones(codes, 256);
      continue;
    }
    digits16(codes, bytes, 32);
    digits16(codes + 16, bytes + 16, 32);
    digits16(codes + 160, bytes + 32, 16);
    for (let m: usize = 0; m < 4; m++) {
      let rest: u32 = load<u8>(bytes + 48 + m);
      for (let n: usize = 0; n < 4; n++) {
        rest *= 3;
        store<u8>(codes + 240 + 4 * n + m, rest >> 8);
        rest &= 255;
      }
    }
  }
  return 0;
}

/** PTQ1_0: 128 elements in 28 bytes. @param codes [blocks · 128] bytes @returns 0: it has no code 3 */
export function unpackPtq1(codes: usize, bytes: usize, blocks: u32): u32 {
  const three = i16x8.splat(3);
  const rest = i16x8.splat(255);
  for (const end = bytes + <usize>blocks * 28; bytes < end; bytes += 28, codes += 128) {
    if (isZero(bytes + 26)) {
      ones(codes, 128);
      continue;
    }
    digits16(codes, bytes, 16);
    let v = i16x8.extend_low_i8x16_u(v128.load64_zero(bytes, 16));
    for (let n: usize = 80; n < 120; n += 8) {
      v = i16x8.mul(v, three);
      v128.store64_lane(codes + n, i8x16.narrow_i16x8_u(i16x8.shr_u(v, 8), v), 0);
      v = v128.and(v, rest);
    }
    for (let h: usize = 0; h < 2; h++) {
      let left: u32 = load<u8>(bytes + 24 + h);
      for (let n: usize = 0; n < 4; n++) {
        left *= 3;
        store<u8>(codes + 120 + 2 * n + h, left >> 8);
        left &= 255;
      }
    }
  }
  return 0;
}

/** Q1_0: 128 elements in 18 bytes, element j in bit j mod 8 of byte j/8. @param codes [blocks · 128] bytes, 0 or 2 @returns 0: it has no code 3 */
export function unpackQ1(codes: usize, bytes: usize, blocks: u32): u32 {
  const bits = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  const two = i8x16.splat(2);
  for (const end = bytes + <usize>blocks * 18; bytes < end; bytes += 18, codes += 128) {
    if (isZero(bytes)) {
      ones(codes, 128);
      continue;
    }
    for (let p: usize = 0; p < 16; p += 2) {
      const v = v128.swizzle(v128.load16_splat(bytes + 2 + p), i8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
      v128.store(codes + (p << 3), v128.and(i8x16.eq(v128.and(v, bits), bits), two));
    }
  }
  return 0;
}

/**
 * Q2_0: `group` elements in 2 + group/4 bytes, element j in byte j/4, bits 2·(j mod 4).
 * @param codes [blocks · group] bytes
 * @param group 64 or 128
 * @returns not 0 if a code is 3
 */
export function unpackQ2(codes: usize, bytes: usize, blocks: u32, group: u32): u32 {
  const bit0 = i8x16(1, 4, 16, 64, 1, 4, 16, 64, 1, 4, 16, 64, 1, 4, 16, 64);
  const bit1 = i8x16.shl(bit0, 1);
  const size = <usize>(group >> 2);
  let bad = i8x16.splat(0);
  for (; blocks > 0; blocks--, bytes += 2 + size, codes += group) {
    if (isZero(bytes)) {
      ones(codes, group);
      continue;
    }
    for (let p: usize = 0; p < size; p += 4) {
      const word = i32x4.splat(load<i32>(bytes + 2 + p));
      const v = v128.swizzle(word, i8x16(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
      const one = i8x16.eq(v128.and(v, bit0), bit0); // −1 where the bit is set
      const two = i8x16.eq(v128.and(v, bit1), bit1);
      bad = v128.or(bad, v128.and(one, two));
      v128.store(codes + (p << 2), i8x16.neg(i8x16.add(one, i8x16.add(two, two))));
    }
  }
  return <u32>v128.any_true(bad);
}
