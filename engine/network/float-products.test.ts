import fc from "fast-check";
import { expect, it } from "vitest";
import { floatProducts } from "./float-products.js";
import { type FloatProducts, scalarProducts, type TernaryMatrix } from "./reference-linear.js";

const products = floatProducts();

/** [inputs] of [rows] */
function ternary(by: FloatProducts, linear: TernaryMatrix, inputs: readonly Float32Array[]): Float32Array[] {
  const outs = inputs.map(() => new Float32Array(linear.rows).fill(Number.NaN));
  by.ternary(outs, linear, inputs);
  return outs;
}

function dense(by: FloatProducts, rows: number, table: Float32Array, inputs: readonly Float32Array[]): Float32Array[] {
  const outs = inputs.map(() => new Float32Array(rows).fill(Number.NaN));
  by.dense(outs, table, inputs);
  return outs;
}

const bits = (outs: readonly Float32Array[]): Uint32Array[] => outs.map((out) => new Uint32Array(out.buffer));

/** Any shape; floats of any size there is. */
const cases = fc
  .record({
    rows: fc.integer({ min: 1, max: 9 }),
    columns: fc.integer({ min: 1, max: 150 }),
    inputs: fc.integer({ min: 1, max: 9 }),
    group: fc.constantFrom(undefined, 4, 64, 128),
    perRow: fc.boolean(),
    seed: fc.integer(),
  })
  .map(({ rows, columns, inputs, group, perRow, seed }) => {
    let state = seed | 1;
    const random = (): number => {
      state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
      return (state >>> 0) / 2 ** 32;
    };
    const float = (): number => (random() - 0.5) * 2 ** Math.floor(random() * 60 - 30);
    const groups = group === undefined ? 1 : Math.ceil(columns / group);
    const linear: TernaryMatrix = {
      rows,
      columns,
      weights: Int8Array.from({ length: rows * columns }, () => Math.floor(random() * 3) - 1),
      scales: Float32Array.from({ length: perRow || group !== undefined ? rows * groups : 1 }, float),
      group: perRow && group === undefined ? columns : group,
    };
    const table = Float32Array.from({ length: rows * columns }, float);
    return { linear, table, inputs: Array.from({ length: inputs }, () => Float32Array.from({ length: columns }, float)) };
  });

it("are the scalar ones, to the bit", () => {
  fc.assert(
    fc.property(cases, ({ linear, table, inputs }) => {
      expect(bits(ternary(products, linear, inputs))).toEqual(bits(ternary(scalarProducts, linear, inputs)));
      expect(bits(dense(products, linear.rows, table, inputs))).toEqual(bits(dense(scalarProducts, linear.rows, table, inputs)));
    }),
    { numRuns: 300 },
  );
});

it("also where the weights come in several pieces", () => {
  const [rows, columns] = [150, 6912];
  const weights = Int8Array.from({ length: rows * columns }, (_, i) => ((i * 7) % 3) - 1);
  const inputs = Array.from({ length: 6 }, (_, i) => Float32Array.from({ length: columns }, (_, j) => Math.sin(i + j)));
  for (const [scales, group] of [
    [Float32Array.of(0.37), undefined],
    [Float32Array.from({ length: rows * 54 }, (_, i) => Math.cos(i)), 128],
  ] as const) {
    const linear = { rows, columns, weights, scales, group };
    expect(bits(ternary(products, linear, inputs))).toEqual(bits(ternary(scalarProducts, linear, inputs)));
  }
});

it("and tables in several pieces", () => {
  const [rows, columns] = [100, 2560];
  const table = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i));
  const inputs = Array.from({ length: 3 }, (_, i) => Float32Array.from({ length: columns }, (_, j) => Math.cos(i + j)));
  expect(bits(dense(products, rows, table, inputs))).toEqual(bits(dense(scalarProducts, rows, table, inputs)));
});

it("sum in f64: a sum that f32 would lose is right", () => {
  const linear = { rows: 1, columns: 8, weights: new Int8Array(8).fill(1), scales: Float32Array.of(1), group: undefined };
  const x = Float32Array.of(2 ** 40, 0, 0, 0, 1, -(2 ** 40), 0, 0);
  for (const by of [products, scalarProducts]) {
    expect(ternary(by, linear, [x])[0]![0]).toBe(1);
  }
});
