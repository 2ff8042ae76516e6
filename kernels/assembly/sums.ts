// What the products of ternary rows share: the dot products of bytes, and the way from partial sums to results.

/** 16 columns × 16 activations to 8 sums of 16 bits. Activations first: on x86 the second operand is taken as unsigned. */
// @ts-ignore: decorator
@inline
export function dot7(x: v128, codes: v128): v128 {
  return i16x8.relaxed_dot_i8x16_i7x16_s(x, codes);
}

/** sums + 4 products of bytes: those of the second operand have 7 bits and no sign. One instruction with AVX-VNNI. */
// @ts-ignore: decorator
@inline
export function dotAdd(sums: v128, x: v128, codes: v128): v128 {
  return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, codes, sums);
}

/** Four vectors of partial sums to the four totals. */
// @ts-ignore: decorator
@inline
export function total4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 2, 4, 6), v128.shuffle<i32>(c, d, 1, 3, 5, 7));
  return i32x4.add(v128.shuffle<i32>(ab, cd, 0, 2, 4, 6), v128.shuffle<i32>(ab, cd, 1, 3, 5, 7));
}

/** Both halves of a 256-bit sum. */
// @ts-ignore: decorator
@inline
export function half(sums: usize): v128 {
  return i32x4.add(v128.load(sums), v128.load(sums, 16));
}

/** The four totals of [4 rows][8] i32. */
// @ts-ignore: decorator
@inline
export function totals(sums: usize): v128 {
  return total4(
    i32x4.add(v128.load(sums), v128.load(sums, 16)),
    i32x4.add(v128.load(sums, 32), v128.load(sums, 48)),
    i32x4.add(v128.load(sums, 64), v128.load(sums, 80)),
    i32x4.add(v128.load(sums, 96), v128.load(sums, 112)),
  );
}

/** What turns an integer sum into an activation: scale · max|x| / 127, rounded once. */
// @ts-ignore: decorator
@inline
export function factor(scale: f32, meta: usize): v128 {
  return f32x4.splat(<f32>((<f64>scale * <f64>load<f32>(meta, 4)) / 127.0));
}

/** Stores four rows of one column. `sums` are Σ c·x (or Σ w·x, then with `less` 0). */
// @ts-ignore: decorator
@inline
export function store4(y: usize, sums: v128, less: i32, r: v128): void {
  v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(sums, i32x4.splat(less))), r));
}
