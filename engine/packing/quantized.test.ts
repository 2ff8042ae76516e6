/** Quantised tables: each element against the formula of its format, and against numbers that were coded into it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { floatBytes, readFloats } from "./dense.js";

const ELEMENTS = { Q8_0: 32, Q4_0: 32, Q6_K: 256, Q4_K: 256, Q2_0: 64, Q2_0_128: 128, PTQ1_0: 128, Q1_0: 128 } as const;
type Type = keyof typeof ELEMENTS;
const TYPES = Object.keys(ELEMENTS) as Type[];
/** Bytes of the f16 numbers of a block. */
const SCALES_AT: Readonly<Record<Type, readonly number[]>> = {
  ...{ Q8_0: [0], Q4_0: [0], Q6_K: [208], Q4_K: [0, 2] },
  ...{ Q2_0: [0], Q2_0_128: [0], PTQ1_0: [26], Q1_0: [0] },
};

const half = (bytes: Uint8Array, at: number): number => {
  const out = new Float32Array(1);
  readFloats("F16", bytes.subarray(at), out, 1);
  return out[0]!;
};
const int8 = (byte: number): number => (byte < 128 ? byte : byte - 256);

/** Element i of one block, from bits alone: where ggml's loops put it, turned round into a formula of i. Exact in f64. */
function element(type: Type, block: Uint8Array, i: number): number {
  const d = half(block, SCALES_AT[type][0]!);
  if (type === "Q8_0") return d * int8(block[2 + i]!);
  if (type === "Q4_0") return d * (Math.floor(block[2 + (i % 16)]! / (i < 16 ? 1 : 16)) % 16) - 8 * d;
  if (type.startsWith("Q2_0")) return d * (Math.floor(block[2 + Math.floor(i / 4)]! / 4 ** (i % 4)) % 4) - d;
  if (type === "Q1_0") return d * (2 * (Math.floor(block[2 + Math.floor(i / 8)]! / 2 ** (i % 8)) % 2) - 1);
  if (type === "PTQ1_0") {
    const [byte, digit] =
      i < 80
        ? [i % 16, Math.floor(i / 16)]
        : i < 120
          ? [16 + (i % 8), Math.floor((i - 80) / 8)]
          : [24 + (i % 2), Math.floor((i - 120) / 2)];
    return d * (Math.floor((((block[byte]! * 3 ** digit) % 256) * 3) / 256) - 1);
  }
  if (type === "Q4_K") {
    // The 12 bytes as 96 bits, lowest first: where ggml's comment draws the 6 bits of each scale and minimum.
    const bit = (n: number): number => Math.floor(block[4 + Math.floor(n / 8)]! / 2 ** (n % 8)) % 2;
    const number = (bits: readonly number[]): number => bits.reduce((sum, n, k) => sum + bit(n) * 2 ** k, 0);
    const run = (from: number, count: number): number[] => Array.from({ length: count }, (_, k) => from + k);
    const j = Math.floor(i / 32);
    const scale = number(j < 4 ? run(8 * j, 6) : [...run(64 + 8 * (j - 4), 4), ...run(8 * (j - 4) + 6, 2)]);
    const least = number(j < 4 ? run(32 + 8 * j, 6) : [...run(68 + 8 * (j - 4), 4), ...run(32 + 8 * (j - 4) + 6, 2)]);
    const code = Math.floor(block[16 + 32 * Math.floor(i / 64) + (i % 32)]! / (i % 64 < 32 ? 1 : 16)) % 16;
    return d * scale * code - half(block, 2) * least;
  }
  const [side, quarter, p] = [Math.floor(i / 128), Math.floor(i / 32) % 4, i % 32];
  const low = Math.floor(block[64 * side + (quarter % 2) * 32 + p]! / (quarter < 2 ? 1 : 16)) % 16;
  const high = Math.floor(block[128 + 32 * side + p]! / 4 ** quarter) % 4;
  return d * int8(block[192 + Math.floor(i / 16)]!) * (16 * high + low - 32);
}

/** Blocks of any bytes but with finite scales. */
const blocks = (type: Type): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: floatBytes(type, ELEMENTS[type]), maxLength: floatBytes(type, ELEMENTS[type]) }).map((bytes) => {
    for (const at of SCALES_AT[type]) bytes[at + 1]! &= 0xbf;
    return bytes;
  });

describe.each(TYPES)("%s", (type) => {
  const n = ELEMENTS[type];

  test("every element of any block is the f32 nearest to its formula, to the sign of a zero", () => {
    fc.assert(
      fc.property(blocks(type), blocks(type), (first, second) => {
        const out = new Float32Array(2 * n);
        readFloats(type, new Uint8Array([...first, ...second]), out, 2 * n);
        for (const [b, block] of [first, second].entries()) {
          for (let i = 0; i < n; i++) {
            // A formula that ends in a difference loses the sign of a zero, which no sum notices.
            const right = Math.fround(element(type, block, i));
            if (/^Q[24]_0/.test(type) && right === 0) expect(Math.abs(out[b * n + i]!)).toBe(0);
            else expect(out[b * n + i]).toBe(right);
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  test("a scale that is infinite or no number shows in the numbers", () => {
    for (const bits of [0x7c00, 0xfc00, 0x7e00]) {
      for (const at of SCALES_AT[type]) {
        const bytes = new Uint8Array(floatBytes(type, n)).fill(0x11);
        bytes.set([bits & 255, bits >> 8], at);
        const out = new Float32Array(n);
        readFloats(type, bytes, out, n);
        expect(out.some((value) => Number.isFinite(value))).toBe(false);
      }
    }
  });
});

// The fork's own encoder wrote these.
test.each([
  ["Q2_0_128", `0037${"244992".repeat(10)}2449`],
  ["PTQ1_0", `${"3194bb".repeat(5)}31cf456ccf456ccf45436c0037`],
])("%s: a block written out by hand", (type, hex) => {
  const block = Buffer.from(hex, "hex"); // 7j + 3 modulo 3, less 1, times 0.4375
  const out = new Float32Array(128);
  readFloats(type, block, out, 128);
  expect([...out]).toEqual(Array.from({ length: 128 }, (_, j) => (((7 * j + 3) % 3) - 1) * 0.4375));
});

test("bytes of whole blocks", () => {
  expect(floatBytes("Q8_0", 64)).toBe(68);
  expect(floatBytes("Q4_0", 64)).toBe(36);
  expect(floatBytes("Q6_K", 512)).toBe(420);
});

test.each(TYPES)("%s: nothing is written behind what was asked for", (type) => {
  const count = 2 * ELEMENTS[type];
  const out = new Float32Array(count + 256).fill(7);
  readFloats(type, new Uint8Array(floatBytes(type, count)).fill(0x11), out, count);
  expect(out.subarray(count)).toEqual(new Float32Array(256).fill(7));
  expect(out.subarray(0, count)).not.toContain(7);
});
