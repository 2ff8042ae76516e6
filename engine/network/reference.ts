/**
 * The network in plain scalar TypeScript: what every kernel is checked against. It is written to be read; with activation quantisation its
 * logits are those of the kernels, bit for bit.
 */

import { rotate, rotateBack } from "../hadamard.js";
import type { ModelConfig } from "../model/config.js";
import { type Layer, mixerOf } from "../model/layers.js";
import { type KvType, rmsNorm } from "../numerics.js";
import { ropeAngles, ropeFrequencies } from "../rope.js";
import { attentionReference, KeyValueCache } from "./attention-reference.js";
import { DeltaState, deltaReference } from "./delta-reference.js";
import { feedForwardReference } from "./feed-forward-reference.js";
import { type FloatProducts, type ReferenceLinear, ReferenceProducts, scalarProducts } from "./reference-linear.js";

/** One layer's parts; norms are [size] f32. */
export type ReferenceLayer = Layer<ReferenceLinear, Float32Array>;

/** All weights, dequantised only as far as they are read. */
export interface ReferenceWeights {
  readonly embedding: Float32Array; // [vocab, hidden]
  readonly layers: readonly ReferenceLayer[];
  readonly outputNorm: Float32Array; // [hidden]
  readonly head: Float32Array; // [vocab, hidden]; the embedding itself when tied
}

/** What the layers with attention remember of one sequence. */
export class ReferenceCache {
  /** Undefined: the layer has none. */
  readonly layers: readonly (KeyValueCache | undefined)[];
  #positions = 0;

  /** @param positions that there is room for */
  constructor(config: ModelConfig, positions: number, kv: KvType = "f32") {
    this.layers = Array.from({ length: config.layers }, (_, layer) =>
      mixerOf(config, layer) === "attention" ? new KeyValueCache(config, kv) : undefined,
    );
    this.grow(positions);
  }

  /** Positions that there is room for. */
  get positions(): number {
    return this.#positions;
  }

  /** Makes room for more; what is there stays. */
  grow(positions: number): void {
    for (const layer of this.layers) layer?.grow(positions);
    this.#positions = positions;
  }
}

/** What the recurrent layers remember of one sequence. Unlike keys and values it can't be cut: only a copy can be gone back to. */
export class ReferenceState {
  /** Undefined: the layer is not recurrent. */
  readonly layers: readonly (DeltaState | undefined)[];

  /** @param from what to copy; left out: the beginning of a sequence */
  constructor(config: ModelConfig, from?: ReferenceState) {
    this.layers = Array.from({ length: config.layers }, (_, layer) =>
      mixerOf(config, layer) === "delta" ? new DeltaState(config, from?.layers[layer]) : undefined,
    );
  }
}

/** A token to be computed: its place in its sequence, and what the layers remember of that sequence. */
export interface ReferenceRow {
  readonly token: number;
  readonly position: number;
  readonly cache: ReferenceCache;
  /** Of networks with recurrent layers: that of the position before. */
  readonly state?: ReferenceState | undefined;
}

export class Reference {
  readonly #config: ModelConfig;
  readonly #weights: ReferenceWeights;
  readonly #frequencies: Float64Array;
  readonly #products: ReferenceProducts;

  /**
   * @param activationQuant quantise the input of each ternary layer as the kernels do; false: f32 throughout
   * @param products what computes the products of floats: `floatProducts` is faster, and gives the same bits
   */
  constructor(config: ModelConfig, weights: ReferenceWeights, activationQuant: boolean, products: FloatProducts = scalarProducts) {
    this.#config = config;
    this.#weights = weights;
    this.#products = new ReferenceProducts(config, activationQuant, products);
    this.#frequencies = ropeFrequencies(config.ropeTheta, config.ropeSize, config.ropeFactors, config.ropeScaling);
  }

  /**
   * Tokens through all layers; each one's key and value are put into its cache, and its state moves on, so that of one sequence the later ones see the earlier. What a
   * token gives does not hang on which others come along: they only share the reading of the weights.
   * @returns each token's last hidden state before the final norm, [rows] of [hidden] f32
   */
  forward(rows: readonly ReferenceRow[]): Float32Array[] {
    const { ropeSize, hiddenSize, ropeScaling, residualScale } = this.#config;
    const x = rows.map(({ token }) => this.#embed(token)); // the residual stream
    const angles = rows.map(({ position }) => {
      const out = new Float32Array(ropeSize);
      ropeAngles(out, position, this.#frequencies, ropeScaling?.attention);
      return out;
    });
    const add = (given: readonly Float32Array[], norm?: Float32Array): void => {
      const delta = norm ? this.#norm(given, norm) : given;
      for (const [i, row] of x.entries())
        for (let j = 0; j < hiddenSize; j++) row[j] = row[j]! + Math.fround(delta[i]![j]! * residualScale); // exact where it is 1
    };
    for (const [index, { mixer, feedForward }] of this.#weights.layers.entries()) {
      if (mixer.kind === "delta") {
        const states = rows.map(({ state }) => state!.layers[index]!);
        add(deltaReference(this.#config, this.#products, mixer, this.#norm(x, mixer.deltaNorm), states));
      } else {
        const seen = rows.map(({ position, cache }, i) => ({ position, angles: angles[i]!, cache: cache.layers[index]! }));
        add(attentionReference(this.#config, this.#products, mixer, this.#norm(x, mixer.attnNorm), seen), mixer.attnPostNorm);
      }
      add(feedForwardReference(this.#config, this.#products, feedForward, this.#norm(x, feedForward.ffnNorm)), feedForward.ffnPostNorm);
    }
    return x;
  }

  /** The last norm of what `forward` returned, [rows] of [hidden] f32. */
  outputNorm(hidden: readonly Float32Array[]): Float32Array[] {
    return this.#norm(hidden, this.#weights.outputNorm);
  }

  /** [rows] of [vocab] f32 from what `outputNorm` returned. */
  logits(normed: readonly Float32Array[]): Float32Array[] {
    const { rotation, vocabSize, hiddenSize } = this.#config;
    const x = rotation?.head ? normed.map((row) => rotate(row, rotation.signs.get(hiddenSize)!, rotation.blockSize)) : normed;
    return this.#products.dense(this.#weights.head, vocabSize, x);
  }

  /** A token's row of the embedding, [hidden] f32. */
  #embed(token: number): Float32Array {
    const { rotation, hiddenSize, embeddingScale } = this.#config;
    const row = this.#weights.embedding.slice(token * hiddenSize, (token + 1) * hiddenSize).map((value) => value * embeddingScale);
    return rotation?.embedding ? rotateBack(row, rotation.signs.get(hiddenSize)!, rotation.blockSize) : row;
  }

  #norm(rows: readonly Float32Array[], weight: Float32Array): Float32Array[] {
    return rows.map((x) => {
      const normed = new Float32Array(x.length);
      rmsNorm(normed, x, weight, this.#config.rmsNormEps);
      return normed;
    });
  }
}
