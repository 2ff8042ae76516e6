import { describe, expect, it } from "vitest";
import { activationBytes, GROUPS_SCRATCH, rowGroup } from "../engine/compute/kernels.js";
import { groupedProduct, quantizeGroups } from "../engine/numerics.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

describe.each(TIERS)("ternary products with scales in groups, bit for bit, %s", (tier) => {
  it.each([
    [64, 64],
    [64, 200],
    [128, 1280],
    [256, 512],
    [64, 3072],
  ])("groups of %i in rows of %i", (group, n) => {
    for (const [rows, columns] of [
      [8, 3],
      [16, 1],
      [36, 2],
      [20, 1],
      [4, 9],
      [32, 64],
    ] as const)
      compare(group, n, rows, columns);
  });

  function compare(group: number, n: number, rows: number, columns: number): void {
    const kPad = Math.ceil(n / group) * group;
    const groups = kPad / group;
    const codes = Uint8Array.from(noise(rows * n, n), (v) => (v < -0.3 ? 0 : v < 0.3 ? 1 : 2));
    codes.fill(2, 0, n); // the extremes
    codes.fill(0, n, 2 * n);
    const inGroup = rowGroup(tier, true);
    const packedRows = Math.ceil(rows / inGroup) * inGroup;
    const scales = noise(rows * groups, 5).map((v) => Math.abs(v));
    scales[3] = 0;
    const input = noise(columns * n, 9);
    input.fill(1, 0, n);
    if (columns > 1) input.fill(-1, (columns - 1) * n);
    if (columns > 2) input.subarray(n, 2 * n).fill(0, 0, Math.min(group, n)); // a group without anything in it
    for (const activations of ["int8", "float"] as const) {
      const bench = new Bench(tier, 1 << 21);
      const { kernels } = bench;
      const wide = activations === "float" ? 1 : 0;
      const packed = bench.take((packedRows * kPad) / 4);
      const row = bench.take(kPad);
      const packedScales = bench.take(packedRows * groups * 4);
      for (let r = 0; r < rows; r++) {
        bench.u8(row, kPad).fill(0);
        bench.u8(row, n).set(codes.subarray(r * n, (r + 1) * n));
        (kernels.packLane ?? kernels.packRow)(packed + Math.floor(r / inGroup) * (inGroup / 4) * kPad, r % inGroup, row, kPad);
        for (let g = 0; g < groups; g++) {
          bench.f32(packedScales + ((Math.floor(r / inGroup) * groups + g) * inGroup + (r % inGroup)) * 4, 1)[0] = scales[r * groups + g]!;
        }
      }
      const column = group * activationBytes(tier, activations);
      const xGroup = (columns + 1) * column + 64;
      const metaGroup = (columns + 1) * 8;
      const x = bench.take(groups * xGroup);
      const meta = bench.take(groups * metaGroup);
      bench.u8(x, groups * xGroup).fill(99);
      for (let c = 0; c < columns; c++) {
        const at = bench.put(input.subarray(c * n, (c + 1) * n));
        kernels.quantizeGroups(x + c * column, xGroup, meta + c * 8, metaGroup, at, n, kPad, group, wide);
      }
      const yStride = (rows + 4) * 4; // what is behind a column's rows is another layer's
      const y = bench.take(columns * yStride);
      bench.f32(y, columns * (rows + 4)).fill(7);
      const scratch = bench.take(GROUPS_SCRATCH);
      kernels.ternaryGroups(packed, packedScales, rows, kPad, group, wide, x, xGroup, meta, metaGroup, columns, y, yStride, scratch);
      const weights = Int8Array.from(codes, (code) => code - 1);
      const quantised = Array.from({ length: columns }, (_, c) =>
        quantizeGroups(input.subarray(c * n, (c + 1) * n), n, group, activations),
      );
      const right = Float32Array.from({ length: columns * (rows + 4) }, (_, i) => {
        const r = i % (rows + 4);
        return r < rows ? groupedProduct(weights, r * n, scales, r * groups, group, quantised[Math.floor(i / (rows + 4))]!) : 7;
      });
      expect(bitsOf(bench.f32(y, right.length))).toEqual(bitsOf(right));
    }
  }
});

it("15 bits are nearly what was there: an error of at most half a step of each group", () => {
  const n = 256;
  const x = noise(n, 1).map((v, i) => v * 10 ** (Math.floor(i / 64) * 3 - 4));
  const { values, scales } = quantizeGroups(x, n, 64, "float");
  for (const [i, q] of values.entries()) expect(Math.abs(q * scales[i >> 6]! - x[i]!)).toBeLessThanOrEqual(0.501 * scales[i >> 6]!);
  expect(Math.max(...values)).toBeLessThanOrEqual(16319);
});
