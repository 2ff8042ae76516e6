import { describe, expect, it } from "vitest";
import { scanScratch } from "../engine/compute/kernels.js";
import { scanLevels } from "../engine/network/head.js";
import { Bench, noise, TIERS } from "./harness.test.helper.js";

/** Lays rows of codes out as `packScan` does: byte 64b + 16i + j of a group = row i, column 16b + j. */
function lay(codes: Int8Array, rows: number, n: number): Int8Array {
  return Int8Array.from({ length: rows * n }, (_, at) => {
    const [group, within] = [Math.floor(at / (4 * n)), at % (4 * n)];
    return codes[(4 * group + Math.floor((within % 64) / 16)) * n + 16 * Math.floor(within / 64) + (within % 16)]!;
  });
}

describe.each(TIERS)("the scan of the output head, %s", (tier) => {
  it.each([
    [4, 16],
    [8, 48],
    [12, 64],
    [128, 2560],
  ])("%i rows of %i columns: every sum is exact, of any number of states, at the extremes too", (rows, n) => {
    const bench = new Bench(tier, 1 << 20);
    const levels = scanLevels(n);
    const random = noise(rows * n, n);
    // Two rows and three states with the largest sums there are, of both signs.
    const codes = Int8Array.from(random, (value, i) => (i < n ? 127 : i < 2 * n ? -127 : Math.round(127 * value)));
    const columns = 9;
    const states = Array.from({ length: columns }, (_, c) =>
      Int16Array.from(noise(n, c + 1), (value, i) =>
        c === 0 ? levels : c === 3 ? -levels : c === 8 ? (i % 2 ? levels : 0) : Math.round(levels * value),
      ),
    );
    const [at, scales, y] = [bench.take(rows * n), bench.take(rows * 4), bench.take(columns * rows * 4)];
    const xStride = Math.ceil((2 * n) / 64) * 64 + 64;
    const [x, scratch] = [bench.take(columns * xStride), bench.take(scanScratch(n))];
    bench.u8(at, rows * n).set(new Uint8Array(lay(codes, rows, n).buffer));
    const rowScales = bench.f32(scales, rows);
    rowScales.set(noise(rows, 7));
    const steps = noise(columns, 8);
    for (const [c, state] of states.entries()) {
      bench.u8(x + c * xStride, 2 * n).set(new Uint8Array(state.buffer));
      bench.f32(x + c * xStride + xStride - 64, 1)[0] = steps[c]!;
    }
    const expected = states.map((state, c) =>
      Float32Array.from({ length: rows }, (_, row) => {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += codes[row * n + i]! * state[i]!;
        return Math.fround(Math.fround(sum) * steps[c]!) * rowScales[row]!;
      }),
    );
    for (const [first, count] of [
      [0, 9],
      [0, 1],
      [1, 2],
      [3, 3],
      [5, 4],
    ] as const) {
      const out = bench.f32(y, columns * rows);
      out.fill(Number.NaN);
      const from = x + first * xStride;
      bench.kernels.scan(at, scales, rows, n, from, xStride, from + xStride - 64, count, y, rows * 4, scratch);
      for (let c = 0; c < count; c++) expect(out.slice(c * rows, (c + 1) * rows)).toEqual(expected[first + c]);
      expect(out.subarray(count * rows).every(Number.isNaN)).toBe(true);
    }
  });
});
