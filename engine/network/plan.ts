import type { ArenaPlan } from "../compute/arena.js";
import { COUNTER_BYTES } from "../compute/counters.js";
import {
  activationBytes,
  attentionScratch,
  cacheHeadBytes,
  columnBlock,
  MOST_QUERIES,
  ROW_GROUP,
  type Tier,
  ternaryScratch,
} from "../compute/kernels.js";
import type { StepLimits } from "../compute/step.js";
import type { ModelConfig } from "../model/config.js";
import { KV_BLOCK, KV_SPAN, type KvType } from "../numerics.js";

/** A ternary layer in memory. */
export interface LinearPlan {
  readonly rows: number;
  readonly columns: number;
  /** `columns`, rounded up to whole blocks of the layout. */
  readonly kPad: number;
  /** Packed rows, in groups of 4; kPad/4 bytes a row. */
  readonly weights: number;
  /** f32; with `scaleBlock`, [rows/4][kPad/scaleBlock][4 rows] f32 */
  readonly scales: number;
}

/** Addresses of one layer's parts. Norms are f32; undefined: the architecture has none. */
export interface LayerPlan {
  readonly attnNorm: number;
  readonly q: LinearPlan;
  readonly k: LinearPlan;
  readonly v: LinearPlan;
  readonly qNorm: number | undefined;
  readonly kNorm: number | undefined;
  readonly attnSubNorm: number | undefined;
  readonly o: LinearPlan;
  readonly ffnNorm: number;
  readonly gate: LinearPlan;
  readonly up: LinearPlan;
  readonly ffnSubNorm: number | undefined;
  readonly down: LinearPlan;
}

/**
 * How the output head is kept. `bf16`, `f32`: exact rows. `scan`: 8-bit codes and how far they are from the rows; the few rows that can
 * still win are read from the file and computed exactly, and so are all rows where all logits are wanted.
 */
export type HeadKind = "bf16" | "f32" | "scan";

/** The output head in memory. */
export interface HeadPlan {
  readonly kind: HeadKind;
  /** Rows, rounded up to a group of 4; those past the vocabulary are zero. */
  readonly rows: number;
  readonly rowBytes: number;
  readonly at: number;
  /** [rows] f32: scale of each row's codes, and their distance √Σ(row − code·scale)²; only `scan` */
  readonly scales: number;
  readonly errors: number;
}

/** Where everything lies in the linear memory, and how large a step can be. Plain data: it is posted to the workers. */
export interface NetworkPlan {
  readonly config: ModelConfig;
  readonly tier: Tier;
  readonly kv: KvType;
  /** Columns that share a scale; undefined: a ternary layer has one. */
  readonly scaleBlock: number | undefined;
  readonly threads: number;
  readonly limits: StepLimits;
  readonly pages: number;

  /** The barrier's block. */
  readonly control: number;
  /** [threads] of COUNTER_BYTES: how often each thread called which kernel */
  readonly counters: number;

  readonly head: HeadPlan;
  readonly layers: readonly LayerPlan[];
  readonly outputNorm: number;

  /** The KV cache: [layers][kvHeads][blocks] of `cacheHeadBytes`, so that what one head reads lies together. */
  readonly cache: number;

  /** The step under way, u32; see `StepMemory`. */
  readonly step: number;
  // A slot is a row of a batch, or a thread's own copy of a lone row.
  /** [slots][hidden] f32: the residual stream */
  readonly x: number;
  /** [MAX_ROWS + 1][hidden] f32: what a block adds to it */
  readonly delta: number;
  /** [slots][widest] f32: output of a norm */
  readonly normed: number;
  /** [slots + 1][kPad] quantised activations */
  readonly quantized: number;
  readonly quantizedStride: number;
  /** [slots + 1] of 8 bytes: sum and maximum of each; with `scaleBlock`, sum and scale of each group */
  readonly meta: number;
  readonly metaStride: number;
  /** [MAX_ROWS + 1][q | k | v] f32 */
  readonly qkv: number;
  /** [slots][q | k] f32: rotated */
  readonly rotated: number;
  /** [slots][heads·headDim] f32 */
  readonly attention: number;
  /** [MAX_ROWS + 1][gate | up] f32 */
  readonly gateUp: number;
  /** [slots][headDim] f32: cosines, sines of each row's position */
  readonly angles: number;
  /** [SPLIT_ROWS][heads][spans] states of attention, f32 */
  readonly spans: number;
  readonly stateBytes: number;
  /** [slots] hidden states for the scan: hidden int16, then 64 bytes of scale and norms */
  readonly scanned: number;
  readonly scannedStride: number;
  /** [3][head.rows] f32, f32, u32: lower and upper bounds of logits, ids of those that can win */
  readonly bounds: number;
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
  /** Three u32 of the loader. */
  readonly loading: number;
}

