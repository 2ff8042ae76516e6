// What the machine can do at the most: how fast memory is read, and how fast numbers already in registers are multiplied.
// Each is written in pairs that end in two adjacent stores, so that V8's revectorizer can make 256-bit code of it where it is on.

/**
 * Reads [bytes] and adds up what is there: a load and an addition per 16 bytes, the least that can be done with them.
 * @param out 32 bytes
 * @param bytes a multiple of 128
 */
export function read(out: usize, from: usize, bytes: usize): void {
  let a0 = i32x4.splat(0), a1 = i32x4.splat(0), b0 = i32x4.splat(0), b1 = i32x4.splat(0);
  let c0 = i32x4.splat(0), c1 = i32x4.splat(0), d0 = i32x4.splat(0), d1 = i32x4.splat(0);
  for (const end = from + bytes; from < end; from += 128) {
    a0 = i32x4.add(a0, v128.load(from));
    a1 = i32x4.add(a1, v128.load(from, 16));
    b0 = i32x4.add(b0, v128.load(from, 32));
    b1 = i32x4.add(b1, v128.load(from, 48));
    c0 = i32x4.add(c0, v128.load(from, 64));
    c1 = i32x4.add(c1, v128.load(from, 80));
    d0 = i32x4.add(d0, v128.load(from, 96));
    d1 = i32x4.add(d1, v128.load(from, 112));
  }
  v128.store(out, i32x4.add(i32x4.add(a0, b0), i32x4.add(c0, d0)));
  v128.store(out, i32x4.add(i32x4.add(a1, b1), i32x4.add(c1, d1)), 16);
}

/** The instruction that a ternary product is made of in this tier: 16 products of 8 bits, or 8 of 16 bits, added in pairs. */
// @ts-ignore: decorator
@inline
function dot(a: v128, b: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i16x8.relaxed_dot_i8x16_i7x16_s(a, b);
  return i32x4.dot_i16x8_s(a, b);
}

/**
 * `rounds` × 12 dot instructions and nothing else, in 12 chains: enough to hide their latency. Multiplies as many pairs as `dotLanes` says
 * an instruction does.
 * @param at 32 bytes, read and written
 */
export function dots(at: usize, rounds: u32): void {
  const x = v128.load(at), y = v128.load(at, 16);
  let a0 = x, a1 = y, b0 = x, b1 = y, c0 = x, c1 = y, d0 = x, d1 = y, e0 = x, e1 = y, f0 = x, f1 = y;
  for (let i: u32 = 0; i < rounds; i++) {
    a0 = dot(a0, x);
    a1 = dot(a1, y);
    b0 = dot(b0, x);
    b1 = dot(b1, y);
    c0 = dot(c0, x);
    c1 = dot(c1, y);
    d0 = dot(d0, x);
    d1 = dot(d1, y);
    e0 = dot(e0, x);
    e1 = dot(e1, y);
    f0 = dot(f0, x);
    f1 = dot(f1, y);
  }
  v128.store(at, v128.xor(v128.xor(v128.xor(a0, b0), v128.xor(c0, d0)), v128.xor(e0, f0)));
  v128.store(at, v128.xor(v128.xor(v128.xor(a1, b1), v128.xor(c1, d1)), v128.xor(e1, f1)), 16);
}

/** Pairs that one dot instruction of 128 bits multiplies. */
export function dotLanes(): u32 {
  return ASC_FEATURE_RELAXED_SIMD ? 16 : 8;
}

/** `rounds` × 12 multiplications and additions of 4 f32, in 12 chains. @param at 32 bytes, read and written */
export function multiplyAdds(at: usize, rounds: u32): void {
  const x = v128.load(at), y = v128.load(at, 16);
  let a0 = x, a1 = y, b0 = x, b1 = y, c0 = x, c1 = y, d0 = x, d1 = y, e0 = x, e1 = y, f0 = x, f1 = y;
  for (let i: u32 = 0; i < rounds; i++) {
    a0 = f32x4.add(f32x4.mul(a0, x), x);
    a1 = f32x4.add(f32x4.mul(a1, y), y);
    b0 = f32x4.add(f32x4.mul(b0, x), x);
    b1 = f32x4.add(f32x4.mul(b1, y), y);
    c0 = f32x4.add(f32x4.mul(c0, x), x);
    c1 = f32x4.add(f32x4.mul(c1, y), y);
    d0 = f32x4.add(f32x4.mul(d0, x), x);
    d1 = f32x4.add(f32x4.mul(d1, y), y);
    e0 = f32x4.add(f32x4.mul(e0, x), x);
    e1 = f32x4.add(f32x4.mul(e1, y), y);
    f0 = f32x4.add(f32x4.mul(f0, x), x);
    f1 = f32x4.add(f32x4.mul(f1, y), y);
  }
  v128.store(at, f32x4.add(f32x4.add(f32x4.add(a0, b0), f32x4.add(c0, d0)), f32x4.add(e0, f0)));
  v128.store(at, f32x4.add(f32x4.add(f32x4.add(a1, b1), f32x4.add(c1, d1)), f32x4.add(e1, f1)), 16);
}
