import { describe, expect, it } from "vitest";
import { readCounters } from "../engine/compute/counters.js";
import { columnBlock, listBytes, sparseScratch, tileColumnBytes, tileRows } from "../engine/compute/kernels.js";
import { outputFactor, quantize } from "../engine/numerics.js";
import { Bench, bitsOf, noise, TIERS } from "./harness.test.helper.js";

const SCALE = Math.fround(0.0172);
const random = noise(200 * 6912, 11);

/** Codes by row and column. */
const CODES: readonly (readonly [string, (row: number, column: number, k: number) => number])[] = [
  ["all +1", () => 2],
  ["all −1", () => 0],
  ["random", (row, column, k) => Math.floor((random[(row * k + column) % random.length]! + 1) * 1.5)],
];

/** Quantised activations by column. */
const ACTIVATIONS: readonly (readonly [string, (column: number, k: number) => number])[] = [
  ["all 0", () => 0],
  ["one", (column, k) => (column === k - 1 ? -3 : 0)],
  ["one, the first", (column) => (column === 0 ? 127 : 0)],
  ["a third", (column) => (random[column]! > 0.33 ? Math.round(random[column + 1]! * 127) : 0)],
  ["a third, all 127", (column) => (column % 3 === 0 ? 127 : 0)],
  ["a third, all −128", (column) => (column % 3 === 1 ? -128 : 0)],
  ["a third, together", (column, k) => (column < k / 3 ? 127 : 0)],
  ["a few", (column) => (column % 41 === 5 ? (column % 2 ? 64 : -64) : 0)],
  ["none 0, all 127", () => 127],
  ["none 0, all −128", () => -128],
  ["none 0", (column) => (column % 127) + 1],
];

function run(bench: Bench, rows: number, k: number, codes: Uint8Array, xs: readonly Int8Array[]): Float32Array[] {
  const { kernels, tier } = bench;
  const block = columnBlock(tier);
  const kPad = Math.ceil(k / block) * block;
  const ofTile = tileRows(tier);
  const whole = Math.ceil(rows / ofTile) * ofTile;
  const all = new Uint8Array(whole * k).fill(2); // what fills the last tile must not matter
  all.set(codes);
  const weights = bench.packedRows(all, whole, k, kPad);
  const columns = xs.length;
  const scratch = bench.take(sparseScratch(tier, columns, kPad));
  for (let row = 0; row < whole; row += ofTile) kernels.turnTile!(weights + (row / 4) * kPad, weights + (row / 4) * kPad, kPad, scratch);
  const x = bench.take(columns * kPad);
  const meta = bench.take(columns * 8);
  const lists = bench.take(columns * listBytes(kPad));
  for (const [c, values] of xs.entries()) {
    bench.u8(x + c * kPad, kPad).fill(0);
    new Int8Array(bench.memory.buffer, x + c * kPad, k).set(values);
    new Int32Array(bench.memory.buffer, meta + c * 8, 1)[0] = values.reduce((sum, value) => sum + value, 0);
    bench.f32(meta + c * 8 + 4, 1)[0] = c + 0.3;
    const list = lists + c * listBytes(kPad);
    bench.u8(list, listBytes(kPad)).fill(0xff);
    kernels.listColumns!(list, x + c * kPad, kPad, tileColumnBytes(tier));
    expect(bench.u32(list, 1)[0]).toBe(values.reduce((count, value) => count + (value === 0 ? 0 : 1), 0));
  }
  const y = bench.take(columns * rows * 4);
  bench.f32(y, columns * rows).fill(Number.NaN);
  const behind = bench.take(64);
  bench.u8(behind, 64).fill(7);
  kernels.ternarySparse!(weights, rows, kPad, SCALE, meta, columns, y, rows * 4, scratch, lists, listBytes(kPad));
  expect(bench.u8(behind, 64).every((byte) => byte === 7)).toBe(true);
  return xs.map((_, c) => bench.f32(y + c * rows * 4, rows).slice());
}

/** Integer sums by a loop, then the one rounding. */
function expected(rows: number, k: number, codes: Uint8Array, x: Int8Array, most: number): Float32Array {
  return Float32Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let i = 0; i < k; i++) sum += (codes[row * k + i]! - 1) * x[i]!;
    return sum * outputFactor(SCALE, most);
  });
}

describe.each(TIERS.filter((tier) => tier !== "plain"))("ternary product of what isn't 0, %s", (tier) => {
  // One tile and a part of one, of either form; sections that are whole, broken and alone.
  it.each([
    [4, 100],
    [64, 1024],
    [76, 1100],
    [128, 2560],
    [196, 6912],
  ])("%i rows, K = %i: equals the scalar loop's, bit for bit", (rows, k) => {
    for (const [name, code] of CODES) {
      const codes = Uint8Array.from({ length: rows * k }, (_, i) => code(Math.floor(i / k), i % k, k));
      const xs = ACTIVATIONS.map(([, activation]) => Int8Array.from({ length: k }, (_, column) => activation(column, k)));
      const got = run(new Bench(tier, 3 << 20), rows, k, codes, xs);
      for (const [c, y] of got.entries()) {
        const most = Math.fround(c + 0.3);
        expect(bitsOf(y), `${name}, ${ACTIVATIONS[c]![0]}`).toEqual(bitsOf(expected(rows, k, codes, xs[c]!, most)));
      }
    }
  });

  it("quantised rows give what the dense product gives", () => {
    const [rows, k] = [64, 1152];
    const codes = Uint8Array.from({ length: rows * k }, (_, i) => (i * 7) % 3);
    const x = Float32Array.from({ length: k }, (_, i) => Math.max(random[i]!, 0) ** 4 * random[i + 7]!);
    const { values } = quantize(x, k);
    const right = expected(rows, k, codes, Int8Array.from(values), Math.fround(0.3));
    expect(run(new Bench(tier, 1 << 20), rows, k, codes, [Int8Array.from(values)]).map(bitsOf)).toEqual([bitsOf(right)]);
  });

  it("a lone row of activations: the same", () => {
    const [rows, k] = [132, 1100];
    const codes = Uint8Array.from({ length: rows * k }, (_, i) => (i * 2654435761) % 3);
    for (const [name, activation] of ACTIVATIONS) {
      const x = Int8Array.from({ length: k }, (_, column) => activation(column, k));
      const [alone] = run(new Bench(tier, 1 << 20), rows, k, codes, [x]);
      expect(bitsOf(alone!), name).toEqual(bitsOf(expected(rows, k, codes, x, Math.fround(0.3))));
    }
  });

  it("counts the products that it leaves out, without what rows are padded by", () => {
    const [rows, k] = [200, 1100];
    const codes = Uint8Array.from({ length: rows * k }, (_, i) => i % 3);
    const sparse = ACTIVATIONS[3]![1];
    const xs = [sparse, sparse, () => 0].map((activation) => Int8Array.from({ length: k }, (_, column) => activation(column, k)));
    const zeros = xs.reduce((count, x) => count + x.filter((value) => value === 0).length, 0);
    const bench = new Bench(tier, 2 << 20);
    run(bench, rows, k, codes, xs);
    expect(readCounters(bench.memory, 0, 1, k)).toMatchObject({ sparseProducts: 3 * rows * k, skippedProducts: rows * zeros });
    // Where nothing is 0, nothing is left out.
    run(bench, rows, k, codes, [new Int8Array(k).fill(1)]);
    expect(readCounters(bench.memory, 0, 1, k)).toMatchObject({ sparseProducts: 4 * rows * k, skippedProducts: rows * zeros });
  });
});
