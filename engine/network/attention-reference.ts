import type { ModelConfig } from "../model/config.js";
import type { Block } from "../model/layers.js";
import {
  attend,
  attendCodes,
  type CodedKv,
  type KvType,
  newCodes,
  type QuantizedVectors,
  quantizeHeads,
  rmsNorm,
  sigmoidMul,
} from "../numerics.js";
import { rope } from "../rope.js";
import { inputNorm, type ReferenceLinear, type ReferenceProducts } from "./reference-linear.js";

/** An attention block's weights; norms are [size] f32. */
export type ReferenceAttention = Block<"attention", ReferenceLinear, Float32Array>;

/** Each [position, kvHeads, headDim]. */
type KeysAndValues =
  | { readonly kv: "f32"; readonly keys: Float32Array; readonly values: Float32Array }
  | { readonly kv: CodedKv; readonly keys: QuantizedVectors; readonly values: QuantizedVectors };

/** Keys and values of one layer and sequence, as they are or as codes. */
export class KeyValueCache {
  readonly #config: ModelConfig;
  #held: KeysAndValues;

  constructor(config: ModelConfig, kv: KvType) {
    const none = new Float32Array(0);
    this.#config = config;
    if (kv === "f32") this.#held = { kv, keys: none, values: none };
    else {
      const vectors = { codes: newCodes(kv, 0), scales: none };
      this.#held = { kv, keys: vectors, values: vectors };
    }
  }

  /** Makes room for more positions; what is there stays. */
  grow(positions: number): void {
    const heads = positions * this.#config.kvHeads;
    const size = heads * this.#config.headDim;
    const floats = (old: Float32Array, length: number): Float32Array => {
      const wider = new Float32Array(length);
      wider.set(old);
      return wider;
    };
    const quantized = (kv: CodedKv, old: QuantizedVectors): QuantizedVectors => {
      const codes = newCodes(kv, size);
      codes.set(old.codes);
      return { codes, scales: floats(old.scales, heads) };
    };
    const { kv, keys, values } = this.#held;
    this.#held =
      kv === "f32"
        ? { kv, keys: floats(keys, size), values: floats(values, size) }
        : { kv, keys: quantized(kv, keys), values: quantized(kv, values) };
  }

  /** Puts one position's key and value in. @param k, v [kvHeads, headDim] f32 */
  store(position: number, k: Float32Array, v: Float32Array): void {
    const { kvHeads, headDim } = this.#config;
    const to = this.#held;
    if (to.kv === "f32") {
      to.keys.set(k, position * kvHeads * headDim);
      to.values.set(v, position * kvHeads * headDim);
    } else {
      quantizeHeads(to.kv, to.keys, position, k, kvHeads, headDim);
      quantizeHeads(to.kv, to.values, position, v, kvHeads, headDim);
    }
  }

  /** Attention of all heads over positions 0 … count − 1. @param out, q [heads, headDim] f32 */
  attend(out: Float32Array, q: Float32Array, count: number): void {
    const { heads, kvHeads, headDim } = this.#config;
    const from = this.#held;
    for (let head = 0; head < heads; head++) {
      const at = head * headDim;
      const kvHead = Math.floor((head * kvHeads) / heads);
      if (from.kv === "f32") attend(out, at, q, at, from.keys, from.values, kvHead * headDim, kvHeads * headDim, count, headDim);
      else attendCodes(from.kv, out, at, q, at, from.keys, from.values, kvHead, kvHeads, count, headDim);
    }
  }
}

/** A row of a batch, as an attention block sees it. */
export interface AttentionRow {
  readonly position: number;
  /** [ropeSize] f32 from `ropeAngles` */
  readonly angles: Float32Array;
  /** Of this layer and the row's sequence. */
  readonly cache: KeyValueCache;
}

/**
 * q, k, v → norms of heads → RoPE → cache → attention → gate or sub-norm → output projection.
 * @param x [rows] of [hidden] f32, normed
 * @returns [rows] of [hidden] f32: what is added to the residual stream
 */
export function attentionReference(
  config: ModelConfig,
  products: ReferenceProducts,
  block: ReferenceAttention,
  x: readonly Float32Array[],
  rows: readonly AttentionRow[],
): Float32Array[] {
  const { heads, kvHeads, headDim, attentionSize, rmsNormEps } = config;
  const { qNorm, kNorm, attnSubNorm } = block;
  const normed = (weight: Float32Array | undefined): readonly Float32Array[] => inputNorm(x, weight, rmsNormEps);
  const qRows = products.linear(block.q, normed(block.qInputNorm)); // [rows] of [heads, headDim]; of gated attention [heads, q and gate, headDim]
  const q = config.attentionGates ? qRows.map((row) => halvesOf(row, headDim, 0)) : qRows;
  const gates = config.attentionGates ? qRows.map((row) => halvesOf(row, headDim, 1)) : undefined;
  const k = products.linear(block.k, normed(block.kInputNorm)); // [rows] of [kvHeads, headDim]
  const v = products.linear(block.v, normed(block.vInputNorm));
  const mixed = rows.map(({ position, angles, cache }, i) => {
    if (qNorm) normHeads(q[i]!, qNorm, rmsNormEps);
    if (kNorm) normHeads(k[i]!, kNorm, rmsNormEps);
    rope(q[i]!, 0, heads, headDim, angles);
    rope(k[i]!, 0, kvHeads, headDim, angles);
    cache.store(position, k[i]!, v[i]!);
    const out = new Float32Array(attentionSize); // [heads, headDim]
    cache.attend(out, q[i]!, position + 1);
    if (gates) sigmoidMul(out, gates[i]!, attentionSize);
    if (attnSubNorm) rmsNorm(out, out, attnSubNorm, rmsNormEps);
    return out;
  });
  return products.linear(block.o, mixed);
}

/** The first or second halves of heads of 2 · headDim, side by side. */
function halvesOf(x: Float32Array, headDim: number, half: 0 | 1): Float32Array {
  const out = new Float32Array(x.length / 2);
  for (let at = 0; at < out.length; at += headDim) out.set(x.subarray(2 * at + half * headDim, 2 * at + (half + 1) * headDim), at);
  return out;
}

/** RMSNorm of each head by itself, in place. @param x [heads, headDim] f32 @param weight [headDim] f32 */
function normHeads(x: Float32Array, weight: Float32Array, eps: number): void {
  for (let at = 0; at < x.length; at += weight.length) {
    const head = x.subarray(at, at + weight.length);
    rmsNorm(head, head, weight, eps);
  }
}