/** A batch of at most this many rows has its attention divided by spans too, so that a lone token at long context still feeds all threads. */
export const SPLIT_ROWS = 4;

const up = (n: number, unit: number): number => Math.ceil(n / unit) * unit;

/** Bytes of a row of n floats: whole cache lines. */
export function floatStride(n: number): number {
  return up(n * 4, 64);
}

/** Floats of the widest row that goes into a ternary layer. */
export function widestRow({ hiddenSize, attentionSize, ffnSize }: ModelConfig): number {
  return Math.max(hiddenSize, attentionSize, ffnSize);
}

/** What a plan hangs on besides the model. */
export interface PlanOptions {
  readonly tier: Tier;
  readonly kv: KvType;
  readonly scaleBlock: number | undefined;
  readonly head: HeadKind;
  readonly threads: number;
  readonly contextLength: number;
  readonly stagingBytes: number;
  /** Pieces of master weights, all tensors together. */
  readonly statPieces: number;
}

/** Rows of a step: a whole tile of prefill, and at the most a few seconds of work before an abort is seen. */
const MAX_ROWS = 64;
/** Outputs of a step. */
const MAX_OUTPUTS = 32;

/** Lays out the memory in an empty arena. @throws BitnetError memory: more than may be used; it says which context length would fit */
export function planNetwork(arena: ArenaPlan, config: ModelConfig, options: PlanOptions): NetworkPlan {
  const plan = layOut(arena, config, options);
  const pages = arena.pages(() => {
    const fitting = longestContext(arena, config, options);
    const small = options.kv === "f32" ? longestContext(arena, config, { ...options, kv: "q8" }) : 0;
    const inEight = `with an 8-bit cache (kv: "q8", --kv q8)`;
    if (fitting > 0) {
      const all = small >= options.contextLength ? `, or ${inEight} all ${options.contextLength}` : "";
      return `a context of ${fitting} tokens would fit (contextLength, --ctx)${all}`;
    }
    if (small > 0) return `${inEight} a context of ${small} tokens would fit`;
    return "even a context of 32 tokens wouldn't fit, so the model is too large";
  });
  return { ...plan, pages };
}

/** Whole blocks of positions for which the plan fits; 0 if none does. */
function longestContext(limits: ArenaPlan, config: ModelConfig, options: PlanOptions): number {
  const fits = (blocks: number): boolean => {
    const arena = limits.empty();
    layOut(arena, config, { ...options, contextLength: blocks * KV_BLOCK });
    return arena.fits;
  };
  let least = 0;
  let most = Math.ceil(options.contextLength / KV_BLOCK) + 1; // one too many
  while (most - least > 1) {
    const middle = Math.floor((least + most) / 2);
    if (fits(middle)) least = middle;
    else most = middle;
  }
  return least * KV_BLOCK;
}

