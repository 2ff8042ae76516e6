import { describe, expect, it } from "vitest";
import { readCounters } from "../engine/compute/counters.js";
import { columnBlock, listBytes, sparseScratch, ternaryScratch, tileColumnBytes } from "../engine/compute/kernels.js";
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

/** @param edit what becomes of each list before the product */
function run(
  bench: Bench,
  rows: number,
  k: number,
  codes: Uint8Array,
  xs: readonly Int8Array[],
  edit?: (list: Uint32Array) => void,
): Float32Array[] {
  const { kernels, tier } = bench;
  const block = columnBlock(tier);
  const kPad = Math.ceil(k / block) * block;
  const weights = bench.packedRows(codes, rows, k, kPad);
  const columns = xs.length;
  const x = bench.take((columns + 1) * kPad);
  const meta = bench.take((columns + 1) * 8);
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
    edit?.(bench.u32(list, listBytes(kPad) / 4));
  }
  const y = bench.take((columns + 1) * rows * 4);
  bench.f32(y, (columns + 1) * rows).fill(Number.NaN);
  const scratch = bench.take(Math.max(ternaryScratch(kPad), sparseScratch(columns)));
  kernels.ternarySparse!(weights, rows, kPad, SCALE, x, kPad, meta, columns, y, rows * 4, scratch, lists, listBytes(kPad));
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
      const short = (list: Uint32Array) => void list.fill(0, 0, 1); // says so, however long it is
      const got = run(new Bench(tier, 3 << 20), rows, k, codes, xs, short);
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

  it("leaves long lists to the dense product", () => {
    const [rows, k] = [128, 1024];
    const codes = Uint8Array.from({ length: rows * k }, (_, i) => i % 3);
    for (const [every, dense] of [
      [1, true],
      [3, false],
    ] as const) {
      const x = Int8Array.from({ length: k }, (_, i) => (i % every === 0 ? (i % 200) - 100 || 1 : 0));
      // Nothing is in the lists but how long they are: only the dense product, which doesn't read them, comes to the right sums.
      const got = run(new Bench(tier, 1 << 20), rows, k, codes, [x, x], (list) => void list.fill(0, 1));
      const right = bitsOf(expected(rows, k, codes, x, Math.fround(0.3)));
      if (dense) expect(bitsOf(got[0]!)).toEqual(right);
      else expect(bitsOf(got[0]!)).not.toEqual(right);
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
    // The dense product leaves nothing out.
    run(bench, rows, k, codes, [new Int8Array(k).fill(1)]);
    expect(readCounters(bench.memory, 0, 1, k)).toMatchObject({ sparseProducts: 4 * rows * k, skippedProducts: rows * zeros });
  });
});
