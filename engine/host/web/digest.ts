import type { Sha256 } from "../digest.js";

/** Prime numbers up to the 64th. */
const PRIMES = Array.from({ length: 312 }, (_, n) => n).filter(
  (n) => n > 1 && !Array.from({ length: n }, (_, d) => d).some((d) => d > 1 && n % d === 0),
);

/** The first 32 bits of the fraction of ⁿ√p, exactly: the whole number r with rⁿ ≤ p · 2^(32·n) < (r + 1)ⁿ, without its upper bits. */
function fraction(prime: number, n: bigint): number {
  const value = BigInt(prime) << (32n * n);
  let root = 0n;
  for (let bit = 1n << 36n; bit > 0n; bit >>= 1n) if ((root + bit) ** n <= value) root += bit;
  return Number(root & 0xffffffffn);
}

/** FIPS 180-4, 4.2.2 and 5.3.3. */
const K = Int32Array.from(PRIMES, (prime) => fraction(prime, 3n));
const START = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(prime, 2n));

const BLOCK = 64;

/** FIPS 180-4, 6.2: the browser's own, crypto.subtle, takes only whole messages and answers later. */
export function startSha256(): Sha256 {
  const state = START.slice();
  const words = new Int32Array(64);
  const rest = new Uint8Array(BLOCK);
  let inRest = 0;
  let total = 0;

  function take(bytes: Uint8Array): void {
    let at = 0;
    if (inRest > 0) {
      at = Math.min(BLOCK - inRest, bytes.length);
      rest.set(bytes.subarray(0, at), inRest);
      inRest += at;
      if (inRest < BLOCK) return;
      compress(state, words, rest, 0);
      inRest = 0;
    }
    for (; at + BLOCK <= bytes.length; at += BLOCK) compress(state, words, bytes, at);
    rest.set(bytes.subarray(at));
    inRest = bytes.length - at;
  }

  return {
    update(part) {
      take(new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
      total += part.byteLength;
    },
    hex() {
      const padding = new Uint8Array((inRest < BLOCK - 8 ? BLOCK : 2 * BLOCK) - inRest);
      padding[0] = 0x80;
      new DataView(padding.buffer).setBigUint64(padding.length - 8, 8n * BigInt(total));
      take(padding);
      return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
    },
  };
}

const rotate = (x: number, by: number): number => (x >>> by) | (x << (32 - by));

/** Takes the 64 bytes from `at` on. */
function compress(state: Int32Array, words: Int32Array, bytes: Uint8Array, at: number): void {
  for (let t = 0; t < 16; t++, at += 4) {
    words[t] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  }
  for (let t = 16; t < 64; t++) {
    const [x, y] = [words[t - 15]!, words[t - 2]!];
    const [small0, small1] = [rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3), rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10)];
    words[t] = words[t - 16]! + small0 + words[t - 7]! + small1;
  }
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  let e = state[4]!;
  let f = state[5]!;
  let g = state[6]!;
  let h = state[7]!;
  for (let t = 0; t < 64; t++) {
    const first = (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + K[t]! + words[t]!) | 0;
    const second = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + second) | 0;
  }
  state[0]! += a;
  state[1]! += b;
  state[2]! += c;
  state[3]! += d;
  state[4]! += e;
  state[5]! += f;
  state[6]! += g;
  state[7]! += h;
}
