// The rotation of a layer's input: signs, and a Walsh–Hadamard transform of each block. engine/hadamard.ts says the same in plain TypeScript. Each
// butterfly is one sum and one difference of the same two numbers, in whatever order they are computed, so the bits are those of the definition.
import { ROTATE, called } from "./count";

/**
 * out = H(signs ⊙ x) or, `back`, signs ⊙ H x; H of each `block` numbers: butterflies over distances 1, 2, 4 …, then · 1/√block.
 * @param out, x [n] f32; may be the same
 * @param signs [n] 1 or −1 f32
 * @param n a multiple of `block`
 * @param block a power of 2, at least 4
 * @param factor 1/√block
 */
export function rotate(out: usize, x: usize, signs: usize, n: u32, block: u32, factor: f32, back: u32): void {
  called(ROTATE);
  const bytes = <usize>n << 2;
  const blockBytes = <usize>block << 2;
  const scale = f32x4.splat(factor);
  // Distances 1 and 2, in each vector.
  for (let i: usize = 0; i < bytes; i += 16) {
    let v = v128.load(x + i);
    if (!back) v = f32x4.mul(v, v128.load(signs + i));
    v = f32x4.add(f32x4.mul(v, f32x4(1, -1, 1, -1)), v128.shuffle<f32>(v, v, 1, 0, 3, 2));
    v128.store(out + i, f32x4.add(f32x4.mul(v, f32x4(1, 1, -1, -1)), v128.shuffle<f32>(v, v, 2, 3, 0, 1)));
  }
  for (let from = out, end = out + bytes; from < end; from += blockBytes) {
    let distance: usize = 16; // bytes
    // Two distances in one pass.
    for (; distance << 1 < blockBytes; distance <<= 2) {
      const d1 = distance, d2 = distance << 1, d3 = d1 + d2;
      for (let run = from; run < from + blockBytes; run += distance << 2) {
        for (let p = run; p < run + distance; p += 16) {
          const a = v128.load(p), b = v128.load(p + d1), c = v128.load(p + d2), d = v128.load(p + d3);
          const ab = f32x4.add(a, b), amb = f32x4.sub(a, b), cd = f32x4.add(c, d), cmd = f32x4.sub(c, d);
          v128.store(p, f32x4.add(ab, cd));
          v128.store(p + d1, f32x4.add(amb, cmd));
          v128.store(p + d2, f32x4.sub(ab, cd));
          v128.store(p + d3, f32x4.sub(amb, cmd));
        }
      }
    }
    if (distance < blockBytes) {
      for (let p = from; p < from + distance; p += 16) {
        const a = v128.load(p), b = v128.load(p + distance);
        v128.store(p, f32x4.add(a, b));
        v128.store(p + distance, f32x4.sub(a, b));
      }
    }
  }
  for (let i: usize = 0; i < bytes; i += 16) {
    const v = f32x4.mul(v128.load(out + i), scale);
    v128.store(out + i, back ? f32x4.mul(v, v128.load(signs + i)) : v);
  }
}
