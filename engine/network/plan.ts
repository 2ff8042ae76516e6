import { ArenaPlan } from "../compute/arena.js";
import { activationBytes, COLUMN_BLOCK, ROW_GROUP, SELF_TEST_BYTES, type Tier, ternaryScratch } from "../compute/kernels.js";
import type { StepLimits } from "../compute/step.js";
import type { ModelConfig } from "../model/config.js";
import { KV_BLOCK, KV_SPAN } from "../numerics.js";

/** A ternary layer in memory. */
export interface LinearPlan {
  readonly rows: number;
  readonly columns: number;
  /** `columns`, rounded up to whole blocks of the layout. */
  readonly kPad: number;
  /** Packed rows, in groups of 4; kPad/4 bytes a row. */
  readonly weights: number;
  /** f32 */
  readonly scale: number;
}

/** Addresses of one layer's parts. Norms are f32. */
export interface LayerPlan {
  readonly attnNorm: number;
  readonly q: LinearPlan;
  readonly k: LinearPlan;
  readonly v: LinearPlan;
  readonly attnSubNorm: number;
  readonly o: LinearPlan;
  readonly ffnNorm: number;
  readonly gate: LinearPlan;
  readonly up: LinearPlan;
  readonly ffnSubNorm: number;
  readonly down: LinearPlan;
}

/** An embedding table in memory. */
export interface TablePlan {
  /** Rows, rounded up to a group of 4; those past the vocabulary are zero. */
  readonly rows: number;
  /** f32 rather than bf16. */
  readonly wide: boolean;
  readonly rowBytes: number;
  readonly at: number;
}

/** Where everything lies in the linear memory, and how large a step can be. Plain data: it is posted to the workers. */
export interface NetworkPlan {
  readonly config: ModelConfig;
  readonly tier: Tier;
  readonly threads: number;
  readonly limits: StepLimits;
  readonly pages: number;

  /** The barrier's block. */
  readonly control: number;
  readonly selfTest: number;

  readonly embedding: TablePlan;
  /** The embedding itself when tied. */
  readonly head: TablePlan;
  readonly layers: readonly LayerPlan[];
  readonly outputNorm: number;

  /** Blocks of the KV cache: [blocks][layers][kvHeads][keys, values][headDim · 32] f32. */
  readonly cache: number;
  readonly cacheBlockBytes: number;

  /** The step under way, u32; see `StepMemory`. */
  readonly step: number;
  /** [maxRows][hidden] f32: the residual stream */
  readonly x: number;
  /** [maxRows + 1][hidden] f32: what a block adds to it */
  readonly delta: number;
  /** [maxRows][max(hidden, ffn)] f32: output of a norm */
  readonly normed: number;
  /** [maxRows + 1][kPad] quantised activations */
  readonly quantized: number;
  readonly quantizedStride: number;
  /** [maxRows + 1] of 8 bytes: sum and maximum of each */
  readonly meta: number;
  /** [maxRows + 1][q | k | v] f32 */
  readonly qkv: number;
  /** [maxRows][hidden] f32 */
  readonly attention: number;
  /** [maxRows + 1][gate | up] f32 */
  readonly gateUp: number;
  /** [maxRows][headDim] f32: cosines, sines of each row's position */
  readonly angles: number;
  /** [SPLIT_ROWS][heads][spans] states of attention, f32 */
  readonly spans: number;
  readonly stateBytes: number;
  /** [maxOutputs][vocab] f32 */
  readonly logits: number;
  readonly logitsStride: number;
  /** [threads] of `scratchBytes`, each thread's own */
  readonly scratch: number;
  readonly scratchBytes: number;
  /** [threads]: what each thread reads of a file and its decoded codes */
  readonly staging: number;
  readonly stagingBytes: number;
  /** [statPieces][3] f64: what the scales of master weights are computed from */
  readonly pieceStats: number;
  /** Two u32 of the loader. */
  readonly loading: number;
}

/** A batch of at most this many rows has its attention divided by spans too, so that a lone token at long context still feeds all threads. */
export const SPLIT_ROWS = 4;

const up = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

/** Bytes of a row of n floats: whole cache lines. */
export function floatStride(n: number): number {
  return up(n * 4, 64);
}

/** What a plan hangs on besides the model. */
export interface PlanOptions {
  readonly tier: Tier;
  readonly threads: number;
  readonly contextLength: number;
  /** The tables hold numbers that bf16 can't. */
  readonly wideTables: boolean;
  readonly stagingBytes: number;
  /** Pieces of master weights, all tensors together. */
  readonly statPieces: number;
}

/** Rows of a step: a whole tile of prefill, and at the most a few seconds of work before an abort is seen. */
const MAX_ROWS = 64;
/** Outputs of a step. */
const MAX_OUTPUTS = 32;

/** Lays out the memory. @throws BitnetError memory: more than 32-bit addresses reach; it says which context length would fit */
export function planNetwork(arena: ArenaPlan, config: ModelConfig, options: PlanOptions): NetworkPlan {
  const from = arena.next;
  const plan = layOut(arena, config, options);
  const pages = arena.pages(() => {
    const fitting = longestContext(from, config, options);
    return fitting === 0
      ? "even a context of 32 tokens wouldn't fit, so the model is too large"
      : `a context of ${fitting} tokens would fit (contextLength, --ctx)`;
  });
  return { ...plan, pages };
}

