/** The rotation of a layer's input by signs and Walsh–Hadamard transforms, in one fixed order, as all of `numerics.ts`. */

/**
 * H of each run of `blockSize` numbers, in place: H[r][c] = (−1)^popcount(r & c) / √blockSize. Butterflies (a, b) → (a + b, a − b) over distances 1,
 * 2, 4 …, the factor at the end.
 * @param x [n] f32, n a multiple of `blockSize`
 * @param blockSize a power of 2
 */
function transform(x: Float32Array, blockSize: number): void {
  for (let distance = 1; distance < blockSize; distance *= 2) {
    for (let i = 0; i < x.length; i++) {
      if (i & distance) continue;
      const [a, b] = [x[i]!, x[i + distance]!];
      x[i] = a + b;
      x[i + distance] = a - b;
    }
  }
  const factor = Math.fround(1 / Math.sqrt(blockSize));
  for (let i = 0; i < x.length; i++) x[i] = x[i]! * factor;
}

/** H(s ⊙ x), for a layer that is stored for it. @param x [n] f32 @param signs [n] 1 or −1 */
export function rotate(x: Float32Array, signs: Int8Array, blockSize: number): Float32Array {
  const out = x.map((value, i) => value * signs[i]!);
  transform(out, blockSize);
  return out;
}

/** s ⊙ H x, which undoes `rotate`. */
export function rotateBack(x: Float32Array, signs: Int8Array, blockSize: number): Float32Array {
  const out = x.slice();
  transform(out, blockSize);
  return out.map((value, i) => value * signs[i]!);
}
