import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { philox4x32, uniform } from "./rng.js";

describe("philox4x32", () => {
  // Random123's kat_vectors, "philox4x32 10".
  test.each([
    [[0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    [[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], "d16cfe09 94fdcceb 5001e420 24126ea1"],
  ])("gives the published answer for %j %j", (counter, key, answer) => {
    const hex = philox4x32(counter, key).map((word) => word.toString(16).padStart(8, "0"));
    expect(hex.join(" ")).toBe(answer);
  });

  test("is the definition in BigInt arithmetic", () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(fc.tuple(u32, u32, u32, u32), fc.tuple(u32, u32), (counter, key) => {
        let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
        let [k0, k1] = key.map(BigInt) as [bigint, bigint];
        const mask = 0xffffffffn;
        for (let i = 0; i < 10; i++) {
          const p0 = 0xd2511f53n * c0;
          const p1 = 0xcd9e8d57n * c2;
          [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & mask, (p0 >> 32n) ^ c3 ^ k1, p0 & mask];
          k0 = (k0 + 0x9e3779b9n) & mask;
          k1 = (k1 + 0xbb67ae85n) & mask;
        }
        expect(philox4x32(counter, key)).toEqual([c0, c1, c2, c3].map(Number));
      }),
      { numRuns: 300 },
    );
  });
});

describe("uniform", () => {
  test("is 53 bits of the block whose counter is the index and whose key is the seed, low words first", () => {
    const words = (n: number): [number, number] => [Number(BigInt(n) & 0xffffffffn), Number(BigInt(n) >> 32n)];
    for (const [seed, index] of [
      [0, 0],
      [42, 7],
      [1, 2 ** 32],
      [2 ** 53 - 1, 2 ** 40 + 3],
      [2 ** 32 + 9, 2 ** 31],
    ] as const) {
      const [high, low] = philox4x32([...words(index), 0, 0], words(seed)).map(BigInt) as [bigint, bigint];
      expect(uniform(seed, index)).toBe(Number(((high >> 5n) << 26n) | (low >> 6n)) / 2 ** 53);
    }
  });
  test("uses all bits of seed and index", () => {
    const values = new Set<number>();
    for (const big of [0, 1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 52, 2 ** 53 - 1]) {
      values.add(uniform(big, 5));
      values.add(uniform(5, big));
    }
    expect(values.size).toBe(14);
  });
  test("is spread evenly and does not hang on its neighbour", () => {
    const draws = 64_000;
    const cells = new Uint32Array(64); // 8 ranges of one draw × 8 of the next
    let previous = uniform(7, 0);
    for (let i = 1; i <= draws; i++) {
      const value = uniform(7, i);
      expect(value >= 0 && value < 1).toBe(true);
      cells[Math.floor(previous * 8) * 8 + Math.floor(value * 8)]!++;
      previous = value;
    }
    const chi2 = cells.reduce((sum, n) => sum + (n - draws / 64) ** 2 / (draws / 64), 0);
    expect(chi2).toBeLessThan(103.4); // 63 degrees of freedom, p = 0.001
  });
});
