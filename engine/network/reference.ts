/**
 * The network in plain scalar TypeScript: what every kernel is held against. It is written to be read; with activation quantisation its
 * logits are those of the kernels, bit for bit.
 */
import type { ModelConfig } from "../model/config.js";
import {
  attend,
  attendQ8,
  dot8,
  groupedProduct,
  type KvType,
  outputFactor,
  type QuantizedVectors,
  quantize,
  quantizeGroups,
  quantizeHeads,
  reluSquaredMul,
  rmsNorm,
  rope,
  ropeAngles,
  ropeFrequencies,
  siluMul,
} from "../numerics.js";

/** A ternary layer. */
export interface ReferenceLinear {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] −1, 0, 1 */
  readonly weights: Int8Array;
  /** f32: what 1 is worth in each group of columns, [rows][columns/group, rounded up]; one for all where there are no groups. */
  readonly scales: Float32Array;
  /** Columns that share a scale; undefined: the tensor has one. */
  readonly group: number | undefined;
}

/** One layer's parts. Norm weights are f32; undefined: the architecture has none. */
export interface ReferenceLayer {
  readonly attnNorm: Float32Array; // [hidden]
  readonly q: ReferenceLinear;
  readonly k: ReferenceLinear;
  readonly v: ReferenceLinear;
  readonly qNorm: Float32Array | undefined; // [headDim]
  readonly kNorm: Float32Array | undefined; // [headDim]
  readonly attnSubNorm: Float32Array | undefined; // [heads·headDim]
  readonly o: ReferenceLinear;
  readonly ffnNorm: Float32Array; // [hidden]
  readonly gate: ReferenceLinear;
  readonly up: ReferenceLinear;
  readonly ffnSubNorm: Float32Array | undefined; // [ffn]
  readonly down: ReferenceLinear;
}

/** All weights, dequantised only as far as they are read. */
export interface ReferenceWeights {
  readonly embedding: Float32Array; // [vocab, hidden]
  readonly layers: readonly ReferenceLayer[];
  readonly outputNorm: Float32Array; // [hidden]
  readonly head: Float32Array; // [vocab, hidden]; the embedding itself when tied
}

/** Keys and values of one layer, each [position, kvHeads, headDim]. */
type LayerCache =
  | { readonly kv: "f32"; readonly keys: Float32Array; readonly values: Float32Array }
  | { readonly kv: "q8"; readonly keys: QuantizedVectors; readonly values: QuantizedVectors };

/** Keys and values of one sequence, as they are or in 8 bits. */
export class ReferenceCache {
  readonly #config: ModelConfig;
  #positions = 0;
  #layers: readonly LayerCache[];

  /** @param positions that there is room for */
  constructor(config: ModelConfig, positions: number, kv: KvType = "f32") {
    this.#config = config;
    const none = { codes: new Int8Array(0), scales: new Float32Array(0) };
    const empty: LayerCache =
      kv === "f32" ? { kv, keys: new Float32Array(0), values: new Float32Array(0) } : { kv, keys: none, values: none };
    this.#layers = Array.from({ length: config.layers }, () => empty);
    this.grow(positions);
  }

  /** Positions that there is room for. */
  get positions(): number {
    return this.#positions;
  }