function layOut(arena: ArenaPlan, config: ModelConfig, options: PlanOptions): Omit<NetworkPlan, "pages"> {
  const { tier, kv, scaleBlock, threads, contextLength } = options;
  const { hiddenSize, attentionSize, ffnSize, headDim, heads, kvHeads, vocabSize, qkNorms, subNorms } = config;
  const kvSize = kvHeads * headDim;
  const blocks = Math.ceil(contextLength / KV_BLOCK);
  const limits: StepLimits = { maxRows: MAX_ROWS, maxOutputs: MAX_OUTPUTS, blockSize: KV_BLOCK, blocks, contextLength };
  const block = scaleBlock ?? columnBlock(tier);

  const control = arena.take("control", 256);
  const counters = arena.take("control", threads * COUNTER_BYTES);

  const norm = (n: number): number => arena.take("norms", floatStride(n));
  const linear = (rows: number, columns: number): LinearPlan => {
    const kPad = up(columns, block);
    const packedRows = up(rows, ROW_GROUP);
    const scaleBytes = scaleBlock === undefined ? 4 : packedRows * (kPad / scaleBlock) * 4;
    return { rows, columns, kPad, weights: arena.take("weights", (packedRows * kPad) / 4), scales: arena.take("scales", scaleBytes) };
  };
  const layers = Array.from(
    { length: config.layers },
    (): LayerPlan => ({
      attnNorm: norm(hiddenSize),
      q: linear(attentionSize, hiddenSize),
      k: linear(kvSize, hiddenSize),
      v: linear(kvSize, hiddenSize),
      qNorm: qkNorms ? norm(headDim) : undefined,
      kNorm: qkNorms ? norm(headDim) : undefined,
      attnSubNorm: subNorms ? norm(attentionSize) : undefined,
      o: linear(hiddenSize, attentionSize),
      ffnNorm: norm(hiddenSize),
      gate: linear(ffnSize, hiddenSize),
      up: linear(ffnSize, hiddenSize),
      ffnSubNorm: subNorms ? norm(ffnSize) : undefined,
      down: linear(hiddenSize, ffnSize),
    }),
  );
  const outputNorm = norm(hiddenSize);
  const headRows = up(vocabSize, ROW_GROUP);
  const rowBytes = { bf16: hiddenSize * 2, f32: hiddenSize * 4, scan: hiddenSize }[options.head];
  const scanBytes = options.head === "scan" ? headRows * 4 : 0;
  const head: HeadPlan = {
    kind: options.head,
    rows: headRows,
    rowBytes,
    at: arena.take("output head", headRows * rowBytes),
    scales: arena.take("output head", scanBytes),
    errors: arena.take("output head", scanBytes),
  };

  const cache = arena.take("KV cache", config.layers * kvHeads * blocks * cacheHeadBytes(kv, headDim));

  const slots = Math.max(MAX_ROWS, threads);
  const widest = widestRow(config);
  const kPad = up(widest, block);
  const quantizedStride = kPad * activationBytes(tier, config.activations);
  const metaStride = scaleBlock === undefined ? 8 : 8 * (kPad / scaleBlock);
  const stateBytes = floatStride(4 + headDim);
  const spans = Math.ceil(contextLength / KV_SPAN);
  const scratchBytes = up(Math.max(ternaryScratch(kPad), attentionScratch(headDim) + MOST_QUERIES * spans * stateBytes), 64);
  const logitsStride = floatStride(up(vocabSize, ROW_GROUP));
  const scannedStride = up(hiddenSize * 2, 64) + 64;
  const activations = (count: number, stride: number): number => arena.take("activations", count * stride);
  return {
    config,
    tier,
    kv,
    scaleBlock,
    threads,
    limits,
    control,
    counters,
    head,
    layers,
    outputNorm,
    cache,
    step: arena.take("step", stepBytes(limits)),
    x: activations(slots, floatStride(hiddenSize)),
    delta: activations(MAX_ROWS + 1, floatStride(hiddenSize)),
    normed: activations(slots, floatStride(widest)),
    quantized: activations(slots + 1, quantizedStride),
    quantizedStride,
    meta: activations(slots + 1, metaStride),
    metaStride,
    qkv: activations(MAX_ROWS + 1, floatStride(attentionSize + 2 * kvSize)),
    rotated: activations(slots, floatStride(attentionSize + kvSize)),
    attention: activations(slots, floatStride(attentionSize)),
    gateUp: activations(MAX_ROWS + 1, floatStride(2 * ffnSize)),
    angles: activations(slots, floatStride(headDim)),
    spans: activations(SPLIT_ROWS * heads * spans, stateBytes),
    stateBytes,
    scanned: activations(options.head === "scan" ? slots : 0, scannedStride),
    scannedStride,
    bounds: activations(3, scanBytes),
    logits: arena.take("logits", MAX_OUTPUTS * logitsStride),
    logitsStride,
    scratch: arena.take("scratch", threads * scratchBytes),
    scratchBytes,
    staging: arena.take("scratch", threads * up(options.stagingBytes, 64)),
    stagingBytes: up(options.stagingBytes, 64),
    pieceStats: arena.take("scratch", 24 * options.statPieces),
    loading: arena.take("control", 12),
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
  const tokens = 4; // operation, rows, outputs, whether all logits are wanted
  const positions = tokens + limits.maxRows;
  const tables = positions + limits.maxRows; // first word of each row's table, counted from `blocks`
  const outputs = tables + limits.maxRows; // row of each output
  const blocks = outputs + limits.maxOutputs;
  return { tokens, positions, tables, outputs, blocks, end: blocks + limits.maxRows * Math.ceil(limits.contextLength / limits.blockSize) };
}

function stepBytes(limits: StepLimits): number {
  return 4 * stepWords(limits).end;
}
