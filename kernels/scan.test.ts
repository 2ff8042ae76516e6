import { describe, expect, it } from "vitest";
import { isWide, SCAN_BLOCK, scanScratch } from "../engine/compute/kernels.js";
import { scanLevels } from "../engine/network/head.js";
import { Bench, noise, TIERS } from "./harness.test.helper.js";

/** Lays codes of 8 bits out as scan-codes.ts says: their upper bits, and their lower bits. */
function lay(codes: Int8Array, rows: number, n: number, wide: boolean): { upper: Uint8Array; lower: Uint8Array } {
  const blocks = Math.ceil(n / 128);
  const upper = new Uint16Array(rows * blocks * 48);
  const lower = new Uint16Array(rows * blocks * 16);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < 128 * blocks; column++) {
      const code = column < n ? codes[row * n + column]! : 0;
      const [u, low] = [(code >> 2) + 32, code & 3];
      const [block, lane] = [row * blocks + (column >> 7), column & 7];
      const i = (column >> (wide ? 4 : 3)) & 7;
      const word = (w: number): number => block * 48 + (wide ? 16 * w + 8 * ((column >> 3) & 1) : 24 * ((column >> 6) & 1) + 8 * w) + lane;
      const parts: [number, number][] = [];
      if (i < 6) parts.push([i >> 1, u << (6 * (i & 1))]);
      if (i === 6) parts.push([0, (u & 15) << 12], [1, (u >> 4) << 12]);
      if (i === 7) parts.push([1, (u & 3) << 14], [2, (u >> 2) << 12]);
      for (const [w, bits] of parts) upper[word(w)]! |= bits;
      lower[block * 16 + 8 * ((column >> 3) & 1) + lane]! |= low << (2 * ((column >> 4) & 7));
    }
  }
  return { upper: new Uint8Array(upper.buffer), lower: new Uint8Array(lower.buffer) };
}

const { fround } = Math;

describe.each(TIERS)("the scan of the output head, %s", (tier) => {
  it.each([
    [4, 16],
    [8, 144],
    [12, 256],
    [128, 2560],
  ])("%i rows of %i columns: every sum is exact, of any number of states, at the extremes too", (rows, n) => {
    const bench = new Bench(tier, 1 << 20);
    const levels = scanLevels(n);
    const kPad = Math.ceil(n / SCAN_BLOCK) * SCAN_BLOCK;
    const random = noise(rows * n, n);
    // Two rows and three states with the largest sums there are, of both signs.
    const codes = Int8Array.from(random, (value, i) => (i < n ? 127 : i < 2 * n ? -127 : Math.round(127 * value)));
    const columns = 9;
    const states = Array.from({ length: columns }, (_, c) =>
      Int16Array.from(noise(n, c + 1), (value, i) =>
        c === 0 ? levels : c === 3 ? -levels : c === 8 ? (i % 2 ? levels : 0) : Math.round(levels * value),
      ),
    );
    const { upper, lower } = lay(codes, rows, n, isWide(tier));
    const [at, low, scales, y] = [bench.take(upper.length), bench.take(lower.length), bench.take(rows * 4), bench.take(columns * rows * 4)];
    const xStride = 2 * kPad + 64;
    const [x, scratch] = [bench.take(columns * xStride), bench.take(scanScratch(kPad))];
    bench.u8(at, upper.length).set(upper);
    bench.u8(low, lower.length).set(lower);
    const rowScales = bench.f32(scales, rows);
    rowScales.set(noise(rows, 7));
    const steps = noise(columns, 8);
    const middles = states.map((state) => fround(1.5 * state.reduce((sum, value) => sum + value, 0)));
    for (const [c, state] of states.entries()) {
      bench.u8(x + c * xStride, 2 * n).set(new Uint8Array(state.buffer));
      const meta = x + c * xStride + 2 * kPad;
      bench.f32(meta, 1)[0] = steps[c]!;
      new Int32Array(bench.memory.buffer, meta + 12, 1)[0] = 32 * state.reduce((sum, value) => sum + value, 0);
      bench.f32(meta + 16, 1)[0] = middles[c]!;
    }
    const expected = states.map((state, c) =>
      Float32Array.from({ length: rows }, (_, row) => {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += (codes[row * n + i]! >> 2) * state[i]!;
        return fround(fround(fround(4 * fround(sum)) + middles[c]!) * steps[c]!) * rowScales[row]!;
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
      bench.kernels.scan(at, scales, rows, kPad, from, xStride, from + xStride - 64, count, y, rows * 4, scratch);
      for (let c = 0; c < count; c++) expect(out.slice(c * rows, (c + 1) * rows)).toEqual(expected[first + c]);
      expect(out.subarray(count * rows).every(Number.isNaN)).toBe(true);
    }

    // With all bits of the codes, for some rows.
    const some = Array.from({ length: rows }, (_, row) => row).filter((row) => row < 3 || row % 5 === 0);
    const [ids, errors, lowerBounds, upperBounds] = [0, 1, 2, 3].map(() => bench.take(rows * 4)) as [number, number, number, number];
    new Uint32Array(bench.memory.buffer, ids, some.length).set(some);
    bench.f32(errors, rows).set(noise(rows, 9));
    for (const [c, state] of states.entries()) {
      bench.f32(y, rows).set(expected[c]!);
      for (const out of [lowerBounds, upperBounds]) bench.f32(out, rows).fill(Number.NaN);
      const [perError, perScale, slack] = [0.5, 0.25, 0.125];
      const [from, meta] = [x + c * xStride, x + c * xStride + 2 * kPad];
      bench.kernels.refine(lowerBounds, upperBounds, ids, some.length, low, scales, errors, from, meta, kPad, y, perError, perScale, slack);
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += (codes[row * n + i]! & 3) * state[i]!;
        const scale = rowScales[row]!;
        const logit = fround(expected[c]![row]! + fround(fround(fround(fround(sum) - middles[c]!) * steps[c]!) * scale));
        const bound = fround(fround(fround(perError * bench.f32(errors, rows)[row]!) + fround(perScale * scale)) + slack);
        const wanted = some.includes(row) ? [fround(logit - bound), fround(logit + bound)] : [Number.NaN, Number.NaN];
        expect([bench.f32(lowerBounds, rows)[row], bench.f32(upperBounds, rows)[row]]).toEqual(wanted);
      }
    }
  });
});