  /** Makes room for more; what is there stays. */
  grow(positions: number): void {
    const heads = positions * this.#config.kvHeads;
    const floats = (old: Float32Array, size: number): Float32Array => {
      const wider = new Float32Array(size);
      wider.set(old);
      return wider;
    };
    const quantized = (old: QuantizedVectors): QuantizedVectors => {
      const codes = new Int8Array(heads * this.#config.headDim);
      codes.set(old.codes);
      return { codes, scales: floats(old.scales, heads) };
    };
    this.#layers = this.#layers.map((layer) => {
      if (layer.kv === "q8") return { kv: "q8", keys: quantized(layer.keys), values: quantized(layer.values) };
      const size = heads * this.#config.headDim;
      return { kv: "f32", keys: floats(layer.keys, size), values: floats(layer.values, size) };
    });
    this.#positions = positions;
  }

  /** Puts one position's key and value in. @param k, v [kvHeads, headDim] f32 */
  store(layer: number, position: number, k: Float32Array, v: Float32Array): void {
    const { kvHeads, headDim } = this.#config;
    const to = this.#layers[layer]!;
    if (to.kv === "q8") {
      quantizeHeads(to.keys, position, k, kvHeads, headDim);
      quantizeHeads(to.values, position, v, kvHeads, headDim);
    } else {
      to.keys.set(k, position * kvHeads * headDim);
      to.values.set(v, position * kvHeads * headDim);
    }
  }

  /** Attention of all heads over positions 0 … count − 1. @param out, q [heads, headDim] f32 */
  attend(layer: number, out: Float32Array, q: Float32Array, count: number): void {
    const { heads, kvHeads, headDim } = this.#config;
    const from = this.#layers[layer]!;
    for (let head = 0; head < heads; head++) {
      const at = head * headDim;
      const kvHead = Math.floor((head * kvHeads) / heads);
      if (from.kv === "q8") attendQ8(out, at, q, at, from.keys, from.values, kvHead, kvHeads, count, headDim);
      else attend(out, at, q, at, from.keys, from.values, kvHead * headDim, kvHeads * headDim, count, headDim);
    }
  }
}

/** A token to be computed: its place in its sequence, and that sequence's keys and values. */
export interface ReferenceRow {
  readonly token: number;
  readonly position: number;
  readonly cache: ReferenceCache;
}

export class Reference {
  readonly #config: ModelConfig;
  readonly #weights: ReferenceWeights;
  readonly #activationQuant: boolean;
  readonly #frequencies: Float64Array;
  readonly #products: FloatProducts;

  /**
   * @param activationQuant quantise the input of each ternary layer as the kernels do; false: f32 throughout
   * @param products what computes the products of floats: `floatProducts` is faster, and gives the same bits
   */
  constructor(config: ModelConfig, weights: ReferenceWeights, activationQuant: boolean, products: FloatProducts = scalarProducts) {
    this.#config = config;
    this.#weights = weights;
    this.#activationQuant = activationQuant;
    this.#products = products;
    this.#frequencies = ropeFrequencies(config.ropeTheta, config.headDim, config.ropeFactors);
  }

  /**
   * Tokens through all layers; each one's key and value are put into its cache, so that of one sequence the later ones see the earlier. What a
   * token gives does not hang on which others come along: they only share the reading of the weights.
   * @returns each token's last hidden state before the final norm, [rows] of [hidden] f32
   */
  forward(rows: readonly ReferenceRow[]): Float32Array[] {
    const { hiddenSize, attentionSize, heads, kvHeads, headDim, ffnSize, rmsNormEps, activation } = this.#config;
    const each = (size: number): Float32Array[] => rows.map(() => new Float32Array(size));
    const x = rows.map(({ token }) => this.#weights.embedding.slice(token * hiddenSize, (token + 1) * hiddenSize)); // the residual stream
    const normed = each(hiddenSize);
    const q = each(attentionSize); // [heads, headDim]
    const k = each(kvHeads * headDim); // [kvHeads, headDim]
    const v = each(kvHeads * headDim);
    const attention = each(attentionSize); // [heads, headDim]
    const gate = each(ffnSize);
    const up = each(ffnSize);
    const delta = each(hiddenSize);
    const angles = each(headDim);
    for (const [i, { position }] of rows.entries()) ropeAngles(angles[i]!, position, this.#frequencies);
    const norm = (out: Float32Array[], from: Float32Array[], weight: Float32Array): void => {
      for (const i of rows.keys()) rmsNorm(out[i]!, from[i]!, weight, rmsNormEps);
    };
    const add = (): void => {
      for (const i of rows.keys()) for (let j = 0; j < hiddenSize; j++) x[i]![j] = x[i]![j]! + delta[i]![j]!;
    };

    for (const [index, layer] of this.#weights.layers.entries()) {
      norm(normed, x, layer.attnNorm);
      this.#linear(
        [
          [layer.q, q],
          [layer.k, k],
          [layer.v, v],
        ],
        normed,
      );
      for (const [i, { position, cache }] of rows.entries()) {
        if (layer.qNorm) normHeads(q[i]!, layer.qNorm, rmsNormEps);
        if (layer.kNorm) normHeads(k[i]!, layer.kNorm, rmsNormEps);
        rope(q[i]!, 0, heads, headDim, angles[i]!);
        rope(k[i]!, 0, kvHeads, headDim, angles[i]!);
        cache.store(index, position, k[i]!, v[i]!);
        cache.attend(index, attention[i]!, q[i]!, position + 1);
      }
      if (layer.attnSubNorm) norm(attention, attention, layer.attnSubNorm);
      this.#linear([[layer.o, delta]], attention);
      add();

      norm(normed, x, layer.ffnNorm);
      this.#linear(
        [
          [layer.gate, gate],
          [layer.up, up],
        ],
        normed,
      );
      for (const i of rows.keys()) (activation === "silu" ? siluMul : reluSquaredMul)(gate[i]!, up[i]!, ffnSize);
      if (layer.ffnSubNorm) norm(gate, gate, layer.ffnSubNorm);
      this.#linear([[layer.down, delta]], gate);
      add();
    }
    return x;
  }

