import { rotate } from "../hadamard.js";
import type { ModelConfig } from "../model/config.js";
import { dot8, groupedProduct, outputFactor, quantize, quantizeGroups, rmsNorm } from "../numerics.js";

/** A ternary matrix. */
export interface TernaryMatrix {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] −1, 0, 1 */
  readonly weights: Int8Array;
  /** f32: what 1 is worth in each group of columns, [rows][columns/group, rounded up]; one for all where there are no groups. */
  readonly scales: Float32Array;
  /** Columns that share a scale; undefined: the tensor has one. */
  readonly group: number | undefined;
}

/** A ternary layer. */
export interface ReferenceLinear extends TernaryMatrix {
  /** Its input is rotated by these, [columns] 1 or −1; undefined: it isn't. */
  readonly signs: Int8Array | undefined;
}

/** What the path without quantised activations multiplies with. Inputs and outputs are one a row of the batch, f32. */
export interface FloatProducts {
  /** out[row] = Σ w·scale·x, in f64, column i in lane i mod 4: no kernel that writes text computes it, so accuracy is all that counts. */
  ternary(outs: readonly Float32Array[], matrix: TernaryMatrix, inputs: readonly Float32Array[]): void;
  /** out[row] = Σ table·x, as `dot8`. @param table [out's length, x's length] */
  dense(outs: readonly Float32Array[], table: Float32Array, inputs: readonly Float32Array[]): void;
}

export const scalarProducts: FloatProducts = {
  ternary(outs, { rows, columns, weights, scales, group = columns }, inputs) {
    const perRow = scales.length === 1 ? 0 : Math.ceil(columns / group);
    const w = new Float64Array(columns);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < columns; i++) {
        w[i] = weights[row * columns + i]! * scales[row * perRow + (perRow === 0 ? 0 : Math.floor(i / group))]!;
      }
      for (const [input, x] of inputs.entries()) {
        const lanes = [0, 0, 0, 0];
        for (let i = 0; i < columns; i++) lanes[i % 4]! += x[i]! * w[i]!;
        outs[input]![row] = lanes[0]! + lanes[1]! + (lanes[2]! + lanes[3]!);
      }
    }
  },
  dense(outs, table, inputs) {
    for (const [input, x] of inputs.entries()) {
      for (let row = 0; row < outs[input]!.length; row++) outs[input]![row] = dot8(x, 0, table, row * x.length, x.length);
    }
  },
};

/** The products of a network, with the inputs of ternary layers quantised or as they are. */
export class ReferenceProducts {
  readonly #config: ModelConfig;
  readonly #activationQuant: boolean;
  readonly #products: FloatProducts;

  constructor(config: ModelConfig, activationQuant: boolean, products: FloatProducts) {
    this.#config = config;
    this.#activationQuant = activationQuant;
    this.#products = products;
  }

  /** out = Σ w·x · scale, for each row of inputs. @param given [rows] of [columns] @returns [rows] of [layer's rows], f32 */
  linear(layer: ReferenceLinear, given: readonly Float32Array[]): Float32Array[] {
    const { rows, columns, weights, scales, group, signs } = layer;
    const inputs = signs ? given.map((x) => rotate(x, signs, this.#config.rotation!.blockSize)) : given;
    const outs = inputs.map(() => new Float32Array(rows));
    if (!this.#activationQuant) {
      this.#products.ternary(outs, layer, inputs);
    } else if (group === undefined) {
      for (const [i, input] of inputs.entries()) {
        const { values, max } = quantize(input, columns);
        const factor = outputFactor(scales[0]!, max);
        for (let row = 0; row < rows; row++) outs[i]![row] = integerDot(values, weights, row * columns, columns) * factor;
      }
    } else {
      const perRow = Math.ceil(columns / group);
      for (const [i, input] of inputs.entries()) {
        const x = quantizeGroups(input, columns, group, this.#config.activations);
        for (let row = 0; row < rows; row++) outs[i]![row] = groupedProduct(weights, row * columns, scales, row * perRow, group, x);
      }
    }
    return outs;
  }

  /** A table's product with each row of inputs. @param table [n, columns] f32 @returns [rows] of [n], f32 */
  dense(table: Float32Array, n: number, inputs: readonly Float32Array[]): Float32Array[] {
    const outs = inputs.map(() => new Float32Array(n));
    this.#products.dense(outs, table, inputs);
    return outs;
  }
}

/** Σ w·x of integers. */
function integerDot(x: Int32Array, weights: Int8Array, from: number, n: number): number {
  let sum = 0;
  for (let i = 0, w = from; i < n; i += 2, w += 2) {
    sum = (sum + Math.imul(weights[w]!, x[i]!) + Math.imul(weights[w + 1]!, x[i + 1]!)) | 0;
  }
  return sum;
}

/** A layer's own norm of its input, if it has one. @param x [rows] of [hidden] f32 */
export function inputNorm(x: readonly Float32Array[], weight: Float32Array | undefined, eps: number): readonly Float32Array[] {
  if (weight === undefined) return x;
  return x.map((row) => {
    const out = new Float32Array(row.length);
    rmsNorm(out, row, weight, eps);
    return out;
  });
}
