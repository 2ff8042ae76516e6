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

export class Reference {
  readonly #config: ModelConfig;
  readonly #weights: ReferenceWeights;
  readonly #activationQuant: boolean;
  readonly #frequencies: Float64Array;
  /** Dequantised rows, made on first use: only the path without activation quantisation reads them. */
  readonly #floats = new Map<ReferenceLinear, Float32Array>();

  /** @param activationQuant quantise the input of each ternary layer as the kernels do; false: f32 throughout */
  constructor(config: ModelConfig, weights: ReferenceWeights, activationQuant: boolean) {
    this.#config = config;
    this.#weights = weights;
    this.#activationQuant = activationQuant;
    this.#frequencies = ropeFrequencies(config.ropeTheta, config.headDim, config.ropeFactors);
  }

  /**
   * One token through all layers; its key and value are put into the cache.
   * @returns the last hidden state before the final norm, [hidden] f32
   */
  forward(token: number, position: number, cache: ReferenceCache): Float32Array {
    const { hiddenSize, attentionSize, heads, kvHeads, headDim, ffnSize, rmsNormEps, activation } = this.#config;
    const kvSize = kvHeads * headDim;
    const x = this.#weights.embedding.slice(token * hiddenSize, (token + 1) * hiddenSize); // [hidden] the residual stream
    const normed = new Float32Array(hiddenSize);
    const q = new Float32Array(attentionSize); // [heads, headDim]
    const k = new Float32Array(kvSize); // [kvHeads, headDim]
    const v = new Float32Array(kvSize);
    const attention = new Float32Array(attentionSize); // [heads, headDim]
    const attended = new Float32Array(attentionSize);
    const gate = new Float32Array(ffnSize);
    const up = new Float32Array(ffnSize);
    const hidden = new Float32Array(ffnSize);
    const delta = new Float32Array(hiddenSize);
    const angles = new Float32Array(headDim);
    ropeAngles(angles, position, this.#frequencies);

    this.#weights.layers.forEach((layer, index) => {
      rmsNorm(normed, x, layer.attnNorm, rmsNormEps);
      this.#linear(
        [
          [layer.q, q],
          [layer.k, k],
          [layer.v, v],
        ],
        normed,
      );
      if (layer.qNorm) normHeads(q, layer.qNorm, rmsNormEps);
      if (layer.kNorm) normHeads(k, layer.kNorm, rmsNormEps);
      rope(q, 0, heads, headDim, angles);
      rope(k, 0, kvHeads, headDim, angles);
      cache.store(index, position, k, v);
      cache.attend(index, attention, q, position + 1);
      if (layer.attnSubNorm) rmsNorm(attended, attention, layer.attnSubNorm, rmsNormEps);
      this.#linear([[layer.o, delta]], layer.attnSubNorm ? attended : attention);
      for (let i = 0; i < hiddenSize; i++) x[i] = x[i]! + delta[i]!;

      rmsNorm(normed, x, layer.ffnNorm, rmsNormEps);
      this.#linear(
        [
          [layer.gate, gate],
          [layer.up, up],
        ],
        normed,
      );
      (activation === "silu" ? siluMul : reluSquaredMul)(gate, up, ffnSize);
      if (layer.ffnSubNorm) rmsNorm(hidden, gate, layer.ffnSubNorm, rmsNormEps);
      this.#linear([[layer.down, delta]], layer.ffnSubNorm ? hidden : gate);
      for (let i = 0; i < hiddenSize; i++) x[i] = x[i]! + delta[i]!;
    });
    return x;
  }

  /** The last norm of what `forward` returned, [hidden] f32. */
  outputNorm(x: Float32Array): Float32Array {
    const normed = new Float32Array(x.length);
    rmsNorm(normed, x, this.#weights.outputNorm, this.#config.rmsNormEps);
    return normed;
  }

  /** [vocab] f32 from what `outputNorm` returned. */
  logits(normed: Float32Array): Float32Array {
    const { hiddenSize, vocabSize } = this.#config;
    const logits = new Float32Array(vocabSize);
    for (let id = 0; id < vocabSize; id++) logits[id] = dot8(normed, 0, this.#weights.head, id * hiddenSize, hiddenSize);
    return logits;
  }

  /** Ternary layers on one input: out[row] = Σ w·x · scale. */
  #linear(layers: readonly (readonly [ReferenceLinear, Float32Array])[], x: Float32Array): void {
    if (!this.#activationQuant) {
      for (const [linear, out] of layers) {
        const weights = this.#dequantized(linear);
        for (let row = 0; row < linear.rows; row++) out[row] = dot(x, weights, row * linear.columns, linear.columns);
      }
      return;
    }
    const { columns: n, group } = layers[0]![0];
    if (group !== undefined) {
      const grouped = quantizeGroups(x, n, group, this.#config.activations);
      const perRow = grouped.scales.length;
      for (const [{ rows, columns, weights, scales }, out] of layers) {
        for (let row = 0; row < rows; row++) out[row] = groupedProduct(weights, row * columns, scales, row * perRow, group, grouped);
      }
      return;
    }
    const { values, max } = quantize(x, n);
    for (const [{ rows, columns, weights, scales }, out] of layers) {
      const factor = outputFactor(scales[0]!, max);
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let i = 0, w = row * columns; i < columns; i += 2, w += 2) {
          sum = (sum + Math.imul(weights[w]!, values[i]!) + Math.imul(weights[w + 1]!, values[i + 1]!)) | 0;
        }
        out[row] = sum * factor;
      }
    }
  }

  #dequantized(linear: ReferenceLinear): Float32Array {
    let floats = this.#floats.get(linear);
    if (floats === undefined) {
      const { columns, group = columns, scales } = linear;
      const perRow = linear.group === undefined ? 0 : Math.ceil(columns / group);
      floats = new Float32Array(linear.weights.length);
      for (let i = 0; i < floats.length; i++) {
        floats[i] = linear.weights[i]! * scales[Math.floor(i / columns) * perRow + Math.floor((i % columns) / group)]!;
      }
      this.#floats.set(linear, floats);
    }
    return floats;
  }
}

/** RMSNorm of each head by itself, in place. @param x [heads, headDim] f32 @param weight [headDim] f32 */
function normHeads(x: Float32Array, weight: Float32Array, eps: number): void {
  for (let at = 0; at < x.length; at += weight.length) {
    const head = x.subarray(at, at + weight.length);
    rmsNorm(head, head, weight, eps);
  }
}

/** Σ x·w of f32 numbers, summed in f64: no kernel computes this product, so accuracy is all that counts. */
function dot(x: Float32Array, weights: Float32Array, from: number, n: number): number {
  let s0 = 0,
    s1 = 0,
    s2 = 0,
    s3 = 0;
  for (let i = 0, w = from; i < n; i += 4, w += 4) {
    s0 += x[i]! * weights[w]!;
    s1 += x[i + 1]! * weights[w + 1]!;
    s2 += x[i + 2]! * weights[w + 2]!;
    s3 += x[i + 3]! * weights[w + 3]!;
  }
  return s0 + s1 + (s2 + s3);
}