  /** The last norm of what `forward` returned, [rows] of [hidden] f32. */
  outputNorm(hidden: readonly Float32Array[]): Float32Array[] {
    return hidden.map((x) => {
      const normed = new Float32Array(x.length);
      rmsNorm(normed, x, this.#weights.outputNorm, this.#config.rmsNormEps);
      return normed;
    });
  }

  /** [rows] of [vocab] f32 from what `outputNorm` returned. */
  logits(normed: readonly Float32Array[]): Float32Array[] {
    const logits = normed.map(() => new Float32Array(this.#config.vocabSize));
    this.#products.dense(logits, this.#weights.head, normed);
    return logits;
  }

  /** Ternary layers on each row's input: out = Σ w·x · scale. @param inputs [rows] of [columns] @param layers with their outputs, [rows] of [layer's rows] */
  #linear(layers: readonly (readonly [ReferenceLinear, Float32Array[]])[], inputs: readonly Float32Array[]): void {
    const { columns: n, group } = layers[0]![0];
    if (!this.#activationQuant) {
      for (const [linear, outs] of layers) this.#products.ternary(outs, linear, inputs);
    } else if (group === undefined) {
      for (const [i, input] of inputs.entries()) {
        const { values, max } = quantize(input, n);
        for (const [{ rows, columns, weights, scales }, outs] of layers) {
          const factor = outputFactor(scales[0]!, max);
          for (let row = 0; row < rows; row++) outs[i]![row] = integerDot(values, weights, row * columns, columns) * factor;
        }
      }
    } else {
      const grouped = inputs.map((input) => quantizeGroups(input, n, group, this.#config.activations));
      for (const [{ rows, columns, weights, scales }, outs] of layers) {
        const perRow = Math.ceil(columns / group);
        for (const [i, out] of outs.entries()) {
          for (let row = 0; row < rows; row++) out[row] = groupedProduct(weights, row * columns, scales, row * perRow, group, grouped[i]!);
        }
      }
    }
  }
}

/** RMSNorm of each head by itself, in place. @param x [heads, headDim] f32 @param weight [headDim] f32 */
function normHeads(x: Float32Array, weight: Float32Array, eps: number): void {
  for (let at = 0; at < x.length; at += weight.length) {
    const head = x.subarray(at, at + weight.length);
    rmsNorm(head, head, weight, eps);
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

/** What the path without quantised activations multiplies with. Inputs and outputs are one a row of the batch, f32. */
export interface FloatProducts {
  /** out[row] = Σ w·scale·x, in f64, column i in lane i mod 4: no kernel that writes text computes it, so accuracy is all that counts. */
  ternary(outs: readonly Float32Array[], linear: ReferenceLinear, inputs: readonly Float32Array[]): void;
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
