import { type Counters, NO_COUNTERS } from "../compute/counters.js";
import type { StepBatch, StepLimits } from "../compute/step.js";
import type { ModelConfig } from "../model/config.js";
import { KV_BLOCK, type KvType } from "../numerics.js";
import { floatProducts } from "./float-products.js";
import { Reference, ReferenceCache, ReferenceState, type ReferenceWeights } from "./reference.js";

/** Rows of a step: few, so that an abort is seen soon. */
const MAX_ROWS = 8;

/** Feeds batches to the scalar network. */
export class ReferenceRun {
  readonly limits: StepLimits;
  readonly #config: ModelConfig;
  readonly #kv: KvType;
  readonly #reference: Reference;
  /** By the sequence's first block, which no other living sequence has. */
  readonly #caches = new Map<number, ReferenceCache>();
  /** By their numbers. */
  readonly #states = new Map<number, ReferenceState>();
  #hidden: Float32Array[] = []; // [outputs] of [hidden]: behind the last norm
  #logits: Float32Array[] = []; // [outputs] of [vocab]

  constructor(
    config: ModelConfig,
    weights: ReferenceWeights,
    activationQuant: boolean,
    contextLength: number,
    kv: KvType = "f32",
    states = config.recurrent ? 1 : 0,
    cacheTokens = contextLength,
  ) {
    this.#config = config;
    this.#kv = kv;
    this.#reference = new Reference(config, weights, activationQuant, activationQuant ? undefined : floatProducts());
    this.limits = {
      maxRows: MAX_ROWS,
      maxOutputs: MAX_ROWS,
      blockSize: KV_BLOCK,
      blocks: Math.ceil(cacheTokens / KV_BLOCK),
      contextLength,
      states,
    };
  }

  compute(batch: StepBatch): void {
    for (const [from, to] of batch.copies ?? []) this.#states.set(to, new ReferenceState(this.#config, this.#states.get(from)));
    const rows = Array.from(batch.tokens, (token, row) => ({
      token,
      position: batch.positions[row]!,
      cache: this.#cache(batch.tables[batch.sequences[row]!]!),
      state: batch.states && this.#state(batch.states[batch.sequences[row]!]!, batch.positions[row] === 0),
    }));
    const hidden = this.#reference.forward(rows);
    this.#hidden = this.#reference.outputNorm(batch.outputs.map(({ row }) => hidden[row]!));
    const wanted = batch.outputs.some(({ want }) => want !== "state");
    this.#logits = wanted ? this.#reference.logits(this.#hidden) : [];
  }

  logits(output: number): Float32Array {
    return this.#logits[output]!;
  }

  hidden(output: number): Float32Array {
    return this.#hidden[output]!;
  }

  /** Nothing here counts its calls. */
  counters(): Counters {
    return NO_COUNTERS;
  }

  /** A sequence's state. @param fresh for its first position */
  #state(number: number, fresh: boolean): ReferenceState {
    const held = fresh ? undefined : this.#states.get(number);
    const state = held ?? new ReferenceState(this.#config);
    this.#states.set(number, state);
    return state;
  }

  /** A sequence's cache, grown to all the blocks it has. */
  #cache(table: Int32Array): ReferenceCache {
    const positions = table.length * KV_BLOCK;
    let cache = this.#caches.get(table[0]!);
    if (cache === undefined) {
      cache = new ReferenceCache(this.#config, positions, this.#kv);
      this.#caches.set(table[0]!, cache);
    } else if (cache.positions < positions) {
      cache.grow(Math.min(2 * positions, this.limits.blocks * KV_BLOCK));
    }
    return cache;
  }
}
