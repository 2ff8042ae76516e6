/** Random numbers, and numbers rounded to 16 bits, with nothing that machines compute differently. */

/** xorshift32 (Marsaglia 2003). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed, 2654435761) | 0 || 1;
    for (let i = 0; i < 16; i++) this.#next();
  }

  #next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** 0 ≤ … < 1 */
  uniform(): number {
    return this.#next() / 2 ** 32;
  }

  /** A whole number 0 … n − 1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** About normal, mean 0 and variance 1: the sum of 12 uniform numbers less 6. */
  normal(): number {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += this.uniform();
    return sum;
  }
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The bits of the nearest bf16, ties to even. */
export function bf16Bits(x: number): number {
  float[0] = x;
  return (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16;
}

/** The nearest bf16. */
export function bf16(x: number): number {
  bits[0] = (bf16Bits(x) << 16) >>> 0;
  return float[0]!;
}

/** The bits of the nearest f16, ties to even; below its normal range 0. */
export function f16Bits(x: number): number {
  float[0] = x;
  const rounded = (bits[0]! & 0x7fffffff) + 0xfff + ((bits[0]! >>> 13) & 1);
  const exponent = (rounded >>> 23) - 112;
  if (exponent > 30) throw new Error(`${x} is no f16`);
  return ((bits[0]! >>> 16) & 0x8000) | (exponent < 1 ? 0 : (rounded >>> 13) - (112 << 10));
}

/** The nearest f16. */
export function f16(x: number): number {
  const half = f16Bits(x);
  bits[0] = ((half & 0x8000) << 16) | ((half & 0x7fff) === 0 ? 0 : ((half & 0x7fff) + (112 << 10)) << 13);
  return float[0]!;
}
