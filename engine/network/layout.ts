import type { ArenaPlan } from "../compute/arena.js";
import { columnBlock, leastSparse, ROW_GROUP, rowGroup, type Tier, tileRows } from "../compute/kernels.js";
import type { StepLimits } from "../compute/step.js";
import type { ModelConfig } from "../model/config.js";
import { KV_BLOCK, type KvType } from "../numerics.js";

/** A ternary layer in memory. */
export interface LinearPlan {
  readonly rows: number;
  readonly columns: number;
  /** `columns`, rounded up to whole blocks of the layout. */
  readonly kPad: number;
  /** Packed rows, in groups of `rowGroup`; kPad/4 bytes a row. */
  readonly weights: number;
  /** If its input is mostly 0, the same in tiles of `tileRows` rows, of which columns are read as lists say: instead of the rows or besides. 0: none. */
  readonly tiles: number;
  /** f32; with `scaleBlock`, [row groups][kPad/scaleBlock][rows of a group] f32 */
  readonly scales: number;
  /** Its input is rotated by these, [columns] 1 or −1 f32; 0: it isn't. */
  readonly signs: number;
}

/**
 * How the output head is kept. `bf16`, `f32`: exact rows. `scan`: codes and how far they are from the rows; `ternary`: the rows of a ternary
 * table, as a layer's. Both meet a hidden state in codes, so the few rows that can still win are read from the file and computed exactly, and so are
 * all rows where all logits are wanted. `none`: of a model that has no use for one.
 */
export type HeadKind = "bf16" | "f32" | "scan" | "ternary" | "none";

/** What a plan depends on besides the model. */
export interface PlanOptions {
  readonly tier: Tier;
  readonly kv: KvType;
  /** Columns that share a scale; undefined: a ternary layer has one. */
  readonly scaleBlock: number | undefined;
  readonly head: HeadKind;
  readonly threads: number;
  readonly contextLength: number;
  /** Tokens that the KV cache has room for, at least those of one context; undefined: those. */
  readonly cacheTokens?: number | undefined;
  /** States of sequences, and snapshots of them, that there is room for, where layers are recurrent. */
  readonly states: number;
  readonly stagingBytes: number;
  /** Pieces of master weights, all tensors together. */
  readonly statPieces: number;
}

/** Rows of a step, in large models and in small ones: the more there are, the fewer times a prompt reads all weights. */
const LEAST_ROWS = 64;
const MOST_ROWS = 256;
/** Products of feed-forward blocks in a step: before an abort is seen, at most a few seconds pass. */
const MOST_PRODUCTS = 5e11;
/** Outputs of a step. */
export const MAX_OUTPUTS = 32;

export const up = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

/** Bytes of a row of n floats: whole cache lines. */
export function floatStride(n: number): number {
  return up(n * 4, 64);
}

/** Rows of a step of this model, whole tiles. Scales in groups are multiplied with what the caches hold, which more rows would not help. */
function mostRows({ layers, hiddenSize, ffnSize }: ModelConfig, scaleBlock: number | undefined): number {
  if (scaleBlock !== undefined) return LEAST_ROWS;
  const tiles = Math.floor(MOST_PRODUCTS / (3 * layers * hiddenSize * ffnSize) / LEAST_ROWS);
  return Math.min(Math.max(tiles, 1) * LEAST_ROWS, MOST_ROWS);
}

/** Hands out the memory of a plan, to blocks that know nothing of each other; remembers what they ask of the parts that all share. */
export class Layout {
  readonly config: ModelConfig;
  readonly options: PlanOptions;
  readonly limits: StepLimits;
  /** Rows of a batch, or the threads' own copies of a lone row. */
  readonly slots: number;
  readonly #arena: ArenaPlan;
  /** Columns of a block of the layout, of which rows have whole ones. */
  readonly #columnBlock: number;
  readonly #signs = new Map<number, number>();
  #widest = 0;
  #scratchBytes = 0;

  constructor(arena: ArenaPlan, config: ModelConfig, options: PlanOptions) {
    const { contextLength, cacheTokens = contextLength, states } = options;
    this.#arena = arena;
    this.config = config;
    this.options = options;
    this.#columnBlock = options.scaleBlock ?? columnBlock(options.tier);
    const maxRows = mostRows(config, options.scaleBlock);
    this.slots = Math.max(maxRows, options.threads);
    const blocks = Math.ceil(cacheTokens / KV_BLOCK);
    this.limits = { maxRows, maxOutputs: MAX_OUTPUTS, blockSize: KV_BLOCK, blocks, contextLength, states };
  }

  /** After relu² most of the down projections' input is 0, in eight bits. The plain tier has no product for it. */
  get sparseDown(): boolean {
    return this.config.activation === "relu2" && this.options.scaleBlock === undefined && this.options.tier !== "plain";
  }

  /** Columns of the widest row that goes into a ternary layer, of those handed out so far. */
  get widest(): number {
    return this.#widest;
  }

  /** The same in whole blocks of the layout. */
  get widestPadded(): number {
    return up(this.#widest, this.#columnBlock);
  }

  /** Bytes of the scratch that each thread needs, by what was asked for so far. */
  get scratchBytes(): number {
    return up(this.#scratchBytes, 64);
  }

  /** A block needs so many bytes of a thread's scratch; it is free again when the block is through. */
  needScratch(bytes: number): void {
    this.#scratchBytes = Math.max(this.#scratchBytes, bytes);
  }

  /** Address of `bytes` bytes. @param name what for, in the words of an error */
  take(name: string, bytes: number): number {
    return this.#arena.take(name, bytes);
  }

  /** Rows by slot: what is computed of one row at a time. */
  perSlot(stride: number): number {
    return this.take("activations", this.slots * stride);
  }

  /** Rows of outputs of ternary layers, all rows of a batch together. Their kernel takes two at a time, so an odd last one has another behind it. */
  perRow(stride: number): number {
    return this.take("activations", (this.limits.maxRows + 1) * stride);
  }

  /** f32; of a matrix as many rows as fill a group. */
  floats(shape: readonly number[]): number {
    const [first, second] = shape as [number, number?];
    return this.take("norms", second === undefined ? floatStride(first) : floatStride(up(first, ROW_GROUP) * second));
  }

  /** Where signs by width lie, each [width] f32. */
  get allSigns(): ReadonlyMap<number, number> {
    return this.#signs;
  }

  /** Signs of inputs of this width, [width] f32. */
  signs(width: number): number {
    const at = this.#signs.get(width) ?? this.take("signs", floatStride(width));
    this.#signs.set(width, at);
    return at;
  }

  /** @param rotated its input is @param sparse its input is mostly 0, unless it is rotated */
  linear(rows: number, columns: number, rotated: boolean, sparse: boolean): LinearPlan {
    const { scaleBlock, tier } = this.options;
    const kPad = up(columns, this.#columnBlock);
    const tiled = sparse && !rotated;
    const packedRows = up(rows, tiled ? tileRows(tier) : rowGroup(tier, scaleBlock !== undefined));
    const scaleBytes = scaleBlock === undefined ? 4 : packedRows * (kPad / scaleBlock) * 4;
    this.#widest = Math.max(this.#widest, columns);
    const bytes = (packedRows * kPad) / 4;
    const weights = this.take("weights", bytes);
    const instead = leastSparse(tier) === 1;
    return {
      ...{ rows, columns, kPad, weights },
      tiles: !tiled ? 0 : instead ? weights : this.take("weights", bytes),
      scales: this.take("scales", scaleBytes),
      signs: rotated ? this.signs(columns) : 0,
    };
  }
}
