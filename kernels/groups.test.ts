import { describe, expect, it } from "vitest";
import { activationBytes } from "../engine/compute/kernels.js";
import { groupedProduct, quantizeGroups } from "../engine/numerics.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

// The wide tier has no kernel of its own for groups, and is never asked for one.
describe.each(TIERS.filter((tier) => tier !== "wide"))("ternary products with scales in groups, bit for bit, %s", (tier) => {
  it.each([
    [64, 64],
    [64, 200],
    [128, 1280],
    [256, 512],
    [64, 3072],
  ])("groups of %i in rows of %i", (group, n) => {
    const rows = 8;
    const columns = 3;
    const kPad = Math.ceil(n / group) * group;
    const groups = kPad / group;
    const codes = Uint8Array.from(noise(rows * n, n), (v) => (v < -0.3 ? 0 : v < 0.3 ? 1 : 2));
    codes.fill(2, 0, n); // the extremes
    codes.fill(0, n, 2 * n);
    const scales = noise(rows * groups, 5).map((v) => Math.abs(v));
    scales[3] = 0;
    const input = noise(columns * n, 9);
    input.fill(1, 0, n);
    input.subarray(n, 2 * n).fill(0, 0, Math.min(group, n)); // a group without anything in it
    for (const activations of ["int8", "float"] as const) {
      const bench = new Bench(tier, 1 << 20);
      const { kernels } = bench;
      const wide = activations === "float" ? 1 : 0;
      const packed = bench.take((rows * kPad) / 4);
      const row = bench.take(kPad);
      const packedScales = bench.take(rows * groups * 4);
      for (let r = 0; r < rows; r++) {
        bench.u8(row, kPad).fill(0);
        bench.u8(row, n).set(codes.subarray(r * n, (r + 1) * n));
        kernels.packRow(packed + Math.floor(r / 4) * kPad, r % 4, row, kPad);
        for (let g = 0; g < groups; g++) {
          bench.f32(packedScales + ((Math.floor(r / 4) * groups + g) * 4 + (r % 4)) * 4, 1)[0] = scales[r * groups + g]!;
        }
      }
      const xStride = kPad * activationBytes(tier, activations);
      const x = bench.take(columns * xStride);
      const meta = bench.take(columns * groups * 8);
      for (let c = 0; c < columns; c++) {
        const at = bench.put(input.subarray(c * n, (c + 1) * n));
        bench.u8(x + c * xStride, xStride).fill(99);
        kernels.quantizeGroups(x + c * xStride, meta + c * groups * 8, at, n, kPad, group, wide);
      }
      const y = bench.take(columns * rows * 4);
      kernels.ternaryGroups(packed, packedScales, rows, kPad, group, wide, x, xStride, meta, groups * 8, columns, y, rows * 4);
      const weights = Int8Array.from(codes, (code) => code - 1);
      const right = Float32Array.from({ length: columns * rows }, (_, i) => {
        const c = Math.floor(i / rows);
        const quantised = quantizeGroups(input.subarray(c * n, (c + 1) * n), n, group, activations);
        return groupedProduct(weights, (i % rows) * n, scales, (i % rows) * groups, group, quantised);
      });
      expect(bitsOf(bench.f32(y, right.length))).toEqual(bitsOf(right));
    }
  });
});

it("15 bits are nearly what was there: an error of at most half a step of each group", () => {
  const n = 256;
  const x = noise(n, 1).map((v, i) => v * 10 ** (Math.floor(i / 64) * 3 - 4));
  const { values, scales } = quantizeGroups(x, n, 64, "float");
  for (const [i, q] of values.entries()) expect(Math.abs(q * scales[i >> 6]! - x[i]!)).toBeLessThanOrEqual(0.501 * scales[i >> 6]!);
  expect(Math.max(...values)).toBeLessThanOrEqual(16319);
});
