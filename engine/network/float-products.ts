import { compileModule } from "../compute/tier.js";
import type { FloatProducts } from "./reference-linear.js";

/** The exports of kernels/assembly/products.ts; see there. */
interface Module {
  readonly memory: WebAssembly.Memory;
  products(
    w: number,
    rows: number,
    columns: number,
    scales: number,
    perRow: number,
    group: number,
    x: number,
    inputs: number,
    out: number,
  ): void;
  dots(table: number, rows: number, columns: number, x: number, inputs: number, out: number): void;
}

/** Bytes of weights that are handed over at a time: they stay in the cache while they are used. */
const PIECE = 2 ** 18;
const PAGE = 65536;

/** `scalarProducts` in WebAssembly: the same bits, several times as fast. Each has a small memory of its own. */
export function floatProducts(): FloatProducts {
  const { memory, products, dots } = new WebAssembly.Instance(compileModule("products")).exports as unknown as Module;

  /** Addresses of buffers of these lengths in bytes. */
  const place = (...lengths: readonly number[]): number[] => {
    let at = PAGE;
    const places = lengths.map((length) => {
      const place = at;
      at += 16 * Math.ceil(length / 16);
      return place;
    });
    const missing = at - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return places;
  };
  /** Copies rows of `columns` to where a row has `size`: what lies behind each stays. */
  const copy = <T extends Int8Array | Float32Array>(to: T, from: T, first: number, rows: number, columns: number, size: number): void => {
    if (size === columns) to.set(from.subarray(first * columns, (first + rows) * columns));
    else for (let row = 0; row < rows; row++) to.set(from.subarray((first + row) * columns, (first + row + 1) * columns), row * size);
  };

  return {
    ternary(outs, { rows, columns, weights, scales, group = columns }, inputs) {
      const size = 4 * Math.ceil(columns / 4);
      const step = Math.max(1, Math.min(rows, Math.floor(PIECE / size)));
      const perRow = scales.length === 1 ? 0 : Math.ceil(columns / group);
      const ofScales = perRow === 0 ? 1 : step * perRow;
      const at = place(8 * size * inputs.length, 8 * step * inputs.length, 4 * ofScales, step * size) as [number, number, number, number];
      const x = new Float64Array(memory.buffer, at[0], inputs.length * size).fill(0); // [inputs, size]
      const out = new Float64Array(memory.buffer, at[1], inputs.length * step); // [inputs, rows of the piece]
      const ownScales = new Float32Array(memory.buffer, at[2], ofScales); // [step, perRow]
      const w = new Int8Array(memory.buffer, at[3], step * size).fill(0); // [step, size]
      for (const [i, input] of inputs.entries()) x.set(input, i * size);
      if (perRow === 0) ownScales.set(scales);
      for (let first = 0; first < rows; first += step) {
        const count = Math.min(step, rows - first);
        copy(w, weights, first, count, columns, size);
        if (perRow > 0) ownScales.set(scales.subarray(first * perRow, (first + count) * perRow));
        products(at[3], count, size, at[2], perRow, group < columns ? group : size, at[0], inputs.length, at[1]);
        for (const [i, to] of outs.entries()) to.set(out.subarray(i * count, (i + 1) * count), first);
      }
    },
    dense(outs, table, inputs) {
      if (inputs.length === 0) return;
      const [rows, columns] = [outs[0]!.length, inputs[0]!.length];
      const size = 8 * Math.ceil(columns / 8);
      const step = Math.max(1, Math.min(rows, Math.floor(PIECE / (4 * size))));
      const at = place(4 * size * inputs.length, 4 * step * inputs.length, 4 * step * size) as [number, number, number];
      const x = new Float32Array(memory.buffer, at[0], inputs.length * size).fill(0); // [inputs, size]
      const out = new Float32Array(memory.buffer, at[1], inputs.length * step); // [inputs, rows of the piece]
      const w = new Float32Array(memory.buffer, at[2], step * size).fill(0); // [step, size]
      for (const [i, input] of inputs.entries()) x.set(input, i * size);
      for (let first = 0; first < rows; first += step) {
        const count = Math.min(step, rows - first);
        copy(w, table, first, count, columns, size);
        dots(at[2], count, size, at[0], inputs.length, at[1]);
        for (const [i, to] of outs.entries()) to.set(out.subarray(i * count, (i + 1) * count), first);
      }
    },
  };
}