/** Whole blocks of positions for which the plan fits; 0 if none does. */
function longestContext(from: number, config: ModelConfig, options: PlanOptions): number {
  const fits = (blocks: number): boolean => {
    const arena = new ArenaPlan(from);
    layOut(arena, config, { ...options, contextLength: blocks * KV_BLOCK });
    return arena.fits;
  };
  let least = 0;
  let most = Math.ceil(options.contextLength / KV_BLOCK); // doesn't fit
  while (most - least > 1) {
    const middle = Math.floor((least + most) / 2);
    if (fits(middle)) least = middle;
    else most = middle;
  }
  return least * KV_BLOCK;
}

function layOut(arena: ArenaPlan, config: ModelConfig, options: PlanOptions): Omit<NetworkPlan, "pages"> {
  const { tier, threads, contextLength, wideTables } = options;
  const { hiddenSize, ffnSize, headDim, heads, kvHeads, vocabSize } = config;
  const kvSize = kvHeads * headDim;
  const blocks = Math.ceil(contextLength / KV_BLOCK);
  const limits: StepLimits = { maxRows: MAX_ROWS, maxOutputs: MAX_OUTPUTS, blockSize: KV_BLOCK, blocks, contextLength };

  const control = arena.take("control", 256);
  const selfTest = arena.take("self-test", SELF_TEST_BYTES);

  const norm = (n: number): number => arena.take("norms", floatStride(n));
  const linear = (rows: number, columns: number): LinearPlan => {
    const kPad = up(columns, COLUMN_BLOCK);
    return { rows, columns, kPad, weights: arena.take("weights", (up(rows, ROW_GROUP) * kPad) / 4), scale: arena.take("scales", 4) };
  };
  const table = (): TablePlan => {
    const rows = up(vocabSize, ROW_GROUP);
    const rowBytes = hiddenSize * (wideTables ? 4 : 2);
    return { rows, wide: wideTables, rowBytes, at: arena.take("embedding", rows * rowBytes) };
  };
  const embedding = table();
  const head = config.tiedHead ? embedding : table();
  const layers = Array.from(
    { length: config.layers },
    (): LayerPlan => ({
      attnNorm: norm(hiddenSize),
      q: linear(hiddenSize, hiddenSize),
      k: linear(kvSize, hiddenSize),
      v: linear(kvSize, hiddenSize),
      attnSubNorm: norm(hiddenSize),
      o: linear(hiddenSize, hiddenSize),
      ffnNorm: norm(hiddenSize),
      gate: linear(ffnSize, hiddenSize),
      up: linear(ffnSize, hiddenSize),
      ffnSubNorm: norm(ffnSize),
      down: linear(hiddenSize, ffnSize),
    }),
  );
  const outputNorm = norm(hiddenSize);

  const cacheBlockBytes = config.layers * kvHeads * 2 * headDim * KV_BLOCK * 4;
  const cache = arena.take("KV cache", blocks * cacheBlockBytes);

  const widest = Math.max(hiddenSize, ffnSize);
  const kPad = up(widest, COLUMN_BLOCK);
  const quantizedStride = kPad * activationBytes(tier);
  const stateBytes = floatStride(4 + headDim);
  const scratchBytes = ternaryScratch(kPad) + 2 * stateBytes + KV_BLOCK * 4;
  const logitsStride = floatStride(up(vocabSize, ROW_GROUP));
  const rows = (name: string, count: number, stride: number): number => arena.take(name, count * stride);
  return {
    config,
    tier,
    threads,
    limits,
    control,
    selfTest,
    embedding,
    head,
    layers,
    outputNorm,
    cache,
    cacheBlockBytes,
    step: arena.take("step", stepBytes(limits)),
    x: rows("activations", MAX_ROWS, floatStride(hiddenSize)),
    delta: rows("activations", MAX_ROWS + 1, floatStride(hiddenSize)),
    normed: rows("activations", MAX_ROWS, floatStride(widest)),
    quantized: rows("activations", MAX_ROWS + 1, quantizedStride),
    quantizedStride,
    meta: arena.take("activations", (MAX_ROWS + 1) * 8),
    qkv: rows("activations", MAX_ROWS + 1, floatStride(hiddenSize + 2 * kvSize)),
    attention: rows("activations", MAX_ROWS, floatStride(hiddenSize)),
    gateUp: rows("activations", MAX_ROWS + 1, floatStride(2 * ffnSize)),
    angles: rows("activations", MAX_ROWS, floatStride(headDim)),
    spans: arena.take("activations", SPLIT_ROWS * heads * Math.ceil(contextLength / KV_SPAN) * stateBytes),
    stateBytes,
    logits: rows("logits", MAX_OUTPUTS, logitsStride),
    logitsStride,
    scratch: rows("scratch", threads, up(scratchBytes, 64)),
    scratchBytes: up(scratchBytes, 64),
    staging: rows("scratch", threads, up(options.stagingBytes, 64)),
    stagingBytes: up(options.stagingBytes, 64),
    pieceStats: arena.take("scratch", 24 * options.statPieces),
    loading: arena.take("control", 8),
  };
}

/** u32 words of the step's description: counts, then rows, tables and outputs. */
export function stepWords(limits: StepLimits): {
  tokens: number;
  positions: number;
  tables: number;
  outputs: number;
  blocks: number;
  end: number;
} {
  const tokens = 4; // operation, rows, outputs, one spare
  const positions = tokens + limits.maxRows;
  const tables = positions + limits.maxRows; // first word of each row's table, counted from `blocks`
  const outputs = tables + limits.maxRows; // row of each output
  const blocks = outputs + limits.maxOutputs;
  return { tokens, positions, tables, outputs, blocks, end: blocks + limits.maxRows * Math.ceil(limits.contextLength / limits.blockSize) };
}

function stepBytes(limits: StepLimits): number {
  return 4 * stepWords(limits).end;
}
