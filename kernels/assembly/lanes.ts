// The numerics that every float kernel shares. engine/numerics.ts says the same in plain TypeScript; tests hold the two bit-equal.
// Sums run in 8 lanes (lane = index mod 8), kept as two v128 of f32x4: `lo` lanes 0–3, `hi` lanes 4–7.

/** The 8 lanes to one: ((0+1)+(2+3)) + ((4+5)+(6+7)). */
// @ts-ignore: decorator
@inline
export function sum8(lo: v128, hi: v128): f32 {
  const even = v128.shuffle<f32>(lo, hi, 0, 2, 4, 6);
  const odd = v128.shuffle<f32>(lo, hi, 1, 3, 5, 7);
  const pairs = f32x4.add(even, odd); // 01, 23, 45, 67
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1) + (f32x4.extract_lane(pairs, 2) + f32x4.extract_lane(pairs, 3));
}

/** Lanes of four rows to one f32x4, each as `sum8` does. */
// @ts-ignore: decorator
@inline
export function sum8x4(lo0: v128, hi0: v128, lo1: v128, hi1: v128, lo2: v128, hi2: v128, lo3: v128, hi3: v128): v128 {
  const p0 = f32x4.add(v128.shuffle<f32>(lo0, hi0, 0, 2, 4, 6), v128.shuffle<f32>(lo0, hi0, 1, 3, 5, 7));
  const p1 = f32x4.add(v128.shuffle<f32>(lo1, hi1, 0, 2, 4, 6), v128.shuffle<f32>(lo1, hi1, 1, 3, 5, 7));
  const p2 = f32x4.add(v128.shuffle<f32>(lo2, hi2, 0, 2, 4, 6), v128.shuffle<f32>(lo2, hi2, 1, 3, 5, 7));
  const p3 = f32x4.add(v128.shuffle<f32>(lo3, hi3, 0, 2, 4, 6), v128.shuffle<f32>(lo3, hi3, 1, 3, 5, 7));
  // [row0 0123, row0 4567, row1 0123, row1 4567] and the same of rows 2, 3
  const a = f32x4.add(v128.shuffle<f32>(p0, p1, 0, 2, 4, 6), v128.shuffle<f32>(p0, p1, 1, 3, 5, 7));
  const b = f32x4.add(v128.shuffle<f32>(p2, p3, 0, 2, 4, 6), v128.shuffle<f32>(p2, p3, 1, 3, 5, 7));
  return f32x4.add(v128.shuffle<f32>(a, b, 0, 2, 4, 6), v128.shuffle<f32>(a, b, 1, 3, 5, 7));
}

/** `value`, hidden from the compiler: V8 rebuilds a splatted constant at each use, and keeps one it doesn't know in a register. */
// @ts-ignore: decorator
@inline
export function opaque(value: i32, nonzero: u32): i32 {
  return nonzero ? value : 0;
}

/**
 * max(max|x|, least) of f32 numbers; NaN if there is one. Bits of positive floats are ordered as integers, whose maximum is one instruction.
 * @param bytes a multiple of 16
 */
// @ts-ignore: decorator
@inline
export function absMax(x: usize, bytes: usize, least: f32): f32 {
  const positive = i32x4.splat(opaque(0x7fffffff, <u32>bytes));
  let top = f32x4.splat(least);
  for (const end = x + bytes; x < end; x += 16) top = i32x4.max_s(top, v128.and(v128.load(x), positive));
  top = i32x4.max_s(top, v128.shuffle<i32>(top, top, 2, 3, 0, 1));
  return reinterpret<f32>(max<i32>(i32x4.extract_lane(top, 0), i32x4.extract_lane(top, 1)));
}
